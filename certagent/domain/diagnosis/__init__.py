"""Conclusions: observations by vantage -> findings. Pure. One table; a new conclusion is one function and one line.

The order is by dependency: what explains the others comes first, because the first culprit of the worst severity is
the one that a person is sent to. A rehearsal sees that a nameserver gives a wrong address; only the agent beside that
nameserver knows which line of which file says so: the collector attaches such findings to the rehearsals it brokers.
"""

from collections.abc import Callable, Iterator

from certagent.domain.catalogue import because
from certagent.domain.diagnosis import (
    certificate_authority,
    dns01,
    flapping,
    http01,
    name_resolution,
    resolver_agreement,
    tls_alpn01,
)
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.diagnosis.name_resolution import FILTERS
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


Conclusion = Callable[[Evidence], Iterator[Finding]]

TABLE: tuple[Conclusion, ...] = (
    certificate_authority.vantage_is_missing,
    certificate_authority.orders_are_impossible,
    certificate_authority.name_leads_in_a_circle,
    certificate_authority.name_is_not_the_cas,
    certificate_authority.directory_cannot_be_used,
    nodes_speak_of_themselves,
    http01.port_is_anothers,
    http01.responder_is_absent,
    tls_alpn01.responder_is_absent,
    dns01.record_cannot_be_written,
    dns01.record_is_not_everywhere,
    name_resolution.name_leads_elsewhere,
    resolver_agreement.nameservers_mislead,
    name_resolution.filter_keeps_the_address_back,
    name_resolution.files_are_unreadable,
    name_resolution.name_has_no_address,
    resolver_agreement.libc_knows_better,
    certificate_authority.process_moves_the_goalposts,
    http01.configuration_is_wrong,
    http01.responder_is_missed,
    tls_alpn01.handshake_is_not_ours,
    dns01.authority_does_not_find_it,
    http01.nobody_answers,
    http01.answer_is_not_ours,
    certificate_authority.proxy_is_used_besides,
    http01.redirect_is_followed,
    http01.neither_way_is_one_way,
    http01.responder_is_slow,
    http01.connection_is_stale,
    flapping.answers_alternate,
    flapping.path_comes_and_goes,
    name_resolution.edit_is_unseen,
    resolver_agreement.nameservers_disagree,
    resolver_agreement.hosts_lines_contradict,
    resolver_agreement.nameservers_are_dead,
    resolver_agreement.this_node_asks_in_vain,
    resolver_agreement.records_are_odd,
    resolver_agreement.this_node_is_misled,
    certificate_authority.clocks_differ,
    dns01.record_was_left,
)


def conclude(evidence: Evidence) -> list[Finding]:
    """Everything that the evidence proves, causes before consequences; not graded yet."""
    concluded = (finding for conclusion in TABLE for finding in conclusion(evidence))
    return [sharpened(finding, evidence) for finding in concluded]
