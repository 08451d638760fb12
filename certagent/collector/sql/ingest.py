"""Reports into tables, many at a time. Concludes nothing: it marks what has to be concluded again.

An agent's newer report replaces its earlier findings scope by scope; a report that was stored before changes nothing.

Where several collectors write to one database, most reports are stored beside one another's (`accept_beside`): those
that touch no more than rows of their own agents, which are locked in the order of their names, and that leave nothing
to conclude. All else is done while nobody else writes. So no conclusion misses what is stored, and nobody waits in a
circle.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import bindparam, insert, select, update

from certagent.collector.records import Acceptance, Caller, TokenRole
from certagent.collector.sql.audit_queries import append_fixes
from certagent.collector.sql.bulk import Bulk
from certagent.collector.sql.claim_queries import note_lead, note_proof
from certagent.collector.sql.daily_sums import sum_renewals
from certagent.collector.sql.inventories import end_files, replace_inventory
from certagent.collector.sql.schema import agents, changes, findings, rehearsals, reports, scopes
from certagent.collector.sql.seen_agents import Kept, see
from certagent.collector.sql.statements import DirtySet, Transaction, chunks, micros, text_of, upsert
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome
from certagent.domain.reports import Report, RunKind, scope_of
from certagent.domain.sightings import key_of, keys_of, own_key_of

_LONGEST_IN_SPOOL = timedelta(days=30)
_CLOCKS_AGREE = timedelta(minutes=1)
_INVENTORY_SCOPE = "inventory"

_AGENTS = Bulk(agents, ("name",))
_REPORTS = Bulk(reports, ("agent", "id", "sequence", "kind", "received_at", "document"))
_SCOPES = Bulk(scopes, ("agent", "scope", "sequence", "at"))
_IS_LATE = "excluded.sequence < scopes.sequence AND excluded.at < scopes.at"
_SCOPES_OF_FINDINGS = Bulk(findings, ("agent", "scope"))
_FINDINGS = Bulk(findings, ("agent", "scope", "identifier", "key", "own_key", "is_grave", "at", "document"))

_decode_finding = msgspec.json.Decoder(Finding).decode
_Scope = tuple[str, str]  # agent, scope


class Post(msgspec.Struct, frozen=True):
    """The reports that one agent sent at once. `dues`: for so many microseconds more it may not have as much stored at
    once as ever, for what it had stored before this."""

    caller: Caller
    reports: Sequence[Report]
    dues: int = 0

    def may_be_quiet(self) -> bool:
        """Whether it may leave nothing to conclude, and touch nothing but rows of its own agent."""
        return self.caller.role is TokenRole.AGENT and all(map(_may_be_quiet, self.reports))


class _Received(msgspec.Struct, frozen=True):
    """A new report, whose, and when its run ended as far as we believe it."""

    caller: Caller
    report: Report
    at: datetime


class NotQuiet(Exception):
    """There is something to conclude after all: nothing may be kept of the transaction."""


def accept_posts(transaction: Transaction, posts: Sequence[Post]) -> list[Acceptance]:
    """Store the new reports of all posts; one answer for each post. Nobody else may write meanwhile."""
    kept = note_agents(transaction, {post.caller.name: post.caller for post in posts}, _dues_of(posts))
    return _accept(transaction, posts, kept)


def accept_beside(transaction: Transaction, posts: Sequence[Post]) -> list[Acceptance | None]:
    """Likewise while others write as this does; None for each post that has to be taken while nobody does. Only of
    posts that `may_be_quiet`. Raises `NotQuiet`."""
    dues, changed = _dues_of(posts), _say_what_is_new(transaction, posts)
    rows = [(name, TokenRole.AGENT, due) for name, due in sorted(dues.items()) if name not in changed]
    kept = see(transaction, rows, only_quiet=True)
    answers = iter(_accept(transaction, [post for post in posts if post.caller.name in kept], kept))
    if transaction.dirty != DirtySet():
        raise NotQuiet
    return [next(answers) if post.caller.name in kept else None for post in posts]


def _dues_of(posts: Sequence[Post]) -> Mapping[str, int]:
    dues: Counter[str] = Counter()
    for post in posts:
        dues[post.caller.name] += post.dues
    return dues


def _may_be_quiet(report: Report) -> bool:
    return not (report.kind is RunKind.RENEWAL or report.fixes or any(map(_is_grave, report.findings)))


def _say_what_is_new(transaction: Transaction, posts: Sequence[Post]) -> set[str]:
    """The agents that say of their nodes what they did not say before. While others store beside this, nobody's changes
    what is known."""
    said: dict[str, set[str]] = {}
    for post in posts:
        for report in post.reports:
            if report.inventory is not None:
                said.setdefault(post.caller.name, set()).add(text_of(report.inventory))
    known: dict[str, str] = dict(
        _AGENTS.find(transaction.connection, [(name,) for name in said], ("name", "inventory"))
    )
    return {name for name, texts in said.items() if texts != {known.get(name)}}


def _accept(transaction: Transaction, posts: Sequence[Post], kept: Kept) -> list[Acceptance]:
    rows = [_report_row(transaction, report) for post in posts for report in post.reports]
    left = _REPORTS.insert_new(transaction.connection, rows, ("agent", "id"))
    new: list[_Received] = []
    answers = []
    for post in posts:
        before = len(new)
        for report in post.reports:
            if (report.agent, report.id) in left:
                left.remove((report.agent, report.id))
                new.append(_Received(post.caller, report, _finished_at(transaction, report)))
        accepted = len(new) - before
        answers.append((accepted, len(post.reports) - accepted))
    if new:
        _insert_changes(transaction, new)
        if fixes := [(one.caller.name, event) for one in new for event in one.report.fixes]:
            append_fixes(transaction, fixes)
        _apply(transaction, new)
        if renewals := [(one.report, one.at) for one in new if one.report.kind is RunKind.RENEWAL]:
            sum_renewals(transaction, renewals)
    work, names = transaction.work, [post.caller.name for post in posts]
    return [Acceptance(*counts, work[name], kept.get(name)) for name, counts in zip(names, answers, strict=True)]


def note_agents(transaction: Transaction, callers: Mapping[str, Caller], dues: Mapping[str, int] = {}) -> Kept:
    """Those agents are alive now, with those tokens' roles, and owe that much more."""
    connection = transaction.connection
    known: dict[str, str] = dict(_AGENTS.find(connection, [(name,) for name in callers], ("name", "token_role")))
    if new := callers.keys() - known.keys():
        rows = [{"name": name, "token_role": callers[name].role, "last_seen": transaction.now} for name in sorted(new)]
        connection.execute(insert(agents), rows)
    changed = {name for name, role in known.items() if role != callers[name].role}
    if changed:
        statement = update(agents).where(agents.c.name == bindparam("of")).values(token_role=bindparam("as"))
        connection.execute(statement, [{"of": name, "as": callers[name].role} for name in sorted(changed)])
    transaction.dirty.agents |= new | changed
    transaction.dirty.all |= bool(changed)
    return see(transaction, ((name, caller.role, dues.get(name, 0)) for name, caller in sorted(callers.items())))


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


def _finished_at(transaction: Transaction, report: Report) -> datetime:
    """When the run ended, by the agent's clock; now if that clock is wrong: no run ends in the future, and no spool
    holds a report for so long."""
    now = transaction.now
    return report.finished_at if now - _LONGEST_IN_SPOOL < report.finished_at <= now else now


def _report_row(transaction: Transaction, report: Report) -> tuple[object, ...]:
    kind, received_at = str(report.kind)[:16], micros(transaction.now)
    return report.agent, report.id, report.sequence, kind, received_at, text_of(report)


def _insert_changes(transaction: Transaction, new: Sequence[_Received]) -> None:
    rows = [
        {"agent": one.report.agent, "file": change.file, "at": one.at, "document": text_of(change)}
        for one in new
        for change in one.report.changes
    ]
    if rows:
        transaction.connection.execute(insert(changes), rows)


def _apply(transaction: Transaction, new: Sequence[_Received]) -> None:
    """Let inventories, findings and rehearsals of new reports replace older ones."""
    newest = _newest_by_scope(transaction, new)
    for (agent, scope), one in newest.items():
        if scope == _INVENTORY_SCOPE and one.report.inventory is not None:
            replace_inventory(transaction, agent, one.report.inventory, one.at)
    whole = {one.report.agent: one.report for one in newest.values() if one.report.other_files is not None}
    for agent, report in whole.items():
        end_files(transaction, agent, report.other_files or (), report.scopes)
    _replace_findings(transaction, newest)
    for agent, seen in _authority_rehearsals(new).items():
        store_rehearsals(transaction, seen, asker=agent, brokered=False)


def _newest_by_scope(transaction: Transaction, new: Sequence[_Received]) -> dict[_Scope, _Received]:
    """The newest report on each scope, noted as such in the table, unless a newer one was here before."""
    newest: dict[_Scope, _Received] = {}
    for one in new:
        for scope in _scopes_of(one.report):
            known = newest.get((one.report.agent, scope))
            if known is None or one.report.sequence >= known.report.sequence or one.at >= known.at:
                newest[one.report.agent, scope] = one  # an agent that lost its state counts from 1 again, its clock not
    rows = [(*scope, one.report.sequence, micros(one.at)) for scope, one in newest.items()]
    written = _SCOPES.put(transaction.connection, rows, ("agent", "scope"), unless=_IS_LATE)
    return newest if len(written) == len(newest) else {scope: newest[scope] for scope in newest if scope in written}


def _scopes_of(report: Report) -> set[str]:
    stated = {*report.scopes, *(scope_of(report, finding) for finding in report.findings)}
    return stated | {_INVENTORY_SCOPE} if report.inventory is not None else stated


def _replace_findings(transaction: Transaction, newest: Mapping[_Scope, _Received]) -> None:
    old: dict[_Scope, list[Finding]] = {}
    taken = _SCOPES_OF_FINDINGS.take(transaction.connection, list(newest), ("agent", "scope", "document"))
    for agent, scope, document in taken:
        old.setdefault((agent, scope), []).append(_decode_finding(document))
    rows: list[dict[str, Any]] = []
    reports = {id(one): one.report for one in newest.values()}  # each once, however many scopes it has
    by_scope = {key: _by_scope(report) for key, report in reports.items()}
    for (agent, scope), one in newest.items():
        before, after = old.get((agent, scope), []), by_scope[id(one)].get(scope, [])
        if before or after:
            is_ahead = one.report.finished_at > transaction.now + _CLOCKS_AGREE
            rows += [finding_row(agent, scope, finding, one.at, is_ahead=is_ahead) for finding in after]
            _mark_dirty(transaction, one.caller, one.report, before, after)
    packed = (row | {"at": micros(row["at"])} for row in rows)
    _FINDINGS.insert(transaction.connection, [tuple(row[name] for name in _FINDINGS.columns) for row in packed])


def _by_scope(report: Report) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in report.findings:
        found.setdefault(scope_of(report, finding), []).append(finding)
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
    for received in new:
        if received.caller.role is TokenRole.AUTHORITY:
            known = (one for one in received.report.rehearsals if one.outcome is not RehearsalOutcome.UNAVAILABLE)
            found.setdefault(received.caller.name, []).extend(known)
    return found


def _challenge_of(rehearsal: Rehearsal) -> str:
    return rehearsal.challenge[:32]  # as long as the column
