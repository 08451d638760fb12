"""Conclusions: observations by vantage -> findings. Pure. One table; a new conclusion is one function and one line.

The order is by dependency: what explains the others comes first, because the first culprit of the worst severity is
the one that a person is sent to.
"""

from collections.abc import Callable, Iterator

from certagent.domain.conclusions import (
    alpn,
    authority,
    challenge_path,
    dns01,
    gateways,
    nameserver,
    resolution,
    sides,
    testimony,
    unsteady,
)
from certagent.domain.conclusions.evidence import Evidence
from certagent.domain.findings import Finding

Conclusion = Callable[[Evidence], Iterator[Finding]]

TABLE: tuple[Conclusion, ...] = (
    authority.vantage_is_missing,
    authority.orders_are_impossible,
    authority.name_leads_in_a_circle,
    authority.name_is_not_the_cas,
    authority.directory_cannot_be_used,
    testimony.nodes_speak_of_themselves,
    challenge_path.port_is_anothers,
    challenge_path.responder_is_absent,
    alpn.responder_is_absent,
    dns01.record_cannot_be_written,
    dns01.record_is_not_everywhere,
    resolution.name_leads_elsewhere,
    sides.nameservers_mislead,
    nameserver.filter_keeps_the_address_back,
    resolution.files_are_unreadable,
    resolution.name_has_no_address,
    sides.libc_knows_better,
    authority.process_moves_the_goalposts,
    gateways.configuration_is_wrong,
    gateways.responder_is_missed,
    alpn.handshake_is_not_ours,
    dns01.authority_does_not_find_it,
    challenge_path.nobody_answers,
    challenge_path.answer_is_not_ours,
    authority.proxy_is_used_besides,
    challenge_path.redirect_is_followed,
    challenge_path.neither_way_is_one_way,
    challenge_path.responder_is_slow,
    challenge_path.connection_is_stale,
    unsteady.answers_alternate,
    unsteady.path_comes_and_goes,
    resolution.edit_is_unseen,
    sides.nameservers_disagree,
    sides.hosts_lines_contradict,
    sides.nameservers_are_dead,
    sides.records_are_odd,
    sides.this_node_is_misled,
    authority.clocks_differ,
    dns01.record_was_left,
)


def conclude(evidence: Evidence) -> list[Finding]:
    """Everything that the evidence proves, causes before consequences; not graded yet."""
    concluded = (finding for conclusion in TABLE for finding in conclusion(evidence))
    return [testimony.sharpened(finding, evidence) for finding in concluded]
