"""Conclusions: observations by vantage -> findings. Pure. One table; a new conclusion is one function and one line.

The order is by dependency: what explains the others comes first, because the first culprit of the worst severity is
the one that a person is sent to.
"""

from collections.abc import Callable, Iterator

from certagent.domain.conclusions import authority, challenge_path, resolution
from certagent.domain.conclusions.evidence import Evidence
from certagent.domain.findings import Finding

Conclusion = Callable[[Evidence], Iterator[Finding]]

TABLE: tuple[Conclusion, ...] = (
    authority.vantage_is_missing,
    authority.directory_cannot_be_used,
    challenge_path.responder_is_absent,
    resolution.name_leads_elsewhere,
    resolution.name_has_no_address,
    authority.process_moves_the_goalposts,
    challenge_path.nobody_answers,
    challenge_path.answer_is_not_ours,
    challenge_path.redirect_is_followed,
    challenge_path.connection_is_stale,
)


def conclude(evidence: Evidence) -> list[Finding]:
    """Everything that the evidence proves, causes before consequences; not graded yet."""
    return [finding for conclusion in TABLE for finding in conclusion(evidence)]
