"""The store's contract, the same for every backend: SQLite, and a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from certagent.collector.credentials import add_token, digest_of, find_caller, list_tokens, revoke_tokens
from certagent.collector.records import Acceptance, Caller, Changes, StoreFailed, TokenRole
from certagent.collector.sql.api_queries import (
    find_incident,
    find_path_evidence,
    find_stale_identifiers,
    list_agents,
    list_incidents,
    list_reports,
)
from certagent.collector.sql.database import open_writer
from certagent.collector.sql.deliveries import next_delivery, record_attempt
from certagent.collector.sql.schema import metadata
from certagent.collector.store import Store, open_store
from certagent.domain.findings import Culprit
from certagent.domain.incidents import IncidentState, TransitionKind
from certagent.domain.policy import Alerting
from certagent.domain.rehearsals import RehearsalOutcome
from certagent.domain.reports import Report
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, Cast, certificate, now
from tests.evidence import NGINX, TRAEFIK, refused, rehearse_traefik, shadow

Opening = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture
def opening(url: str) -> Opening:
    """Opens the same database each time."""
    return lambda: open_store(url, Alerting(channels=("hook",)), SystemClock())


@pytest.fixture
async def store(opening: Opening) -> AsyncIterator[Store]:
    """Open."""
    async with opening() as store:
        yield store


def caller_of(agent: Agent) -> Caller:
    """Its token's owner."""
    return Caller(agent.name, TokenRole.AUTHORITY if agent.name == "lxc103" else TokenRole.AGENT)


async def take(store: Store, agent: Agent, *reports: Report) -> Acceptance:
    """The agent hands them in."""
    return await store.accept(caller_of(agent), reports)


async def introduce(store: Store, cast: Cast) -> None:
    """Every node's inventory."""
    for agent, report in zip((cast.gateway, cast.traefik, cast.authority), cast.inventories(), strict=True):
        await take(store, agent, report)


async def states(store: Store) -> list[str]:
    """Of all incidents, the latest first."""
    return [str(incident.state) for incident in (await store.read(list_incidents, None, 100)).items]


async def test_the_same_report_counts_once(store: Store) -> None:
    """By (agent, id), within one post, across posts, and beside another agent's same id."""
    cast = Cast()
    report = cast.gateway.preflight()
    assert await take(store, cast.gateway, report, report) == Acceptance(1, 1)
    assert await take(store, cast.gateway, report) == Acceptance(0, 1)
    namesake = msgspec.structs.replace(report, agent="lxc102")
    assert await take(store, cast.traefik, namesake) == Acceptance(1, 0)


async def test_posts_that_wait_together_are_written_together(store: Store) -> None:
    """Each gets its own answer."""
    agents = [Agent(f"n{number}") for number in range(200)]
    answers = await asyncio.gather(*(take(store, one, one.preflight(), one.preflight()) for one in agents))
    assert answers == [Acceptance(2, 0)] * 200
    assert len((await store.read(list_reports, None, 1000)).items) == 400


async def test_a_bad_item_fails_alone(store: Store) -> None:
    """What cannot be written does not take its neighbours with it."""
    good, bad = Agent("good"), Agent("bad")
    broken = msgspec.structs.replace(bad.preflight(), sequence=2**70)
    answers = await asyncio.gather(
        take(store, good, good.preflight()), take(store, bad, broken), take(store, good, good.preflight()),
        return_exceptions=True,
    )  # fmt: skip
    assert answers[0] == answers[2] == Acceptance(1, 0)
    assert isinstance(answers[1], OverflowError | StoreFailed)


async def test_a_newer_report_replaces_the_findings_of_its_scopes_only(store: Store) -> None:
    """The file is clear again, the identifier is not."""
    cast = Cast()
    await take(store, cast.authority, cast.authority.watch(shadow()), cast.authority.preflight(refused()))
    await take(store, cast.authority, cast.authority.watch())
    known = await store.read(find_path_evidence, TRAEFIK)
    assert [sighting.finding.code for sighting in known.sightings] == ["net.refused"]


async def test_a_late_report_changes_nothing(store: Store) -> None:
    """Older by number and by clock."""
    cast = Cast()
    late = cast.authority.watch(shadow(), at=now() - timedelta(minutes=1))
    await take(store, cast.authority, cast.authority.watch())
    await take(store, cast.authority, late)
    assert await states(store) == []


async def test_an_agent_that_lost_its_state_counts_from_one_again_and_is_heard(store: Store) -> None:
    """Its clock goes on."""
    cast = Cast()
    cast.authority.sequence = 500
    await take(store, cast.authority, cast.authority.watch(at=now() - timedelta(minutes=1)))
    reborn = msgspec.structs.replace(cast.authority.watch(shadow()), sequence=1, id="reborn")
    await take(store, cast.authority, reborn)
    assert await states(store) == ["open"]


async def test_what_has_ended_by_a_clock_that_is_ahead_is_no_incident(store: Store) -> None:
    """By that clock everything has; by a clock that is right it is one, and so is what else the agent says."""
    cast = Cast()
    over = msgspec.structs.replace(refused(), code="cert.expired", culprit=Culprit(node="lxc102", file="/etc/x.pem"))
    ahead = now() + timedelta(hours=1)
    await take(store, cast.traefik, cast.traefik.preflight(over, at=ahead))
    assert await states(store) == []
    await take(store, cast.traefik, cast.traefik.preflight(refused(), at=ahead))
    assert await states(store) == ["open"]
    await take(store, cast.traefik, cast.traefik.preflight(over))
    assert sorted(await states(store)) == ["open", "resolved"]


async def test_incidents_open_resolve_and_reopen(store: Store) -> None:
    """Recorded as transitions, in order, with one message each for the channel."""
    cast = Cast()
    await introduce(store, cast)
    for findings in ((shadow(),), (), (shadow(),)):
        await take(store, cast.authority, cast.authority.watch(*findings))
    (incident,) = (await store.read(list_incidents, None, 10)).items
    found = await store.read(find_incident, incident.id)
    assert found is not None
    kinds = [TransitionKind.OPENED, TransitionKind.RESOLVED, TransitionKind.REOPENED]
    assert [transition.kind for transition in found.transitions] == kinds
    for kind in kinds:
        delivery = await store.read(next_delivery, "hook", now())
        assert delivery is not None
        assert delivery.kind is kind
        await store.write(record_attempt, delivery.number, failure=None, retry_at=None)
    assert await store.read(next_delivery, "hook", now()) is None


async def test_victims_follow_the_inventories(store: Store) -> None:
    """A certificate that is renewed by another way lives longer; a new one joins."""
    cast = Cast()
    await introduce(store, cast)
    await take(store, cast.authority, cast.authority.watch(shadow()))
    longer = certificate("traefik", TRAEFIK, left=timedelta(hours=23))
    other = certificate("second", TRAEFIK, left=timedelta(hours=1))
    await take(store, cast.traefik, cast.traefik.inventory("10.0.0.12", "traefik", longer, other))
    (incident,) = (await store.read(list_incidents, None, 10)).items
    assert [victim.certificate for victim in incident.victims] == ["second", "traefik"]
    assert longer.on_disk is not None
    assert incident.victims[1].expires_at == longer.on_disk.not_after


async def test_an_inventory_that_comes_late_still_names_the_owner(store: Store) -> None:
    """The incident does not wait for it."""
    cast = Cast()
    await take(store, cast.authority, cast.authority.watch(shadow()))
    await introduce(store, cast)
    (incident,) = (await store.read(list_incidents, None, 10)).items
    assert "10.0.0.153 (lxc101, gateway)" in incident.explanation


async def test_only_its_parties_find_an_incident(store: Store) -> None:
    """Culprit and victims; a victim that is none any more does not."""
    cast = Cast()
    await introduce(store, cast)
    await take(store, cast.authority, cast.authority.watch(shadow()))

    async def readers() -> list[str]:
        names = ("lxc101", "lxc102", "lxc103")
        return [name for name in names if (await store.read(list_incidents, None, 10, party=name)).items]

    assert await readers() == ["lxc102", "lxc103"]
    await take(store, cast.traefik, cast.traefik.inventory("10.0.0.12", "traefik"))
    assert await readers() == ["lxc103"]


async def test_the_identifiers_other_agents_are_named_when_the_authoritys_word_changes(store: Store) -> None:
    """Opened, cleared, not for the same again."""
    cast, heard = Cast(), list[Changes]()
    await introduce(store, cast)
    store.listen(heard.append)
    for findings in ((shadow(),), (shadow(),), ()):
        await take(store, cast.authority, cast.authority.watch(*findings))
    asked = [dict(changes.judge_again) for changes in heard if changes.judge_again]
    assert asked == [{"lxc102": frozenset({TRAEFIK})}] * 2


async def test_nobody_judges_again_for_a_word_that_nobody_bears_out(store: Store) -> None:
    """A node's own trouble that is over is worth a look; an accusation that comes and goes is not."""
    cast, heard = Cast(), list[Changes]()
    await introduce(store, cast)
    store.listen(heard.append)
    for finding in (shadow(reporter="lxc101"), refused("10.0.0.153", "lxc101", TRAEFIK)):
        await take(store, cast.gateway, cast.gateway.preflight(finding), cast.gateway.preflight())
        await take(store, cast.gateway, cast.gateway.preflight(finding))
        await take(store, cast.gateway, cast.gateway.preflight())
    asked = [dict(changes.judge_again) for changes in heard if changes.judge_again]
    assert asked == [{"lxc102": frozenset({TRAEFIK})}]


async def test_whoever_still_blames_what_has_ended_judges_again(store: Store) -> None:
    """Else each goes on blaming it until its own next look, and that is told as another trouble."""
    cast, heard = Cast(), list[Changes]()
    await introduce(store, cast)
    await take(store, cast.gateway, cast.gateway.preflight(refused("10.0.0.153", "lxc101", NGINX), identifier=NGINX))
    await take(store, cast.traefik, cast.traefik.preflight(refused("10.0.0.153", "lxc101", TRAEFIK)))
    assert await states(store) == ["open"]
    store.listen(heard.append)
    await take(store, cast.gateway, cast.gateway.preflight(identifier=NGINX))
    asked = [dict(changes.judge_again) for changes in heard if changes.judge_again]
    assert asked == [{"lxc102": frozenset({TRAEFIK})}]


async def test_a_symptom_takes_over_when_its_cause_is_gone(store: Store) -> None:
    """The line is mended, the box still refuses."""
    cast = Cast()
    await take(store, cast.authority, cast.authority.watch(shadow()), cast.authority.preflight(refused()))
    assert await states(store) == ["open"]
    await take(store, cast.authority, cast.authority.watch())
    assert sorted(await states(store)) == ["open", "resolved"]


async def test_a_reported_rehearsal_is_the_authoritys_own(store: Store) -> None:
    """Nobody else clears by its own word what stands, not even whose identifier it is: anybody may claim one. And
    nothing comes from the future."""
    cast = Cast()
    await introduce(store, cast)
    await take(store, cast.authority, cast.authority.watch(shadow()))
    passed = rehearse_traefik(RehearsalOutcome.PASSED, at=now() + timedelta(days=300))
    claimed = cast.gateway.inventory("10.0.0.153", "nginx", certificate("mine", TRAEFIK))
    await take(store, cast.gateway, claimed, cast.gateway.preflight(rehearsals=(passed,)))
    await take(store, cast.traefik, cast.traefik.preflight(rehearsals=(passed,)))
    assert await states(store) == ["open"]
    await take(store, cast.authority, cast.authority.preflight(rehearsals=(passed,)))
    assert await states(store) == ["resolved"]
    known = (await store.read(find_path_evidence, TRAEFIK)).rehearsal
    assert known is not None
    assert known.at <= now()


async def test_everything_is_there_after_opening_again(opening: Opening) -> None:
    """Nothing in memory is the only copy."""
    cast = Cast()
    async with opening() as store:
        await introduce(store, cast)
        await take(store, cast.authority, cast.authority.watch(shadow()))
    async with opening() as store:
        assert await states(store) == ["open"]
        assert await store.read(find_stale_identifiers, "lxc102") == {TRAEFIK}
        delivery = await store.read(next_delivery, "hook", now())
        assert delivery is not None
        assert delivery.incident.state is IncidentState.OPEN
        assert len((await store.read(list_agents, None, 10)).items) == 3


async def test_a_delivery_that_failed_comes_again_until_it_is_given_up(store: Store) -> None:
    """Later, with one attempt more; then never."""
    cast = Cast()
    await take(store, cast.authority, cast.authority.watch(shadow()))
    delivery = await store.read(next_delivery, "hook", now())
    assert delivery is not None
    later = now() + timedelta(minutes=1)
    await store.write(record_attempt, delivery.number, failure="HTTP 503", retry_at=later)
    again = await store.read(next_delivery, "hook", now())
    assert again is not None
    assert (again.number, again.attempts, again.due_at) == (delivery.number, 1, later)
    await store.write(record_attempt, delivery.number, failure="HTTP 404", retry_at=None)
    assert await store.read(next_delivery, "hook", now()) is None


async def test_tokens_work_beside_the_running_store(store: Store, url: str) -> None:
    """Added, rotated, revoked; only the digest is kept."""
    first = await asyncio.to_thread(add_token, url, "lxc102", TokenRole.AGENT, now())
    second = await asyncio.to_thread(add_token, url, "lxc102", TokenRole.AGENT, now())
    for secret in (first, second):
        assert len(secret) >= 43
        assert await store.read(find_caller, digest_of(secret), now()) == Caller("lxc102", TokenRole.AGENT)
    assert await asyncio.to_thread(revoke_tokens, url, "lxc102", now()) == 2
    assert await store.read(find_caller, digest_of(first), now()) is None
    assert [token.revoked_at is not None for token in list_tokens(url)] == [True, True]
    with pytest.raises(ValueError, match="letters"):
        add_token(url, "../x", TokenRole.AGENT, now())


def test_the_migrations_lead_to_the_schema(url: str) -> None:
    """What Alembic makes is what the code expects, and opening twice is harmless."""
    for _ in range(2):
        engine = open_writer(url)
        with engine.begin() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
        engine.dispose()


def test_nothing_is_lost_to_a_power_cut(tmp_path: Path) -> None:
    """SQLite: write-ahead log, flushed at each commit; the file is its owner's alone."""
    engine = open_writer(f"sqlite:///{tmp_path}/collector.db")
    with engine.begin() as connection:
        assert _pragma(connection, "journal_mode") == "wal"
        assert _pragma(connection, "synchronous") == 2
    engine.dispose()
    assert (tmp_path / "collector.db").stat().st_mode & 0o777 == 0o600


def _pragma(connection: Connection, name: str) -> object:
    return connection.execute(text(f"PRAGMA {name}")).scalar()
