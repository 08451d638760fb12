"""What agents say of files on their own nodes: it names the line where a look from outside names only the box. Pure.

A rehearsal sees that the nameserver gives a wrong address; only the agent beside that nameserver knows which line of
which file says so. The collector attaches such findings to the rehearsals that it brokers.
"""

from collections.abc import Iterator

from certagent.domain.catalogue import because
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.diagnosis.nameserver import FILTERS
from certagent.domain.findings import Culprit, Finding


def nodes_speak_of_themselves(evidence: Evidence) -> Iterator[Finding]:
    """The testimony itself, where the rehearsal failed."""
    if evidence.has_failed and evidence.rehearsal is not None:
        yield from (told for told in evidence.rehearsal.testimony if told.code != FILTERS)


def sharpened(finding: Finding, evidence: Evidence) -> Finding:
    """The finding with the file and line that testimony knows, if it blames a box without saying what in it."""
    culprit = finding.culprit
    if culprit is None or culprit.file is not None or evidence.rehearsal is None:
        return finding
    for witness in evidence.rehearsal.testimony:
        if witness.code != FILTERS and witness.culprit is not None and _explains(witness.culprit, culprit):
            return because(finding, witness)
    return finding


def _explains(told: Culprit, blamed: Culprit) -> bool:
    """The same box, and nothing that contradicts: a line about another address explains another trouble."""
    return told.node == blamed.node and (told.address is None or told.address == blamed.address)
