"""Reports into tables, many at a time. Concludes nothing: it marks what has to be concluded again.

An agent's newer report replaces its earlier findings scope by scope; a report that was stored before changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, insert, select, tuple_, update

from certagent.collector.records import Acceptance, Caller, TokenRole
from certagent.collector.sql.schema import (
    addresses,
    agents,
    certificates,
    changes,
    findings,
    identifiers,
    rehearsals,
    reports,
    scopes,
)
from certagent.collector.sql.statements import Transaction, chunks, delete_by, text_of, upsert
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.incidents import key_of
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome
from certagent.domain.reports import CertificateState, Inventory, Report, RunKind, scope_of

_LONGEST_IN_SPOOL = timedelta(days=30)
_CLOCKS_AGREE = timedelta(minutes=1)
_INVENTORY_SCOPE = "inventory"

_decode_finding = msgspec.json.Decoder(Finding).decode
_decode_inventory = msgspec.json.Decoder(Inventory).decode
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
        answers.append(Acceptance(accepted, len(post.reports) - accepted))
    note_agents(transaction, {post.caller.name: post.caller for post in posts})
    if new:
        transaction.connection.execute(insert(reports), [_report_row(transaction, report) for _, report in new])
        _insert_changes(transaction, new)
        _apply(transaction, new)
    return answers


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


def store_rehearsals(transaction: Transaction, candidates: Iterable[Rehearsal], *, brokered: bool) -> None:
    """Store those that are newer than the known ones of their identifiers; none counts as later than now."""
    now = transaction.now
    newest = {rehearsal.identifier: rehearsal for rehearsal in sorted(candidates, key=lambda rehearsal: rehearsal.at)}
    known: dict[str, datetime] = {}
    for piece in chunks(newest):
        query = select(rehearsals.c.identifier, rehearsals.c.at).where(rehearsals.c.identifier.in_(piece))
        known.update((row.identifier, row.at) for row in transaction.connection.execute(query))
    rows = [
        {"identifier": name, "at": min(rehearsal.at, now), "brokered": brokered, "document": text_of(rehearsal)}
        for name, rehearsal in newest.items()
        if name not in known or min(rehearsal.at, now) > known[name]
    ]
    upsert(transaction.connection, rehearsals, rows)
    transaction.dirty.identifiers.update(str(row["identifier"]) for row in rows)


def finding_row(agent: str, scope: str, finding: Finding, at: datetime, *, is_ahead: bool = False) -> dict[str, Any]:
    """A row of `findings`. What has ended by a clock that `is_ahead` of ours may not have: that is no incident."""
    return {
        "agent": agent,
        "scope": scope,
        "identifier": finding.identifier,
        "key": key_of(agent, finding),
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
            _replace_inventory(transaction, agent, report.inventory)
    _replace_findings(transaction, newest)
    if any(report.rehearsals for _, report in new):
        store_rehearsals(transaction, _authority_rehearsals(new), brokered=False)


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
    for (agent, scope), (caller, report) in newest.items():
        new = [finding for finding in report.findings if scope_of(report, finding) == scope]
        at, is_ahead = _finished_at(transaction, report), report.finished_at > transaction.now + _CLOCKS_AGREE
        rows += [finding_row(agent, scope, finding, at, is_ahead=is_ahead) for finding in new]
        _mark_dirty(transaction, caller, report, old.get((agent, scope), []), new)
    if rows:
        transaction.connection.execute(insert(findings), rows)


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
            transaction.dirty.keys.add(key_of(caller.name, finding))
            transaction.dirty.identifiers.update([finding.identifier] if finding.identifier else [])
    before, after = {_essence(finding) for finding in old}, {_essence(finding) for finding in new}
    is_authority_watch = caller.role is TokenRole.AUTHORITY and report.kind is RunKind.WATCH
    gone = {essence for essence in before - after if essence[2]}
    changed = before ^ after if is_authority_watch else gone
    transaction.dirty.judge_again |= {(identifier, caller.name) for _, identifier, _, _ in changed if identifier}


def _essence(finding: Finding) -> tuple[str, str | None, bool, Culprit | None]:
    return finding.code, finding.identifier, _is_grave(finding), finding.culprit


def _is_grave(finding: Finding) -> bool:
    return finding.severity.at_least(Severity.ERROR)


def _authority_rehearsals(new: Sequence[_Received]) -> list[Rehearsal]:
    """The authority's that passed or failed. All others went through the broker, or are not to be believed: an agent
    could claim an identifier and clear its findings."""
    return [
        rehearsal
        for caller, report in new
        for rehearsal in report.rehearsals
        if caller.role is TokenRole.AUTHORITY and rehearsal.outcome is not RehearsalOutcome.UNAVAILABLE
    ]


def _replace_inventory(transaction: Transaction, agent: str, inventory: Inventory) -> None:
    """Let the inventory replace the agent's earlier one; an equal one changes nothing."""
    connection, document = transaction.connection, text_of(inventory)
    stored = connection.execute(select(agents.c.inventory).where(agents.c.name == agent)).scalar()
    if stored == document:
        return
    before = _decode_inventory(stored) if stored is not None else Inventory(node=agent, addresses=())
    connection.execute(update(agents).where(agents.c.name == agent).values(role=inventory.role, inventory=document))
    transaction.dirty.agents.add(agent)
    if (before.addresses, before.role) != (inventory.addresses, inventory.role):
        _replace_addresses(transaction, agent, inventory)
        transaction.dirty.all = True
    if before.certificates != inventory.certificates:
        _replace_certificates(transaction, agent, inventory)
        both = (*before.certificates, *inventory.certificates)
        transaction.dirty.identifiers |= {name for certificate in both for name in certificate.identifiers}


def _replace_addresses(transaction: Transaction, agent: str, inventory: Inventory) -> None:
    transaction.connection.execute(delete(addresses).where(addresses.c.agent == agent))
    rows = [{"address": address, "agent": agent} for address in sorted(set(inventory.addresses))]
    if rows:
        transaction.connection.execute(insert(addresses), rows)


def _replace_certificates(transaction: Transaction, agent: str, inventory: Inventory) -> None:
    for table in (certificates, identifiers):
        transaction.connection.execute(delete(table).where(table.c.agent == agent))
    by_name = {certificate.name: certificate for certificate in inventory.certificates}
    if not by_name:
        return
    rows = [_certificate_row(agent, certificate) for certificate in by_name.values()]
    transaction.connection.execute(insert(certificates), rows)
    names = {
        (identifier, certificate.name) for certificate in by_name.values() for identifier in certificate.identifiers
    }
    if names:
        rows = [{"identifier": identifier, "agent": agent, "certificate": name} for identifier, name in sorted(names)]
        transaction.connection.execute(insert(identifiers), rows)


def _certificate_row(agent: str, certificate: CertificateState) -> dict[str, Any]:
    return {
        "agent": agent,
        "name": certificate.name,
        "expires_at": certificate.on_disk.ends_at if certificate.on_disk is not None else None,
        "document": text_of(certificate),
        "issued_at": certificate.on_disk.not_before if certificate.on_disk is not None else None,
    }
