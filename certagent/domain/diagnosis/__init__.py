"""Conclusions: from observations at several vantages to findings. Pure. They are one table; a new conclusion is one
function and one line.

The order is by dependency: a finding that explains others comes first, because a person is sent to the first culprit of
the worst severity. A rehearsal shows that a nameserver returns a wrong address; only the agent on that nameserver's
node knows which line of which file causes it. The collector attaches such findings to the rehearsals that it brokers.
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
from certagent.domain.diagnosis.nameserver_files import ANSWERS, FACTS
from certagent.domain.findings import Culprit, Finding
from certagent.domain.rehearsals import ChallengeType


def nodes_speak_of_themselves(evidence: Evidence) -> Iterator[Finding]:
    """Yield the testimony itself, if the rehearsal failed."""
    if evidence.has_failed and evidence.rehearsal is not None:
        yield from (finding for finding in evidence.rehearsal.testimony if finding.code not in FACTS)


def sharpened(finding: Finding, evidence: Evidence) -> Finding:
    """Return the finding with the file and line from testimony, if the finding blames a node without naming a file."""
    culprit = finding.culprit
    if culprit is None or culprit.file is not None or evidence.rehearsal is None:
        return finding
    for witness in evidence.rehearsal.testimony:
        if witness.code not in FACTS and witness.culprit is not None and _explains(witness.culprit, culprit):
            return because(finding, witness)
    return finding


def misled(findings: list[Finding], evidence: Evidence) -> list[Finding]:
    """Where DNS leads to another box, everything that this box does wrong follows from the line that DNS answers from,
    if the agent beside the nameserver knows it."""
    testimony = evidence.rehearsal.testimony if evidence.rehearsal is not None else ()
    for witness in testimony:
        line = witness.culprit
        if witness.code == ANSWERS and line is not None and any(_is_misled(finding, line) for finding in findings):
            return [because(finding, witness) if _blames(finding, line.address) else finding for finding in findings]
    return findings


def _is_misled(finding: Finding, line: Culprit) -> bool:
    culprit = finding.culprit
    return finding.code in _MISLED and culprit is not None and _explains(line, culprit)


_MISLED = ("dns.address_not_ours", name_resolution.LOOPBACK)


def _blames(finding: Finding, address: str | None) -> bool:
    """Whether it blames the box at that address, without saying what in it."""
    culprit = finding.culprit
    return culprit is not None and culprit.file is None and culprit.address == address


def _explains(reported: Culprit, blamed: Culprit) -> bool:
    """Return whether both culprits are on the same node and do not contradict each other: a line about another
    address explains another problem."""
    return reported.node == blamed.node and (reported.address is None or reported.address == blamed.address)


Conclusion = Callable[[Evidence], Iterator[Finding]]

_HTTP01, _TLS_ALPN01, _DNS01 = ChallengeType.HTTP01, ChallengeType.TLS_ALPN01, ChallengeType.DNS01

TABLE: tuple[tuple[Conclusion, ChallengeType | None], ...] = (
    (certificate_authority.vantage_is_missing, None),
    (certificate_authority.orders_are_impossible, None),
    (certificate_authority.name_leads_in_a_circle, None),
    (certificate_authority.name_is_not_the_cas, None),
    (certificate_authority.directory_cannot_be_used, None),
    (nodes_speak_of_themselves, None),
    (http01.port_is_anothers, _HTTP01),
    (http01.responder_is_absent, _HTTP01),
    (tls_alpn01.responder_is_absent, _TLS_ALPN01),
    (dns01.record_cannot_be_written, _DNS01),
    (dns01.record_is_not_everywhere, _DNS01),
    (name_resolution.name_leads_elsewhere, None),
    (resolver_agreement.nameservers_mislead, None),
    (name_resolution.filter_keeps_the_address_back, None),
    (name_resolution.files_are_unreadable, None),
    (name_resolution.name_has_no_address, None),
    (resolver_agreement.libc_knows_better, None),
    (certificate_authority.process_moves_the_goalposts, None),
    (http01.configuration_is_wrong, _HTTP01),
    (http01.responder_is_missed, _HTTP01),
    (tls_alpn01.handshake_is_not_ours, _TLS_ALPN01),
    (dns01.authority_does_not_find_it, _DNS01),
    (http01.nobody_answers, _HTTP01),
    (http01.answer_is_not_ours, _HTTP01),
    (certificate_authority.proxy_is_used_besides, None),
    (http01.redirect_is_followed, _HTTP01),
    (http01.neither_way_is_one_way, _HTTP01),
    (http01.responder_is_slow, _HTTP01),
    (http01.connection_is_stale, _HTTP01),
    (flapping.answers_alternate, None),
    (flapping.path_comes_and_goes, None),
    (name_resolution.edit_is_unseen, None),
    (resolver_agreement.nameservers_disagree, None),
    (resolver_agreement.hosts_lines_contradict, None),
    (resolver_agreement.nameservers_are_dead, None),
    (resolver_agreement.this_node_asks_in_vain, None),
    (resolver_agreement.records_are_odd, None),
    (resolver_agreement.this_node_is_misled, None),
    (certificate_authority.clocks_differ, None),
    (dns01.record_was_left, _DNS01),
)
"""Each conclusion with the challenge type that it is about; None: any."""


def conclude(evidence: Evidence) -> list[Finding]:
    """Return every finding that the evidence proves, causes before consequences, not graded yet."""
    conclusions = (conclusion for conclusion, challenge in TABLE if challenge in (None, evidence.challenge))
    concluded = (finding for conclusion in conclusions for finding in conclusion(evidence))
    findings = [sharpened(finding, evidence) for finding in concluded]
    return misled(findings, evidence)
