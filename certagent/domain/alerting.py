"""Who is told of an incident, when, and how often: rules out of the policy. Pure: no clock, nothing is sent."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from certagent.domain.incidents import Incident, IncidentState
from certagent.domain.policy import AlertRule

_FLAPPING_FROM = 3  # reopenings, each within `incidents.REOPEN_WITHIN` of the end before


class Alerting(msgspec.Struct, frozen=True, kw_only=True):
    """The rules, and the channels that there are. A flapping incident's messages wait for `flapping_hold`."""

    channels: tuple[str, ...] = ()
    rules: Mapping[str, AlertRule] = {}
    flapping_hold: timedelta = timedelta(0)

    def rule_for(self, code: str) -> AlertRule:
        """The last rule that matches: what is written later, or laid over the default policy, wins."""
        matching = [rule for rule in self.rules.values() if rule.matches(code)]
        return matching[-1] if matching else AlertRule()

    def due_at(self, incident: Incident, now: datetime) -> datetime:
        """When a message about what has just become of the incident may leave. `now` in local time."""
        rule, is_over = self.rule_for(incident.code), incident.state is IncidentState.RESOLVED
        hold = self.flapping_hold if is_flapping(incident) else timedelta(0)
        due = now + (hold if is_over else max(rule.after, hold))
        calm = rule.quiet.end_after(due) if rule.quiet is not None else None
        return due if calm is None or (not is_over and _dies_before(incident, calm)) else calm


def is_flapping(incident: Incident) -> bool:
    """Whether it came back so often that its comings and goings are no news."""
    return incident.flaps >= _FLAPPING_FROM


def _dies_before(incident: Incident, moment: datetime) -> bool:
    return any(victim.expires_at is not None and victim.expires_at <= moment for victim in incident.victims)
