"""What the configuration no longer names is told off once: its findings would stand for ever, for nobody judges it."""

import msgspec

from certagent.agent.reporter import Reporter
from certagent.config import AgentSettings
from certagent.domain.reports import Outcome, RunKind, Trigger, certificate_scope, identifier_scope
from certagent.state import State

_RECORD = "spoken-for"


class SpokenFor(msgspec.Struct, frozen=True, kw_only=True):
    """What this agent reports about."""

    identifiers: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()


def report_removed(settings: AgentSettings, state: State, reporter: Reporter) -> None:
    """Clear the scopes of what the last start still had. Run at each start, before anything is judged."""
    before = state.read_record(_RECORD, SpokenFor) or SpokenFor()
    now = SpokenFor(
        identifiers=tuple(sorted({name for one in settings.certificate for name in one.identifiers})),
        certificates=tuple(sorted(one.name for one in settings.certificate)),
    )
    gone = sorted(set(before.identifiers) - set(now.identifiers))
    if gone:
        run = reporter.begin(RunKind.PREFLIGHT, Trigger.START)
        reporter.end(run, Outcome.DONE, scopes=[identifier_scope(name) for name in gone])
    for name in sorted(set(before.certificates) - set(now.certificates)):
        run = reporter.begin(RunKind.RENEWAL, Trigger.START)
        reporter.end(run, Outcome.DONE, scopes=[certificate_scope(name)], certificate=name)
    if before != now:
        state.write_record(_RECORD, now)
