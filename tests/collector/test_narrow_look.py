"""A look that reads only what can matter finds what a look at everything finds: in fleets made by chance, with a little
of every trouble in each, and rows as an older program writes them."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, delete, insert, select

from certagent.collector import migrations
from certagent.collector.credentials import digest_of
from certagent.collector.sql import fleet_queries
from certagent.collector.sql.claim_queries import find_owners
from certagent.collector.sql.database import open_writer
from certagent.collector.sql.ingest import finding_row
from certagent.collector.sql.look_queries import read_snapshot
from certagent.collector.sql.schema import (
    addresses,
    agents,
    bindings,
    certificates,
    findings,
    identifiers,
    outbox,
    rehearsals,
    speakers,
    tokens,
    transitions,
)
from certagent.collector.sql.statements import Transaction, text_of
from certagent.collector.sql.upkeep import settle_rows
from certagent.domain.claims import Claim, ClaimKind, Dispute, disputes_among
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.fleet import conclude
from certagent.domain.fleet_snapshot import (
    FailingChannel,
    FleetCertificate,
    FleetSnapshot,
    LastSeen,
    class_of_life,
    expiring_before,
    heard_since,
)
from certagent.domain.path_trace import addresses_met
from certagent.domain.policy import Alerting
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.sightings import COLLECTOR
from tests.collector.cast import now
from tests.collector.large_fleet import Size, fill
from tests.collector.lone_rounds import POLICY
from tests.evidence import make_hop, make_rehearsal, refused

pytestmark = pytest.mark.slow

FLEETS = 120
CHANNELS = ("hook", "mail")
ZONES = ("a.test", "b.test", "")
CODES = ("ca.root_changed", "ca.unreachable", "ca.uses_proxy", "cert.expiring", "dns.nxdomain", "net.timeout")
TABLES = (
    *(agents, tokens, addresses, certificates, identifiers, findings, rehearsals, bindings, speakers),
    *(outbox, transitions),
)
NOW = now()
LONG_AGO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Chance:
    """One fleet, written by chance."""

    def __init__(self, seed: int, connection: Connection) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._connection = connection
        self._nodes = [f"n{number}" for number in range(self._chance.randint(1, 14))]
        self._mood = {code: self._chance.choice((0, 0, 0.1, 0.6, 0.9)) for code in (*CODES, "silent", "soon", "failed")}
        self.since = NOW - timedelta(minutes=self._chance.choice((1, 4, 600)))

    def write(self) -> None:
        """All of it."""
        for table in TABLES:
            self._connection.execute(delete(table))
        for number, node in enumerate(self._nodes):
            self._write_node(number, node)
            for code in CODES:
                if self._is_so(self._mood[code]):
                    self._write_finding(number, node, code)
        if self._is_so(0.3):
            self._insert(findings, finding_row(COLLECTOR, "fleet", self._silence(), NOW))
        if self._is_so(0.3):
            bound = {"kind": "identifier", "subject": self._name(0), "agent": "n1", "created_at": NOW}
            self._insert(bindings, bound)
        self._write_messages()

    def _is_so(self, probability: float) -> bool:
        return self._chance.random() < probability

    def _insert(self, table: Any, row: dict[str, Any]) -> None:
        self._connection.execute(insert(table).values(row))

    def _silence(self) -> Finding:
        node = self._chance.choice((*self._nodes, None))
        return msgspec.structs.replace(refused(), code="agent.silent", culprit=Culprit(node=node), identifier=None)

    def _name(self, number: int) -> str:
        zone = ZONES[number % 5 // 2]
        return f"s{number}.{zone}" if zone else f"s{number}"

    def _write_node(self, number: int, node: str) -> None:
        for turn in range(self._chance.choice((0, 1, 1, 1, 2))):
            revoked_at = NOW if self._is_so(0.2) else None
            row = {"name": node, "role": "agent", "digest": digest_of(f"{node} {turn}"), "created_at": NOW}
            self._insert(tokens, {**row, "revoked_at": revoked_at})
        quiet_for = self._chance.choice((220, 290, 310, 4_000)) if self._is_so(self._mood["silent"]) else 10
        role = self._chance.choice(("web", "collector", None))
        last_seen = NOW - timedelta(seconds=quiet_for)
        self._insert(agents, {"name": node, "token_role": "agent", "last_seen": last_seen, "role": role})
        claimed = {f"10.0.0.{number}", *(("10.0.0.1", "127.0.0.1") if self._is_so(0.2) else ())}
        for address in claimed:
            since = self._chance.choice((None, NOW, NOW - timedelta(days=1)))
            self._insert(addresses, {"address": address, "agent": node, "since": since})
        for name in range(self._chance.randint(0, 3)):
            self._write_certificate(number, node, f"c{name}")
        if self._is_so(0.5):
            self._write_rehearsal(number, node)

    def _write_certificate(self, number: int, node: str, name: str) -> None:
        life = timedelta(hours=self._chance.choice((0, 0.5, 1, 24, 24, 2_160, 87_600, 200_000)))
        left = life * self._chance.choice((-0.1, 0.0, 0.14, 0.1499)) if self._is_so(self._mood["soon"]) else life / 2
        ends: datetime | None = NOW + left if self._is_so(0.9) else None
        begins = ends - life if ends is not None and self._is_so(0.95) else None
        known = class_of_life(begins, ends) if begins is not None and ends is not None and self._is_so(0.7) else None
        times = {"expires_at": ends, "issued_at": begins, "life": known}
        self._insert(certificates, {"agent": node, "name": name, "document": "{}", **times})
        for other in {number, *((number + 1,) if self._is_so(0.2) else ())}:
            claimed = {"identifier": self._name(other), "agent": node, "certificate": name}
            proven_at = NOW if self._is_so(0.1) else None
            since = NOW - timedelta(days=self._chance.randint(0, 2))
            self._insert(identifiers, {**claimed, "since": since, "proven_at": proven_at})

    def _write_finding(self, number: int, node: str, code: str) -> None:
        culprits = (Culprit(node="ca"), Culprit(node="ca", file="/etc/hosts", line=3), Culprit(node=node), None)
        own_file = Culprit(node=node, file="/etc/hosts", line=3)
        said = msgspec.structs.replace(
            refused(identifier=self._name(number)), code=code, culprit=self._chance.choice((*culprits, own_file))
        )
        self._insert(findings, finding_row(node, f"identifier:{code}", said, NOW))
        if self._is_so(0.2):
            mild = msgspec.structs.replace(said, code="preflight.disagreed", severity=Severity.WARN, culprit=None)
            self._insert(findings, finding_row(node, "identifier:x", mild, NOW))

    def _write_rehearsal(self, number: int, node: str) -> None:
        error = self._chance.choice(("timeout", "refused")) if self._is_so(self._mood["failed"]) else None
        outcome = RehearsalOutcome.FAILED if error else RehearsalOutcome.PASSED
        hop = make_hop(f"10.0.0.{number}", None if error else 200, error=error)
        seen = make_rehearsal(None, hop, identifier=self._name(number), outcome=outcome, at=NOW, node="ca", owners={})
        key = {"identifier": self._name(number), "challenge": "http-01", "asker": node}
        self._insert(rehearsals, {**key, "at": NOW, "brokered": True, "document": text_of(seen)})

    def _write_messages(self) -> None:
        for number in range(1, self._chance.randint(1, 8)):
            at = NOW - timedelta(minutes=10 * number)
            self._insert(transitions, {"number": number, "incident": "i", "kind": "opened", "at": at, "document": "{}"})
            for channel in CHANNELS:
                fate = self._chance.choice(("sent", "sent", "refused", "given up", "new"))
                message = {"transition": number, "channel": channel, "attempts": int(fate != "new"), "failure": fate}
                sent_at = at + timedelta(minutes=self._chance.randint(0, 25)) if fate == "sent" else None
                times = {"due_at": at + timedelta(minutes=self._chance.randint(0, 25)), "sent_at": sent_at}
                self._insert(outbox, {**message, **times, "given_up": fate == "given up"})


def read_everything(connection: Connection, since: datetime) -> FleetSnapshot:
    """By no index and no condition: every table, and nothing is left to the database."""
    rows = {table: connection.execute(select(table)).all() for table in TABLES}
    tokens_of = {name: list(group) for name, group in groupby(sorted(rows[tokens], key=_name_of), key=_name_of)}
    retired = {name for name, held in tokens_of.items() if all(token.revoked_at is not None for token in held)}
    told = [fleet_queries.sighting_of(row) for row in sorted(rows[findings], key=lambda row: row.number)
            if row.agent != COLLECTOR and (_is_telling(row) or ":preflight.disagreed:" in row.key)]  # fmt: skip
    said = [fleet_queries.sighting_of(row).finding for row in rows[findings] if row.agent == COLLECTOR]
    known = [fleet_queries.rehearsal_of(row) for row in rows[rehearsals]]
    known = known if any(one.has_failed for one in known) else []
    heard = [LastSeen(row.name, row.last_seen) for row in rows[agents] if row.name not in retired]
    on_node = sorted(row.name for row in rows[agents] if row.role == "collector")
    return FleetSnapshot(
        last_seen=heard_since(heard, since, said),
        certificates=tuple(_certificates(rows, retired)),
        sightings=tuple(told),
        rehearsals=tuple(known),
        channels=tuple(_failing(rows)),
        collector=on_node[0] if on_node else None,
        owners=find_owners(connection, {address for one in known for address in addresses_met(one.rehearsal)}),
        disputes=(*_disputes(rows, ClaimKind.IDENTIFIER, identifiers), *_disputes(rows, ClaimKind.ADDRESS, addresses)),
    )


def _name_of(row: Any) -> str:
    return str(row.name)


def _is_telling(row: Any) -> bool:
    return bool(row.is_grave) and not (row.key.startswith("file:") and row.own_key is None)


def _certificates(rows: Any, retired: set[str]) -> Iterator[FleetCertificate]:
    for row in rows[certificates]:
        if row.issued_at is not None and row.expires_at is not None and row.agent not in retired:
            names = [
                one.identifier for one in rows[identifiers] if (one.agent, one.certificate) == (row.agent, row.name)
            ]
            times = {"not_before": row.issued_at, "not_after": row.expires_at}
            yield FleetCertificate(node=row.agent, name=row.name, identifiers=tuple(names), **times)


def _failing(rows: Any) -> Iterator[FailingChannel]:
    made_at = {row.number: row.at for row in rows[transitions]}
    for channel in CHANNELS:
        own = [row for row in rows[outbox] if row.channel == channel]
        last = max((row.sent_at for row in own if row.sent_at is not None), default=LONG_AGO)
        tried = [row for row in own if row.sent_at is None and row.attempts > 0]
        bad = [row for row in tried if (row.due_at if row.given_up else made_at[row.transition]) > last]
        bad.sort(key=lambda row: row.number)
        if bad:
            since = max(made_at[bad[0].transition], last)
            gave_up = any(row.given_up for row in bad)
            yield FailingChannel(name=channel, since=since, failure=bad[-1].failure, gave_up=gave_up)


def _disputes(rows: Any, kind: ClaimKind, table: Any) -> tuple[Dispute, ...]:
    claims: dict[tuple[str, str], Claim] = {}
    for row in rows[table]:
        subject = getattr(row, str(kind))
        before = claims.get((subject, row.agent))
        dates = [row.since, *([before.since] if before is not None else [])]
        claims[subject, row.agent] = Claim(
            node=row.agent,
            since=None if None in dates else min(dates),
            is_proven=getattr(row, "proven_at", None) is not None or (before is not None and before.is_proven),
        )
    bound = [(row.subject, row.agent) for row in rows[bindings] if row.kind == kind]
    return disputes_among(kind, ((subject, claim) for (subject, _), claim in claims.items()), bound)


def found_by(snapshot: FleetSnapshot) -> list[str]:
    """What is concluded, graded, as it is stored."""
    return sorted(text_of(POLICY.grade(finding)) for finding in conclude(snapshot, POLICY.collector, NOW))


@pytest.mark.parametrize("seed", range(0, FLEETS, 40))
def test_the_same_is_found_as_by_a_look_at_everything(url: str, seed: int) -> None:
    """Before the rows of an older program are settled, and after; whatever the database counts, and in which order."""
    engine, codes = open_writer(url), set()
    for number in range(seed, seed + 40):
        with engine.begin() as connection:
            fleet = Chance(number, connection)
            fleet.write()
            expected = found_by(read_everything(connection, fleet.since))
            for _ in range(2):
                seen = read_snapshot(connection, fleet.since, CHANNELS, POLICY.collector, NOW)
                assert found_by(seen) == expected, f"fleet {number}"
                settle_rows(Transaction(connection, NOW, Alerting()))
            codes |= {msgspec.json.decode(document)["code"] for document in expected}
    engine.dispose()
    assert len(codes) >= 10, codes


def test_a_certificate_is_about_to_expire_only_before_its_class_is() -> None:
    """The edges of every class, to the microsecond, and lives that are none."""
    step, fraction = timedelta(microseconds=1), POLICY.collector.expiring_below
    for number in range(18):
        for life in (timedelta(hours=2**number) + step * add for add in (-1, 0, 1)):
            begins = NOW - life
            known = class_of_life(begins, NOW)
            assert known == (number + 1 if life > timedelta(hours=2**number) else number)
            assert known == 18 or expiring_before(known, fraction, NOW) > NOW + life * fraction - step
    assert class_of_life(NOW, NOW) == class_of_life(NOW + timedelta(days=9), NOW) == 0


def test_an_older_schema_is_taken_over(url: str) -> None:
    """Of every row that was there, the migration knows what is known of a new one."""
    fill(url, Size(agents=300, certificates=900, reports=300, incidents=30), NOW)
    engine = open_writer(url)
    with engine.begin() as connection:
        before = _derived(connection)
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.downgrade(config, "0014")
        command.upgrade(config, "head")
        assert _derived(connection) == before
    engine.dispose()
    assert {row.life for row in before[0]} >= {5, 12, 17}
    assert [sum(row.contested for row in rows) for rows in before[1:]] == [2, 2]


def _derived(connection: Connection) -> list[list[Any]]:
    queries = (
        select(certificates.c.agent, certificates.c.name, certificates.c.life),
        select(addresses.c.address, addresses.c.agent, addresses.c.contested),
        select(identifiers.c.identifier, identifiers.c.agent, identifiers.c.contested),
    )
    return [sorted(connection.execute(query).all()) for query in queries]
