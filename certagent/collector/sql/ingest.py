"""Reports into tables, many at a time. Concludes nothing: it says what has to be concluded again.

An agent's newer report replaces its earlier word scope by scope; a report that was here before changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, tuple_, update

from certagent.collector.sql.dirty_set import DirtySet
from certagent.collector.sql.inventories import accept_inventory
from certagent.collector.sql.schema import agents, changes, findings, rehearsals, reports, scopes
from certagent.collector.sql.statements import chunks, delete_by, text_of, upsert
from certagent.collector.store import Acceptance, Caller, TokenRole
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.incidents import key_of
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome
from certagent.domain.reports import Report, RunKind, scope_of

_LONGEST_ON_THE_WAY = timedelta(days=30)
_CLOCKS_AGREE = timedelta(minutes=1)
_INVENTORY_SCOPE = "inventory"

_decode_finding = msgspec.json.Decoder(Finding).decode
_Scope = tuple[str, str]  # agent, scope


class Post(msgspec.Struct, frozen=True):
    """What one agent sent at once."""

    caller: Caller
    reports: Sequence[Report]


def accept_posts(connection: Connection, posts: Sequence[Post], now: datetime, touched: DirtySet) -> list[Acceptance]:
    """Keep what is new of all posts; one answer for each."""
    known = _known_reports(connection, posts)
    fresh: list[tuple[Caller, Report]] = []
    answers = []
    for post in posts:
        before = len(fresh)
        for report in post.reports:
            if (report.agent, report.id) not in known:
                known.add((report.agent, report.id))
                fresh.append((post.caller, report))
        accepted = len(fresh) - before
        answers.append(Acceptance(accepted, len(post.reports) - accepted))
    note_seen(connection, {post.caller.name: post.caller for post in posts}, now, touched)
    if fresh:
        connection.execute(insert(reports), [_report_row(report, now) for _, report in fresh])
        _keep_changes(connection, fresh, now)
        _take_their_word(connection, fresh, now, touched)
    return answers


def note_seen(connection: Connection, callers: Mapping[str, Caller], now: datetime, touched: DirtySet) -> None:
    """Those agents gave a sign of life, with those tokens' roles."""
    known: dict[str, str] = {}
    for piece in chunks(callers):
        query = select(agents.c.name, agents.c.token_role).where(agents.c.name.in_(piece))
        known.update((row.name, row.token_role) for row in connection.execute(query))
    new = callers.keys() - known.keys()
    if new:
        rows = [{"name": name, "token_role": callers[name].role, "last_seen": now} for name in sorted(new)]
        connection.execute(insert(agents), rows)
    if seen := [{"of": name, "as": callers[name].role, "now": now} for name in known]:
        statement = update(agents).where(agents.c.name == bindparam("of"))
        connection.execute(statement.values(token_role=bindparam("as"), last_seen=bindparam("now")), seen)
    changed = {caller.name for caller in callers.values() if known.get(caller.name) != caller.role}
    touched.agents |= changed
    touched.all |= bool(changed & known.keys())


def keep_rehearsals(
    connection: Connection, latest: Iterable[Rehearsal], now: datetime, touched: DirtySet, *, brokered: bool
) -> None:
    """Keep those that are newer than what is known of their identifiers; nothing is believed from the future."""
    newest = {rehearsal.identifier: rehearsal for rehearsal in sorted(latest, key=lambda one: one.at)}
    known: dict[str, datetime] = {}
    for piece in chunks(newest):
        query = select(rehearsals.c.identifier, rehearsals.c.at).where(rehearsals.c.identifier.in_(piece))
        known.update((row.identifier, row.at) for row in connection.execute(query))
    rows = [
        {"identifier": name, "at": min(one.at, now), "brokered": brokered, "document": text_of(one)}
        for name, one in newest.items()
        if name not in known or min(one.at, now) > known[name]
    ]
    upsert(connection, rehearsals, rows)
    touched.identifiers.update(str(row["identifier"]) for row in rows)


def _known_reports(connection: Connection, posts: Sequence[Post]) -> set[tuple[str, str]]:
    wanted = {(report.agent, report.id) for post in posts for report in post.reports}
    known = set()
    for piece in chunks(wanted):
        query = select(reports.c.agent, reports.c.id).where(tuple_(reports.c.agent, reports.c.id).in_(piece))
        known |= {(row.agent, row.id) for row in connection.execute(query)}
    return known


def moment_of(report: Report, now: datetime) -> datetime:
    """When the run ended, by the agent's clock; by ours if that one is off: nothing comes from the future, and no spool
    keeps a report for so long."""
    return report.finished_at if now - _LONGEST_ON_THE_WAY < report.finished_at <= now else now


def _report_row(report: Report, now: datetime) -> dict[str, Any]:
    return {
        "agent": report.agent,
        "id": report.id,
        "sequence": report.sequence,
        "kind": report.kind,
        "received_at": now,
        "document": text_of(report),
    }


def _keep_changes(connection: Connection, fresh: Sequence[tuple[Caller, Report]], now: datetime) -> None:
    rows = [
        {"agent": report.agent, "file": change.file, "at": moment_of(report, now), "document": text_of(change)}
        for _, report in fresh
        for change in report.changes
    ]
    if rows:
        connection.execute(insert(changes), rows)


def _take_their_word(
    connection: Connection, fresh: Sequence[tuple[Caller, Report]], now: datetime, touched: DirtySet
) -> None:
    newest = _newest_by_scope(connection, fresh, now)
    for (agent, scope), (_, report) in newest.items():
        if scope == _INVENTORY_SCOPE and report.inventory is not None:
            accept_inventory(connection, agent, report.inventory, touched)
    _replace_findings(connection, newest, now, touched)
    rehearsed = [(caller, report) for caller, report in fresh if report.rehearsals]
    if rehearsed:
        keep_rehearsals(connection, _believable(rehearsed), now, touched, brokered=False)


def _newest_by_scope(
    connection: Connection, fresh: Sequence[tuple[Caller, Report]], now: datetime
) -> dict[_Scope, tuple[Caller, Report]]:
    """The reports that have the newest word on a scope, and that word noted as the newest."""
    latest: dict[_Scope, tuple[int, datetime]] = {}
    for piece in chunks({report.agent for _, report in fresh}):
        for row in connection.execute(select(scopes).where(scopes.c.agent.in_(piece))).all():
            latest[row.agent, row.scope] = (row.sequence, row.at)
    newest: dict[_Scope, tuple[Caller, Report]] = {}
    for caller, report in fresh:
        at = moment_of(report, now)
        for scope in _scopes_of(report):
            known = latest.get((report.agent, scope))
            if known is not None and report.sequence < known[0] and at < known[1]:
                continue  # late; an agent that lost its state counts from 1 again, but its clock goes on
            latest[report.agent, scope] = (report.sequence, at)
            newest[report.agent, scope] = (caller, report)
    rows = [
        {"agent": agent, "scope": scope, "sequence": latest[agent, scope][0], "at": latest[agent, scope][1]}
        for agent, scope in newest
    ]
    upsert(connection, scopes, rows)
    return newest


def _scopes_of(report: Report) -> set[str]:
    stated = {*report.scopes, *(scope_of(report, finding) for finding in report.findings)}
    return stated | {_INVENTORY_SCOPE} if report.inventory is not None else stated


def _replace_findings(
    connection: Connection, newest: Mapping[_Scope, tuple[Caller, Report]], now: datetime, touched: DirtySet
) -> None:
    old: dict[_Scope, list[Finding]] = {}
    for piece in chunks({agent for agent, _ in newest}):
        for row in connection.execute(select(findings).where(findings.c.agent.in_(piece))).all():
            if (row.agent, row.scope) in newest:
                old.setdefault((row.agent, row.scope), []).append(_decode_finding(row.document))
    delete_by(connection, findings, [{"agent": agent, "scope": scope} for agent, scope in old])
    rows: list[dict[str, Any]] = []
    for (agent, scope), (caller, report) in newest.items():
        new = [finding for finding in report.findings if scope_of(report, finding) == scope]
        at, is_ahead = moment_of(report, now), report.finished_at > now + _CLOCKS_AGREE
        rows += [finding_row(agent, scope, finding, at, is_ahead=is_ahead) for finding in new]
        _touch(touched, caller, report, old.get((agent, scope), []), new)
    if rows:
        connection.execute(insert(findings), rows)


def finding_row(agent: str, scope: str, finding: Finding, at: datetime, *, is_ahead: bool = False) -> dict[str, Any]:
    """A row of `findings`. What has ended by a clock that `is_ahead` of ours may have not: that is no incident."""
    return {
        "agent": agent,
        "scope": scope,
        "identifier": finding.identifier,
        "key": key_of(agent, finding),
        "is_grave": _is_grave(finding) and not (is_ahead and has_trait(finding.code, Trait.LIFETIME)),
        "at": at,
        "document": text_of(finding),
    }


def _touch(touched: DirtySet, caller: Caller, report: Report, old: list[Finding], new: list[Finding]) -> None:
    """What has to be concluded again; others judge again when the CA's side changed, or a cause cleared."""
    for finding in (*old, *new):
        if _is_grave(finding):
            touched.keys.add(key_of(caller.name, finding))
            touched.identifiers.update([finding.identifier] if finding.identifier else [])
    before, after = {_essence(finding) for finding in old}, {_essence(finding) for finding in new}
    is_authority_watch = caller.role is TokenRole.AUTHORITY and report.kind is RunKind.WATCH
    changed = before ^ after if is_authority_watch else {one for one in before - after if one[2]}
    touched.judge_again |= {(identifier, caller.name) for _, identifier, _, _ in changed if identifier}


def _essence(finding: Finding) -> tuple[str, str | None, bool, Culprit | None]:
    return finding.code, finding.identifier, _is_grave(finding), finding.culprit


def _is_grave(finding: Finding) -> bool:
    return finding.severity.at_least(Severity.ERROR)


def _believable(rehearsed: Sequence[tuple[Caller, Report]]) -> list[Rehearsal]:
    """The authority's own that came to something. Everybody else's went through the broker, or are nobody's word: an
    agent could claim an identifier and clear what stands against it."""
    return [
        rehearsal
        for caller, report in rehearsed
        for rehearsal in report.rehearsals
        if caller.role is TokenRole.AUTHORITY and rehearsal.outcome is not RehearsalOutcome.UNAVAILABLE
    ]
