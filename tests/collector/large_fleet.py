"""The database of a fleet of any size, written without a collector: nearly all is well, and a little of everything is
not. What there is most of is multiplied by the database itself, so that a million reports take seconds.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, insert, text

from certagent.collector.credentials import digest_of
from certagent.collector.sql.database import open_session, open_writer
from certagent.collector.sql.ingest import finding_row
from certagent.collector.sql.schema import (
    addresses,
    agents,
    audit,
    certificates,
    changes,
    earlier_claims,
    enrolments,
    findings,
    identifiers,
    incidents,
    outbox,
    parties,
    rehearsals,
    reports,
    speakers,
    tokens,
    transitions,
)
from certagent.collector.sql.statements import batched, text_of
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.fleet_snapshot import class_of_life
from certagent.domain.incidents import Incident, IncidentState, TransitionKind
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import Report
from certagent.domain.sightings import Victim
from tests.collector.cast import Agent, certificate
from tests.evidence import make_hop, make_rehearsal, refused

CHANNELS = ("hook", "mail")
_AT_ONCE = 5_000  # rows
_MICROSECONDS = 1_000_000
_EPOCH = 0
_COPY = """INSERT INTO {table} ({columns})
    WITH RECURSIVE one(n) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM one WHERE n + 1 < :count)
    SELECT {values} FROM one"""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is. Every tenth of the agents has changed a file, every hundredth is in trouble."""

    agents: int
    certificates: int
    reports: int
    incidents: int


FULL = Size(agents=50_000, certificates=150_000, reports=1_000_000, incidents=20_000)


def names_of(size: Size) -> list[str]:
    """The agents."""
    return [f"n{number}" for number in range(size.agents)]


def silent_of(size: Size) -> frozenset[str]:
    """Those that have not been heard of for ten minutes."""
    return frozenset(f"n{number}" for number in range(0, size.agents, 1_000))


def fill(url: str, size: Size, now: datetime) -> None:
    """Write the fleet as it is `now` into the new database at `url`, and let PostgreSQL count what it has."""
    engine = open_writer(url)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        _insert_nodes(connection, size, now)
        _insert_evidence(connection, size, now)
        _insert_incidents(connection, size, now)
        _multiply(connection, size, now)
    if engine.dialect.name == "postgresql":  # as it does by itself; an SQLite file has no statistics
        session = open_session(url)
        with session.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
        session.dispose()
    engine.dispose()


def _insert(connection: Connection, table: Table, rows: Iterator[Mapping[str, Any]]) -> None:
    for piece in batched(rows, _AT_ONCE):
        connection.execute(insert(table), piece)


def _seen_at(number: int, now: datetime) -> datetime:
    """Spread over the time within which connected agents are noted."""
    return now - timedelta(minutes=10) if number % 1_000 == 0 else now - timedelta(seconds=number % 75)


def _address_of(number: int) -> str:
    return f"10.{1 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


def _identifier_of(number: int) -> str:
    return f"s{number}.zone{number % 40}.test"


def _lifetime_of(number: int) -> timedelta:
    """A day; of every tenth three months, of a few ten years."""
    if number % 1_000 == 7:
        return timedelta(days=3_650)
    return timedelta(days=90 if number % 10 == 3 else 1)


def _insert_nodes(connection: Connection, size: Size, now: datetime) -> None:
    each = size.certificates // size.agents
    inventory = text_of(
        Agent("@N").inventory("@A", "web", *(certificate(f"c{i}", "@I") for i in range(each))).inventory
    )
    state, count = text_of(certificate("@C", "@I")), size.agents
    long_ago = now - timedelta(days=100)
    _insert(connection, tokens, (
        {"name": f"n{n}", "role": "authority" if n == 1 else "agent", "digest": digest_of(f"{n} {turn}"),
         "created_at": long_ago, "revoked_at": long_ago if turn else None}
        for n in range(count) for turn in range(2 if n % 20 == 0 else 1)
    ))  # fmt: skip
    _insert(connection, agents, (
        {"name": f"n{n}", "token_role": "authority" if n == 1 else "agent", "last_seen": _seen_at(n, now),
         "role": {1: "authority", 2: "collector"}.get(n, "web"),
         "inventory": inventory.replace("@N", f"n{n}").replace("@A", _address_of(n))}
        for n in range(count)
    ))  # fmt: skip
    _insert(connection, addresses, (
        {"address": address, "agent": f"n{n}", "since": long_ago,
         "contested": n % 5_000 == 10 or address != _address_of(n)}
        for n in range(count) for address in {_address_of(n), *((_address_of(n + 1),) if n % 5_000 == 9 else ())}
    ))  # fmt: skip
    _insert(connection, certificates, (
        {"agent": f"n{n % count}", "name": f"c{n // count}", "issued_at": ends - _lifetime_of(n), "expires_at": ends,
         "life": class_of_life(ends - _lifetime_of(n), ends),
         "document": state.replace("@C", f"c{n // count}").replace("@I", _identifier_of(n))}
        for n in range(size.certificates) for ends in (now + _left_of(n, count),)
    ))  # fmt: skip
    _insert(connection, identifiers, (
        {"identifier": name, "agent": f"n{n % count}", "certificate": f"c{n // count}", "since": long_ago,
         "contested": n % 10_000 == 10 or name != _identifier_of(n)}
        for n in range(size.certificates)
        for name in {_identifier_of(n), *((_identifier_of(n + 1),) if n % 10_000 == 9 else ())}
    ))  # fmt: skip
    _insert(connection, earlier_claims, (
        {"identifier": f"old{n}.test", "agent": f"n{n}", "since": long_ago,
         "left_at": now - timedelta(days=29 * n / count)}
        for n in range(count)
    ))  # fmt: skip
    _insert(connection, enrolments, (
        {"digest": digest_of(f"line {n}"), "name": f"n{n}", "document": "{}", "expires_at": now,
         "used_at": now, "used_from": "10.0.0.1", "reused_at": now if n % 1_000 == 1 else None}
        for n in range(count)
    ))  # fmt: skip
    _insert(connection, speakers, (
        {"agent": f"n{n}", "instance": f"{n:08}", "address": _address_of(n), "standing": "speaker",
         "since": long_ago, "heard_at": now - timedelta(days=n / count)}
        for n in range(count)
    ))  # fmt: skip


def _left_of(number: int, agents: int) -> timedelta:
    """A third to all of the lifetime; a twentieth, where nobody is left to renew it."""
    share = 0.05 if number % agents % 1_000 == 0 else 0.34 + 0.66 * (number % 997) / 997
    return _lifetime_of(number) * share


def _insert_evidence(connection: Connection, size: Size, now: datetime) -> None:
    _insert(connection, findings, (
        finding_row(f"n{n}", f"identifier:{_identifier_of(n)}", finding, now)
        for n in range(size.agents) for finding in _found_at(n)
    ))  # fmt: skip
    _insert(connection, rehearsals, (
        {"identifier": _identifier_of(n), "challenge": "http-01", "asker": f"n{n % size.agents}", "brokered": True,
         "at": now - timedelta(seconds=n), "document": _rehearsal_of(n)}
        for n in range(0, size.certificates, 2)
    ))  # fmt: skip


def _found_at(number: int) -> Iterator[Finding]:
    """A warning everywhere; of every hundredth that its port is shut, or that its own file is wrong; few disagree."""
    found = refused(_address_of(number), f"n{number}", _identifier_of(number))
    yield msgspec.structs.replace(found, severity=Severity.WARN)
    if number % 200 == 0:
        yield found
    if number % 200 == 100:
        yield msgspec.structs.replace(found, culprit=Culprit(node=f"n{number}", file="/etc/nginx/nginx.conf", line=7))
    if number % 2_500 == 50:
        yield msgspec.structs.replace(found, code="preflight.disagreed", severity=Severity.WARN, culprit=None)


_PASSED, _FAILED = (
    text_of(make_rehearsal(None, make_hop("@A", status, error=error), identifier="@I", outcome=outcome, node="n1"))
    for status, error, outcome in ((200, None, RehearsalOutcome.PASSED), (None, "refused", RehearsalOutcome.FAILED))
)


def _rehearsal_of(number: int) -> str:
    """Forty nodes are behind one gateway."""
    document = _FAILED if number % 2_000 == 0 else _PASSED
    return document.replace("@A", _address_of(number - number % 40)).replace("@I", _identifier_of(number))


def _incident_of(number: int, size: Size, now: datetime) -> Incident:
    """Of every hundred one is open; each began within little more than a year."""
    node, is_open = f"n{number % size.agents}", number % 100 == 0
    opened_at = now - timedelta(days=380 * number / size.incidents, hours=7)
    return Incident(
        id=f"{number:032x}",
        state=IncidentState.OPEN if is_open else IncidentState.RESOLVED,
        code="port.refused",
        severity=Severity.ERROR,
        culprit=Culprit(node=node, address=f"{_address_of(number % size.agents)}:80"),
        lines=(),
        victims=(Victim(identifier=_identifier_of(number), node=node, certificate="c0"),),
        explanation="Nobody answers.",
        fix=None,
        confirmed=True,
        reporters=(node,),
        opened_at=opened_at,
        resolved_at=None if is_open else opened_at + timedelta(hours=1),
    )


def _insert_incidents(connection: Connection, size: Size, now: datetime) -> None:
    made = [_incident_of(number, size, now) for number in range(size.incidents)]
    _insert(connection, incidents, (
        {"id": one.id, "key": f"port:{one.culprit.node}:{one.culprit.address}:{one.id}", "state": one.state,
         "opened_at": one.opened_at, "announced": True, "document": text_of(one)}
        for one in made
    ))  # fmt: skip
    _insert(connection, parties, ({"agent": one.culprit.node, "incident": one.id} for one in made))
    steps = [(one, kind, at) for one in made for kind, at in _steps_of(one, now)]
    _insert(connection, transitions, (
        {"incident": one.id, "kind": kind, "at": at, "document": text_of(one)} for one, kind, at in steps
    ))  # fmt: skip
    _insert(connection, outbox, (
        {"transition": number, "channel": channel, "attempts": 1, "due_at": at, "node": one.culprit.node,
         **_sent(number, channel, at, now)}
        for number, (one, _, at) in enumerate(steps, 1) for channel in CHANNELS
    ))  # fmt: skip


def _steps_of(one: Incident, now: datetime) -> Iterator[tuple[TransitionKind, datetime]]:
    """What is open was reminded of within the hour."""
    yield TransitionKind.OPENED, one.opened_at
    if one.resolved_at is not None:
        yield TransitionKind.RESOLVED, one.resolved_at
    else:
        yield TransitionKind.REMINDED, now - timedelta(minutes=50)


def _sent(number: int, channel: str, at: datetime, now: datetime) -> dict[str, Any]:
    """Nearly every message was; some wait for their next attempt, and `mail` has refused all for an hour."""
    if at > now - timedelta(hours=1) and channel == "mail":
        return {"given_up": True, "failure": "HTTP 404", "sent_at": None}
    if number % 1_000 == 2:
        return {"given_up": False, "failure": "HTTP 503", "sent_at": None, "due_at": now + timedelta(minutes=1)}
    return {"given_up": False, "failure": None, "sent_at": at}


def _multiply(connection: Connection, size: Size, now: datetime) -> None:
    """Reports of a month, changes of files within it, and what people did within a year."""
    day = 86_400 * _MICROSECONDS
    end = int(now.timestamp()) * _MICROSECONDS
    report, agent = _report(), f"'n' || n % {size.agents}"
    _copy(connection, reports, size.reports, agent=agent, id="'r' || n", sequence="n", kind="'preflight'",
          received_at=f"{end - 29 * day} + n * {29 * day // size.reports}", document=report)  # fmt: skip
    _copy(connection, changes, size.reports // 5, agent=agent, file="'/etc/hosts'", document="'{}'",
          at=f"{end - 29 * day} + n * {29 * day // (size.reports // 5)}")  # fmt: skip
    _copy(connection, audit, size.agents, at=f"{end - 364 * day} + n * {364 * day // size.agents}", subject="NULL",
          action="'login'", who="'ops'", origin="'10.0.0.1'", detail="'{}'")  # fmt: skip


def _report() -> str:
    report: Report = Agent("@N").preflight(identifier="s.zone.test")
    return f"'{text_of(report)}'"


def _copy(connection: Connection, table: Table, count: int, **values: str) -> None:
    """So many rows of those expressions of `n`."""
    statement = _COPY.format(table=table.name, columns=", ".join(values), values=", ".join(values.values()))
    connection.execute(text(statement.replace(":{", "\\:{").replace('":', '"\\:')), {"count": count})
