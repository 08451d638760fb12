"""Conclusions: observations by vantage -> findings. Pure. One table; a new conclusion is one function and one line.

The order is by dependency: what explains the others comes first, because the first culprit of the worst severity is
the one that a person is sent to.
"""

from collections.abc import Callable, Iterator

from certagent.domain.diagnosis import (
    certificate_authority,
    dns01,
    flapping,
    http01,
    name_resolution,
    nameserver,
    peer_reports,
    resolver_agreement,
    tls_alpn01,
    web_server,
)
from certagent.domain.diagnosis.evidence import Evidence
from certagent.domain.findings import Finding

Conclusion = Callable[[Evidence], Iterator[Finding]]

TABLE: tuple[Conclusion, ...] = (
    certificate_authority.vantage_is_missing,
    certificate_authority.orders_are_impossible,
    certificate_authority.name_leads_in_a_circle,
    certificate_authority.name_is_not_the_cas,
    certificate_authority.directory_cannot_be_used,
    peer_reports.nodes_speak_of_themselves,
    http01.port_is_anothers,
    http01.responder_is_absent,
    tls_alpn01.responder_is_absent,
    dns01.record_cannot_be_written,
    dns01.record_is_not_everywhere,
    name_resolution.name_leads_elsewhere,
    resolver_agreement.nameservers_mislead,
    nameserver.filter_keeps_the_address_back,
    name_resolution.files_are_unreadable,
    name_resolution.name_has_no_address,
    resolver_agreement.libc_knows_better,
    certificate_authority.process_moves_the_goalposts,
    web_server.configuration_is_wrong,
    web_server.responder_is_missed,
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
    return [peer_reports.sharpened(finding, evidence) for finding in concluded]
