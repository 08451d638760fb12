"""A database that an earlier version wrote (`data/store-0003.sql`) is taken over: nothing is lost, and it goes on."""

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent.collector.credentials import (
    certificate_digest_of,
    digest_of,
    find_caller,
    find_user,
    is_password,
    list_tokens,
)
from certagent.collector.records import Acceptance, Caller, TokenRole
from certagent.collector.sql.api_queries import (
    find_incident,
    find_path_evidence,
    find_stale_identifiers,
    list_agents,
    list_certificates,
    list_incidents,
    list_reports,
)
from certagent.collector.sql.deliveries import list_announced, next_delivery, record_attempt
from certagent.collector.sql.page_queries import find_node
from certagent.collector.store import Store, open_store
from certagent.domain.incidents import TransitionKind
from certagent.domain.policy import Alerting
from tests.collector.cast import Agent
from tests.collector.test_store import states, take
from tests.evidence import TRAEFIK
from tests.fakes.clock import FakeClock

DUMP = Path(__file__).parent / "data" / "store-0003.sql"
WRITTEN_AT = datetime(2026, 11, 24, 3, 0, 15, tzinfo=UTC)
TOKEN = "made-up-token-for-a-test-0123456789abcdefghi"
SESSION = "s" + "0" * 63
SHADOW, REFUSED = "39bad736c51e", "10e51d819912"  # incidents


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The database as the earlier version left it."""
    file = tmp_path / "collector.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(DUMP.read_text())
    connection.close()
    return file


@pytest.fixture
async def store(file: Path) -> AsyncIterator[Store]:
    """Opened by this version a minute later."""
    clock = FakeClock(WRITTEN_AT + timedelta(minutes=1))
    async with open_store(f"sqlite:///{file}", Alerting(channels=("hook",)), clock) as store:
        yield store


async def test_whoever_was_recognised_still_is(store: Store, file: Path) -> None:
    """By token, certificate, session and password."""
    moment = WRITTEN_AT
    assert await store.read(find_caller, digest_of(TOKEN), moment) == Caller("lxc102", TokenRole.AGENT)
    certificate = certificate_digest_of("gateway.internal")
    assert await store.read(find_caller, certificate, moment) == Caller("lxc101", TokenRole.AGENT)
    assert await store.read(find_caller, SESSION, moment) == Caller("ada", TokenRole.OPERATOR)
    user = await store.read(find_user, "ada")
    assert user is not None
    assert is_password("a password of ada", user.password)
    assert [token.name for token in list_tokens(f"sqlite:///{file}")] == ["lxc102", "lxc101"]


async def test_what_was_reported_is_there(store: Store) -> None:
    """Agents, certificates, reports, and what is known of one node and of one path."""
    agents = (await store.read(list_agents, None, 9)).items
    assert [(agent.name, agent.token_role) for agent in agents] == [
        ("lxc101", TokenRole.AGENT),
        ("lxc102", TokenRole.AGENT),
        ("lxc103", TokenRole.AUTHORITY),
    ]
    certificates = (await store.read(list_certificates, None, 9)).items
    assert [known.certificate.name for known in certificates] == ["gateway", "traefik"]
    assert len((await store.read(list_reports, None, 99)).items) == 6
    node = await store.read(find_node, "lxc103")
    assert node is not None
    assert [(watched.file, watched.changed_at is not None) for watched in node.files] == [("/etc/hosts", True)]
    known = await store.read(find_path_evidence, TRAEFIK)
    assert known.rehearsal is not None
    assert (known.rehearsal.brokered, known.rehearsal.asker) == (True, "lxc102")
    assert [sighting.finding.code for sighting in known.sightings] == ["dns.hosts_shadow.authority"]


async def test_incidents_keep_their_state_and_history(store: Store) -> None:
    """The open one names the change that preceded it; the agent is asked to judge again when it connects."""
    found = {incident.id: str(incident.state) for incident in (await store.read(list_incidents, None, 9)).items}
    assert found == {SHADOW: "open", REFUSED: "resolved"}
    shadow = await store.read(find_incident, SHADOW)
    refused = await store.read(find_incident, REFUSED)
    assert shadow is not None
    assert refused is not None
    assert shadow.incident.change is not None
    assert [transition.kind for transition in refused.transitions] == [TransitionKind.OPENED, TransitionKind.RESOLVED]
    assert await store.read(find_stale_identifiers, "lxc102") == {TRAEFIK}


async def test_what_waits_in_the_outbox_leaves_and_what_was_sent_does_not_leave_again(store: Store) -> None:
    """In its order."""
    assert [incident.id for incident in await store.read(list_announced, "hook")] == [SHADOW]
    kinds = []
    while (delivery := await store.read(next_delivery, "hook", WRITTEN_AT)) is not None:
        kinds.append((delivery.incident.id, delivery.kind))
        await store.write(record_attempt, delivery.number, failure=None, retry_at=None)
    assert kinds == [(REFUSED, TransitionKind.OPENED), (REFUSED, TransitionKind.RESOLVED)]


async def test_reports_go_on_where_they_were(store: Store) -> None:
    """One that was stored before is a duplicate; the next one clears the finding and resolves the incident."""
    authority = Agent("lxc103", sequence=1)
    repeated = authority.watch(at=WRITTEN_AT - timedelta(seconds=10))
    assert repeated.id == "lxc103-2"
    assert await take(store, authority, repeated) == Acceptance(0, 1)
    assert sorted(await states(store)) == ["open", "resolved"]
    assert await take(store, authority, authority.watch(at=WRITTEN_AT + timedelta(seconds=30))) == Acceptance(
        1, 0, work=1
    )
    assert await states(store) == ["resolved", "resolved"]
