"""Policy: grades findings, turns them into a verdict, says who is told. Pure; its numbers are in `policies/*.toml`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.findings import Finding, Impact, Severity, Vantage, Verdict, without_secrets
from certagent.domain.open_enum import OpenEnum
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome
from certagent.domain.spans import DailySpan, Duration, read_span

if TYPE_CHECKING:
    from certagent.domain.incidents import Incident

_FLAPPING_FROM = 3  # reopenings, each within `incidents.REOPEN_WITHIN` of the end before


class AlertRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to the messages about incidents of these codes (`*` and `?` as in file names).

    `to`: names of channels. `after`: an incident that ends sooner is not mentioned at all. `repeat_every`: as long as
    nobody has acknowledged it; zero: never. `quiet`: messages wait until its end, unless a certificate dies before.
    """

    codes: tuple[str, ...] = ("*",)
    to: tuple[str, ...] = ("*",)
    after: Duration = Duration(0)
    repeat_every: Duration = Duration(0)
    quiet: DailySpan | None = None

    def matches(self, code: str) -> bool:
        """Whether it is about that code."""
        return any(fnmatchcase(code, pattern) for pattern in self.codes)

    def channels(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that are told."""
        return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in self.to))


class Alerting(msgspec.Struct, frozen=True, kw_only=True):
    """The rules, and the channels that there are. A flapping incident's messages wait for `flapping_hold`."""

    channels: tuple[str, ...] = ()
    rules: Mapping[str, AlertRule] = {}
    flapping_hold: timedelta = timedelta(0)

    def rule_for(self, code: str) -> AlertRule:
        """The last rule that matches: what is written later, or laid over the default policy, wins."""
        matching = [rule for rule in self.rules.values() if rule.matches(code)]
        return matching[-1] if matching else AlertRule()

    def due_at(self, incident: "Incident", now: datetime) -> datetime:
        """When a message about what has just become of the incident may leave. `now` in local time."""
        rule, is_over = self.rule_for(incident.code), incident.is_over
        hold = self.flapping_hold if is_flapping(incident) else timedelta(0)
        due = now + (hold if is_over else max(rule.after, hold))
        calm = rule.quiet.end_after(due) if rule.quiet is not None else None
        return due if calm is None or (not is_over and _dies_before(incident, calm)) else calm


_BLOCKING = Trait.OWN_INABILITY, Trait.BLOCKS_ORDER


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Preflight of one identifier: findings graded, worst first, the culprit of a block first of all. `standing`: what
    the CA's side saw before, where nobody can look now; it is reported, and decides nothing."""

    identifier: str
    verdict: Verdict
    rehearsal: Rehearsal | None
    findings: tuple[Finding, ...]
    standing: tuple[Finding, ...] = ()


class RenewalPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to renew, and how to go on after a failure. Fractions are of the certificate's lifetime."""

    due_after: float
    jitter: float
    shortest_interval: Duration
    spread_over: Duration
    retry_first: Duration
    retry_longest: Duration
    urgent_below: float
    probe_every: Duration
    settle_longest: Duration
    unchallenged_in_a_row: int


class PreflightPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often the path is judged without any event: while it is good, and while it blocks (pauses double)."""

    repeat_every: Duration
    blocked_first: Duration
    blocked_longest: Duration


class WatchPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The quiet period that ends a change set, and the slow comparison."""

    quiet_for: Duration
    reconcile_every: Duration


class ProofPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often is looked at what is served, how long a proof may take by kind of target, and below which share of its
    life a certificate that is served is about to expire."""

    look_every: Duration
    expiring_below: float
    nginx_for: Duration
    traefik_for: Duration
    haproxy_for: Duration
    command_for: Duration

    def for_kind(self, kind: str) -> timedelta:
        """The bound for a target of that kind."""
        bound: timedelta = getattr(self, f"{kind}_for")
        return bound


class AgentPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an agent says on its own node that the collector takes nothing any more."""

    collector_gone_after: Duration


class CollectorPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the collector concludes from silence and from the clock, how it sends messages, and how long it keeps what
    is over. `messages_per_node`: to each channel within an hour."""

    silent_after: Duration
    look_every: Duration
    expiring_below: float
    flapping_hold: Duration
    heartbeat_every: Duration
    messages_per_node: int
    retry_messages_for: Duration
    channel_failing_after: Duration
    keep_reports: Duration
    keep_incidents: Duration
    keep_audit_for: Duration


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole policy. `severity`: by code, one severity or one per vantage. `alerts`: rules, the last wins."""

    renewal: RenewalPolicy
    preflight: PreflightPolicy
    watch: WatchPolicy
    proof: ProofPolicy
    agent: AgentPolicy
    collector: CollectorPolicy
    severity: dict[str, Severity | dict[Vantage, Severity]]
    alerts: dict[str, AlertRule] = {}

    def grade(self, finding: Finding) -> Finding:
        """The finding with this policy's severity and without the secrets of the lines it quotes: as it may be told."""
        entry = self.severity.get(finding.code, Severity.ERROR)
        severity = entry.get(finding.vantage, Severity.ERROR) if isinstance(entry, dict) else entry
        return without_secrets(msgspec.structs.replace(finding, severity=severity))


def overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """`top` laid over `base`, table by table."""
    merged = dict(base)
    for key, value in top.items():
        inner = merged.get(key)
        merged[key] = overlay(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def policy_document(policy: Policy) -> dict[str, Any]:
    """The policy as plain values by key path; equal policies are equal documents."""
    return dict(sorted(_key_paths(msgspec.to_builtins(policy, enc_hook=_write_value))))


def policy_differences(policy: Policy, base: Policy) -> dict[str, Any]:
    """What `policy` says otherwise than `base`, by key path."""
    ours, theirs = policy_document(policy), policy_document(base)
    return {path: ours.get(path) for path in sorted(ours.keys() | theirs.keys()) if ours.get(path) != theirs.get(path)}


def _write_value(value: object) -> str:
    return f"{value.total_seconds():.12g}s" if isinstance(value, timedelta) else str(value)


def _key_paths(document: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _key_paths(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def read_policy(document: dict[str, Any]) -> Policy:
    """The policy in a parsed TOML document. Raises `msgspec.ValidationError` with the key path."""
    policy = msgspec.convert(document, Policy, dec_hook=read_span)
    for code, graded in policy.severity.items():
        by_vantage = graded if isinstance(graded, dict) else {}
        grades = by_vantage.values() if by_vantage else (graded,)
        for value in (*by_vantage, *grades):
            if isinstance(value, OpenEnum) and not value.is_known:
                raise msgspec.ValidationError(f"Invalid enum value '{value}' - at `$.severity[{code!r}]`")
    return policy


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Sorted by severity; equal ones keep their order, which is the order of conclusion."""
    return sorted(findings, key=lambda finding: finding.severity.rank)


def grade_all(policy: Policy, findings: list[Finding], rehearsal: Rehearsal | None) -> list[Finding]:
    """Graded and capped, worst first: what concerns the path is no worse than `warn` once the rehearsal passed."""
    passed = rehearsal is not None and rehearsal.outcome is RehearsalOutcome.PASSED
    graded = (policy.grade(finding) for finding in findings)
    return worst_first(
        [_capped(finding) if passed and has_trait(finding.code, Trait.PATH) else finding for finding in graded]
    )


def judged(policy: Policy, identifier: str, findings: list[Finding], rehearsal: Rehearsal | None) -> Judgement:
    """The judgement that this policy comes to."""
    graded = grade_all(policy, findings, rehearsal)
    verdict = judge(graded, rehearsal)
    if verdict is Verdict.BLOCK:
        graded = _cause_first(graded, [finding.code for finding in findings])
    return Judgement(identifier=identifier, verdict=verdict, rehearsal=rehearsal, findings=tuple(graded))


def with_impact(judgement: Judgement, impact: Impact | None) -> Judgement:
    """The judgement with what it will cost said on every finding that somebody has to act on."""
    if impact is None:
        return judgement
    findings = tuple(
        msgspec.structs.replace(finding, impact=impact) if finding.severity.at_least(Severity.WARN) else finding
        for finding in judgement.findings
    )
    return msgspec.structs.replace(judgement, findings=findings)


def judge(findings: list[Finding], rehearsal: Rehearsal | None) -> Verdict:
    """The verdict: the rehearsal decides, or the acting node's own inability; findings only explain."""
    unable = any(f.severity is Severity.FATAL and _blocks_by_itself(f) for f in findings)
    failed = rehearsal is not None and rehearsal.outcome is RehearsalOutcome.FAILED
    if unable or failed:
        return Verdict.BLOCK
    return Verdict.WARN if any(f.severity.at_least(Severity.WARN) for f in findings) else Verdict.PROCEED


def _blocks_by_itself(finding: Finding) -> bool:
    return any(has_trait(finding.code, trait) for trait in _BLOCKING)


def _cause_first(graded: list[Finding], concluded: list[str]) -> list[Finding]:
    """The culprit of a block leads: of the grave findings that name one, the first that was concluded."""
    able = [one for one in graded if one.severity.at_least(Severity.ERROR) and one.culprit is not None]
    leader = min(able, key=lambda one: concluded.index(one.code), default=None)
    return graded if leader is None else [leader, *(one for one in graded if one is not leader)]


def _capped(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, severity=finding.severity.capped_at(Severity.WARN))


def is_flapping(incident: "Incident") -> bool:
    """Whether it came back so often that its comings and goings are no news."""
    return incident.flaps >= _FLAPPING_FROM


def _dies_before(incident: "Incident", moment: datetime) -> bool:
    return any(victim.expires_at is not None and victim.expires_at <= moment for victim in incident.victims)
