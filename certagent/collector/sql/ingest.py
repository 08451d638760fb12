"""Reports into tables, many at a time. Concludes nothing: it marks what has to be concluded again.

An agent's newer report replaces its earlier findings scope by scope; a report that was stored before changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import bindparam, insert, select, tuple_, update

from certagent.collector.records import Acceptance, Caller, TokenRole
from certagent.collector.sql.audit_queries import append_fixes
from certagent.collector.sql.claim_queries import note_lead, note_proof
from certagent.collector.sql.daily_sums import sum_renewals
from certagent.collector.sql.inventories import end_files, replace_inventory
from certagent.collector.sql.schema import agents, changes, findings, rehearsals, reports, scopes
from certagent.collector.sql.statements import Transaction, chunks, delete_by, text_of, upsert
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome
from certagent.domain.reports import Report, RunKind, scope_of
from certagent.domain.sightings import key_of, keys_of, own_key_of

_LONGEST_IN_SPOOL = timedelta(days=30)
_CLOCKS_AGREE = timedelta(minutes=1)
_INVENTORY_SCOPE = "inventory"

_decode_finding = msgspec.json.Decoder(Finding).decode
_Scope = tuple[str, str]  # agent, scope
_Received = tuple[Caller, Report]


class Post(msgspec.Struct, frozen=True):
    """The reports that one agent sent at once."""

    caller: Caller
    reports: Sequence[Report]


def accept_posts(transaction: Transaction, posts: Sequence[Post]) -> list[Acceptance]:
    """Store the new reports of all posts; one answer for each post."""
    known = _known_reports(transaction, posts)
    new: list[_Received] = []
    answers = []
    for post in posts:
        before = len(new)
        for report in post.reports:
            if (report.agent, report.id) not in known:
                known.add((report.agent, report.id))
                new.append((post.caller, report))
        accepted = len(new) - before
        answers.append((accepted, len(post.reports) - accepted))
    note_agents(transaction, {post.caller.name: post.caller for post in posts})
    if new:
        transaction.connection.execute(insert(reports), [_report_row(transaction, report) for _, report in new])
        _insert_changes(transaction, new)
        if fixes := [(caller.name, event) for caller, report in new for event in report.fixes]:
            append_fixes(transaction, fixes)
        _apply(transaction, new)
        renewals = [report for _, report in new if report.kind is RunKind.RENEWAL]
        sum_renewals(transaction, [(report, _finished_at(transaction, report)) for report in renewals])
    work = transaction.work
    return [Acceptance(*counts, work[post.caller.name]) for post, counts in zip(posts, answers, strict=True)]


def note_agents(transaction: Transaction, callers: Mapping[str, Caller]) -> None:
    """Those agents are alive now, with those tokens' roles."""
    known: dict[str, str] = {}
    for piece in chunks(callers):
        query = select(agents.c.name, agents.c.token_role).where(agents.c.name.in_(piece))
        known.update((row.name, row.token_role) for row in transaction.connection.execute(query))
    if new := callers.keys() - known.keys():
        rows = [{"name": name, "token_role": callers[name].role, "last_seen": transaction.now} for name in sorted(new)]
        transaction.connection.execute(insert(agents), rows)
    if seen := [{"of": name, "as": callers[name].role, "now": transaction.now} for name in known]:
        statement = update(agents).where(agents.c.name == bindparam("of"))
        statement = statement.values(token_role=bindparam("as"), last_seen=bindparam("now"))
        transaction.connection.execute(statement, seen)
    changed = {caller.name for caller in callers.values() if known.get(caller.name) != caller.role}
    transaction.dirty.agents |= changed
    transaction.dirty.all |= bool(changed & known.keys())


def store_rehearsals(
    transaction: Transaction, candidates: Iterable[Rehearsal], *, asker: str, brokered: bool = True
) -> None:
    """Store those that are newer than what the same node asked for before; none counts as later than now."""
    now = transaction.now
    newest = {(one.identifier, _challenge_of(one)): one for one in sorted(candidates, key=lambda one: one.at)}
    known: dict[tuple[str, str], datetime] = {}
    columns = rehearsals.c.identifier, rehearsals.c.challenge, rehearsals.c.at
    for piece in chunks({name for name, _ in newest}):
        query = select(*columns).where(rehearsals.c.identifier.in_(piece), rehearsals.c.asker == asker)
        known.update(((row.identifier, row.challenge), row.at) for row in transaction.connection.execute(query))
    rows = [
        {
            "identifier": name,
            "challenge": challenge,
            "asker": asker,
            "at": min(rehearsal.at, now),
            "brokered": brokered,
            "document": text_of(rehearsal),
        }
        for (name, challenge), rehearsal in newest.items()
        if (name, challenge) not in known or min(rehearsal.at, now) > known[name, challenge]
    ]
    upsert(transaction.connection, rehearsals, rows)
    transaction.dirty.identifiers.update(str(row["identifier"]) for row in rows)
    for row in rows:
        rehearsal = newest[str(row["identifier"]), str(row["challenge"])]
        note_lead(transaction, rehearsal)
        if brokered and rehearsal.outcome is RehearsalOutcome.PASSED:
            note_proof(transaction, asker, rehearsal)


def finding_row(agent: str, scope: str, finding: Finding, at: datetime, *, is_ahead: bool = False) -> dict[str, Any]:
    """A row of `findings`. What has ended by a clock that `is_ahead` of ours may not have: that is no incident."""
    return {
        "agent": agent,
        "scope": scope,
        "identifier": finding.identifier,
        "key": key_of(agent, finding),
        "own_key": own_key_of(agent, finding),
        "is_grave": _is_grave(finding) and not (is_ahead and has_trait(finding.code, Trait.LIFETIME)),
        "at": at,
        "document": text_of(finding),
    }


def _known_reports(transaction: Transaction, posts: Sequence[Post]) -> set[tuple[str, str]]:
    candidates = {(report.agent, report.id) for post in posts for report in post.reports}
    known = set()
    for piece in chunks(candidates):
        query = select(reports.c.agent, reports.c.id).where(tuple_(reports.c.agent, reports.c.id).in_(piece))
        known |= {(row.agent, row.id) for row in transaction.connection.execute(query)}
    return known


def _finished_at(transaction: Transaction, report: Report) -> datetime:
    """When the run ended, by the agent's clock; now if that clock is wrong: no run ends in the future, and no spool
    holds a report for so long."""
    now = transaction.now
    return report.finished_at if now - _LONGEST_IN_SPOOL < report.finished_at <= now else now


def _report_row(transaction: Transaction, report: Report) -> dict[str, Any]:
    return {
        "agent": report.agent,
        "id": report.id,
        "sequence": report.sequence,
        "kind": str(report.kind)[:16],
        "received_at": transaction.now,
        "document": text_of(report),
    }


def _insert_changes(transaction: Transaction, new: Sequence[_Received]) -> None:
    rows = [
        {
            "agent": report.agent,
            "file": change.file,
            "at": _finished_at(transaction, report),
            "document": text_of(change),
        }
        for _, report in new
        for change in report.changes
    ]
    if rows:
        transaction.connection.execute(insert(changes), rows)


def _apply(transaction: Transaction, new: Sequence[_Received]) -> None:
    """Let inventories, findings and rehearsals of new reports replace older ones."""
    newest = _newest_by_scope(transaction, new)
    for (agent, scope), (_, report) in newest.items():
        if scope == _INVENTORY_SCOPE and report.inventory is not None:
            replace_inventory(transaction, agent, report.inventory, _finished_at(transaction, report))
    whole = {report.agent: report for _, report in newest.values() if report.other_files is not None}
    for agent, report in whole.items():
        end_files(transaction, agent, report.other_files or (), report.scopes)
    _replace_findings(transaction, newest)
    for agent, seen in _authority_rehearsals(new).items():
        store_rehearsals(transaction, seen, asker=agent, brokered=False)


def _newest_by_scope(transaction: Transaction, new: Sequence[_Received]) -> dict[_Scope, _Received]:
    """The newest report on each scope, noted as such in the table."""
    latest: dict[_Scope, tuple[int, datetime]] = {}
    for piece in chunks({report.agent for _, report in new}):
        for row in transaction.connection.execute(select(scopes).where(scopes.c.agent.in_(piece))).all():
            latest[row.agent, row.scope] = (row.sequence, row.at)
    newest: dict[_Scope, _Received] = {}
    for caller, report in new:
        at = _finished_at(transaction, report)
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
    upsert(transaction.connection, scopes, rows)
    return newest


def _scopes_of(report: Report) -> set[str]:
    stated = {*report.scopes, *(scope_of(report, finding) for finding in report.findings)}
    return stated | {_INVENTORY_SCOPE} if report.inventory is not None else stated


def _replace_findings(transaction: Transaction, newest: Mapping[_Scope, _Received]) -> None:
    old = _findings_in(transaction, newest)
    delete_by(transaction.connection, findings, [{"agent": agent, "scope": scope} for agent, scope in old])
    rows: list[dict[str, Any]] = []
    by_scope = {number: _by_scope(report) for number, report in {id(one): one for _, one in newest.values()}.items()}
    for (agent, scope), (caller, report) in newest.items():
        new = by_scope[id(report)].get(scope, [])
        at, is_ahead = _finished_at(transaction, report), report.finished_at > transaction.now + _CLOCKS_AGREE
        rows += [finding_row(agent, scope, finding, at, is_ahead=is_ahead) for finding in new]
        _mark_dirty(transaction, caller, report, old.get((agent, scope), []), new)
    if rows:
        transaction.connection.execute(insert(findings), rows)


def _by_scope(report: Report) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in report.findings:
        found.setdefault(scope_of(report, finding), []).append(finding)
    return found


def _findings_in(transaction: Transaction, wanted: Mapping[_Scope, _Received]) -> dict[_Scope, list[Finding]]:
    found: dict[_Scope, list[Finding]] = {}
    for piece in chunks({agent for agent, _ in wanted}):
        for row in transaction.connection.execute(select(findings).where(findings.c.agent.in_(piece))).all():
            if (row.agent, row.scope) in wanted:
                found.setdefault((row.agent, row.scope), []).append(_decode_finding(row.document))
    return found


def _mark_dirty(
    transaction: Transaction, caller: Caller, report: Report, old: list[Finding], new: list[Finding]
) -> None:
    """Mark what has to be concluded again; other agents judge again when the authority's files changed, or when a
    cause is gone."""
    for finding in (*old, *new):
        if _is_grave(finding):
            transaction.dirty.keys |= keys_of(caller.name, finding)
            transaction.dirty.identifiers.update([finding.identifier] if finding.identifier else [])
    before, after = {_essence(finding): finding for finding in old}, {_essence(finding): finding for finding in new}
    transaction.work[caller.name] += sum(is_grave for _, _, is_grave, _ in before.keys() ^ after.keys())
    if caller.role is TokenRole.AUTHORITY and report.kind is RunKind.WATCH:
        changed = before.keys() ^ after.keys()
        transaction.dirty.judge_again |= {(identifier, caller.name) for _, identifier, _, _ in changed if identifier}
    for essence in before.keys() - after.keys():
        finding = before[essence]
        if _is_grave(finding) and (name := finding.identifier) is not None:
            transaction.dirty.causes_gone |= {(name, caller.name, key) for key in keys_of(caller.name, finding)}


def _essence(finding: Finding) -> tuple[str, str | None, bool, Culprit | None]:
    return finding.code, finding.identifier, _is_grave(finding), finding.culprit


def _is_grave(finding: Finding) -> bool:
    return finding.severity.at_least(Severity.ERROR)


def _authority_rehearsals(new: Sequence[_Received]) -> dict[str, list[Rehearsal]]:
    """The authority's that passed or failed. All others went through the broker, or are not to be believed: an agent
    could claim an identifier and clear its findings."""
    found: dict[str, list[Rehearsal]] = {}
    for caller, report in new:
        if caller.role is TokenRole.AUTHORITY:
            known = (one for one in report.rehearsals if one.outcome is not RehearsalOutcome.UNAVAILABLE)
            found.setdefault(caller.name, []).extend(known)
    return found


def _challenge_of(rehearsal: Rehearsal) -> str:
    return rehearsal.challenge[:32]  # as long as the column
