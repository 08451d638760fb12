"""What only time, or only the whole fleet, shows: on every backend, with a clock that moves when told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from certagent.collector.credentials import add_token, revoke_tokens
from certagent.collector.dispatch import AlertSender
from certagent.collector.housekeeping import look_at_fleet, prune
from certagent.collector.incident_text import Message
from certagent.collector.records import Changes, Overloaded, TokenRole
from certagent.collector.sql.api_queries import find_incident, list_agents, list_incidents, list_reports
from certagent.collector.sql.deliveries import claim_delivery, list_announced, next_delivery, record_attempt
from certagent.collector.sql.incident_writer import acknowledge_incident
from certagent.collector.sql.ingest import store_rehearsals
from certagent.collector.sql.upkeep import remind, replace_findings
from certagent.collector.store import Store, open_store
from certagent.config.policy_files import load_policy
from certagent.domain.findings import Culprit, Finding, Severity
from certagent.domain.incidents import IncidentState
from certagent.domain.policy import Alerting, AlertRule, Policy
from certagent.domain.reports import FileChange, RunKind
from certagent.domain.spans import Duration
from tests.collector.cast import HOSTS, Agent, Cast, now
from tests.collector.process import eventually
from tests.collector.test_store import introduce, states, take
from tests.evidence import LINE, TRAEFIK, refused, shadow
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.slow

POLICY = load_policy(None)
HOUR = timedelta(hours=1)
RULES = {
    "all": AlertRule(to=("hook",), repeat_every=Duration(hours=4)),
    "slow": AlertRule(codes=("net.*",), to=("h*", "mail"), after=Duration(minutes=2), repeat_every=Duration(hours=4)),
}


class World:
    """An open store, its clock, and since when it runs."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock, self.since, self.cast = store, clock, clock.now(), Cast()

    async def sweep(self, *connected: str, policy: Policy = POLICY) -> None:
        """Once round."""
        found = await look_at_fleet(self.store, connected, policy, self.since, self.clock.now())
        await self.store.write(replace_findings, found)

    async def found(self) -> dict[str, str]:
        """Code of every incident -> its state."""
        page = await self.store.read(list_incidents, None, 100)
        return {incident.code: str(incident.state) for incident in page.items}

    async def said(self, channel: str = "hook") -> list[str]:
        """What is due for the channel, taken off."""
        kinds = []
        while (
            delivery := await self.store.read(next_delivery, channel, self.clock.now())
        ) and delivery.due_at <= self.clock.now():
            kinds.append(str(delivery.kind))
            await self.store.write(record_attempt, delivery.number, failure=None, retry_at=None)
        return kinds

    async def watch(self, *findings: Finding) -> None:
        """The agent beside the CA says so of its hosts file, now."""
        await take(self.store, self.cast.authority, self.cast.authority.watch(*findings, at=self.clock.now()))


@pytest.fixture
async def world(url: str) -> AsyncIterator[World]:
    """Rules: everything to the hook, what concerns the network late and to the mail, too."""
    clock = FakeClock(now())
    told = Alerting(channels=("hook", "mail"), rules=RULES, flapping_hold=timedelta(minutes=10))
    async with open_store(url, told, clock) as store:
        yield World(store, clock)


async def test_an_agent_that_falls_silent_is_an_incident_with_its_certificates(world: World) -> None:
    """Whoever has a channel is heard; whoever comes back resolves it."""
    await introduce(world.store, world.cast)
    world.clock.move(timedelta(minutes=4))
    await world.sweep("lxc101", "lxc103")
    assert await world.found() == {}
    world.clock.move(timedelta(minutes=2))
    await world.sweep("lxc101", "lxc103")
    (incident,) = (await world.store.read(list_incidents, None, 9)).items
    assert (incident.code, incident.culprit.node, incident.confirmed) == ("agent.silent", "lxc102", True)
    assert [victim.certificate for victim in incident.victims] == ["traefik"]
    await take(world.store, world.cast.traefik, world.cast.traefik.preflight())
    await world.sweep("lxc101", "lxc103")
    assert await world.found() == {"agent.silent": "resolved"}
    assert await world.said() == ["opened", "resolved"]


async def test_who_is_silent_by_now_stays_so_when_the_collector_starts_again(world: World) -> None:
    """It does not count its own absence, but what was found before it stands: nobody is told that it is over."""
    await introduce(world.store, world.cast)
    world.clock.move(timedelta(minutes=6))
    await world.sweep("lxc101", "lxc103")
    (incident,) = (await world.store.read(list_incidents, None, 9)).items
    await world.store.write(acknowledge_incident, incident.id, "ops")
    for _ in range(2):  # or another collector on the same database, beside the first
        world.since = world.clock.now()
        await world.sweep("lxc101", "lxc103")
    assert await world.found() == {"agent.silent": "acknowledged"}
    assert await world.said() == ["opened"]


async def test_all_silent_stay_so_when_the_collector_starts_again(world: World) -> None:
    """What was said once for all of them, too; who comes back is heard."""
    await introduce(world.store, world.cast)
    world.clock.move(timedelta(minutes=6))
    await world.sweep("lxc103")
    world.since = world.clock.now()
    await world.sweep("lxc103")
    assert await world.found() == {"agent.silent": "open"}
    await world.sweep("lxc101", "lxc102", "lxc103")
    assert await world.found() == {"agent.silent": "resolved"}


async def test_nobody_was_silent_while_the_collector_was_away(world: World) -> None:
    """It starts an hour later, and counts from there."""
    await introduce(world.store, world.cast)
    world.clock.move(HOUR)
    world.since = world.clock.now()
    await world.sweep()
    assert await world.found() == {}


async def test_all_agents_silent_are_one_incident(world: World) -> None:
    """The network, not forty agents."""
    for number in range(40):
        agent = Agent(f"n{number}")
        await take(world.store, agent, agent.inventory(f"10.0.1.{number}", "web"))
    world.clock.move(timedelta(minutes=6))
    await world.sweep("n0")
    (incident,) = (await world.store.read(list_incidents, None, 99)).items
    assert incident.explanation.startswith("39 of 40 agents have not been heard from since")


async def test_a_certificate_that_nobody_renews_is_told_although_its_agent_is_dead(world: World) -> None:
    """Expiring, then expired: one incident, which says what it is now."""
    await introduce(world.store, world.cast)
    world.clock.move(timedelta(hours=17))
    await world.sweep("lxc101", "lxc103")
    assert await world.found() == {"agent.silent": "open", "cert.expiring": "open"}
    world.clock.move(timedelta(hours=4))
    await world.sweep("lxc101", "lxc103")
    assert await world.found() == {"agent.silent": "open", "cert.expired": "open"}
    expired = next(one for one in (await world.store.read(list_incidents, None, 9)).items if one.code == "cert.expired")
    assert {victim.node for victim in expired.victims} <= {"lxc101", "lxc102"}
    assert "has not been heard from since" in expired.explanation or expired.culprit.node == "lxc101"


async def test_a_known_culprit_explains_why_it_expires(world: World) -> None:
    """No second message about the same certificate; once the line is gone, the certificate speaks for itself."""
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    world.clock.move(timedelta(hours=17))
    await world.sweep("lxc101", "lxc102", "lxc103")
    expiring = [one for one in (await world.store.read(list_incidents, None, 9)).items if one.code == "cert.expiring"]
    assert [one.culprit.node for one in expiring] == ["lxc101"]
    await world.watch()
    expiring = [one for one in (await world.store.read(list_incidents, None, 9)).items if one.code == "cert.expiring"]
    assert {one.culprit.node for one in expiring} == {"lxc101", "lxc102"}


async def test_a_zone_that_vanished_is_one_incident_with_the_change_before(world: World) -> None:
    """Two names, one culprit: the DNS server; its last change is shown, what was said of single names is dropped."""
    await introduce(world.store, world.cast)
    change = FileChange(file="/etc/dnsmasq.conf", exists=True, removed=("address=/traefik/10.0.0.12",))
    gateway = world.cast.gateway
    await take(world.store, gateway, gateway.report(RunKind.WATCH, changes=(change,), at=world.clock.now()))
    for agent, identifier in ((gateway, "nginx.internal.thinkheads.ai"), (world.cast.traefik, TRAEFIK)):
        gone = msgspec.structs.replace(
            refused("10.0.0.153", "lxc101", identifier), code="dns.nxdomain", reporter=agent.name
        )
        await take(world.store, agent, agent.preflight(gone, identifier=identifier, at=world.clock.now()))
    await world.sweep("lxc101", "lxc102", "lxc103")
    assert await world.found() == {"dns.nxdomain": "resolved", "dns.zone_gone": "open"}
    zone = next(one for one in (await world.store.read(list_incidents, None, 9)).items if one.code == "dns.zone_gone")
    assert zone.change is not None
    assert (zone.change.node, zone.change.file, zone.change.removed) == ("lxc101", change.file, change.removed)
    assert {victim.node for victim in zone.victims} == {"lxc101", "lxc102"}


async def test_an_incident_shows_the_change_of_its_own_file(world: World) -> None:
    """The line that came, and when; a change of another file is not it."""
    mine = FileChange(file="/etc/hosts", exists=True, added=(LINE,))
    other = FileChange(file="/etc/resolv.conf", exists=True, added=("options ndots:1",))
    agent = world.cast.authority
    report = agent.report(
        RunKind.WATCH, scopes=(HOSTS,), findings=(shadow(),), changes=(mine, other), at=world.clock.now()
    )
    await take(world.store, agent, report)
    (incident,) = (await world.store.read(list_incidents, None, 9)).items
    assert incident.change is not None
    assert (incident.change.file, incident.change.added) == ("/etc/hosts", (LINE,))


async def test_what_most_agents_say_of_the_ca_is_borne_out(world: World) -> None:
    """One alone may be wrong about its own way; two of two are not. It is one incident all along."""
    await introduce(world.store, world.cast)
    for agent, counted in ((world.cast.traefik, False), (world.cast.gateway, True)):
        changed = msgspec.structs.replace(
            refused("10.0.0.10", "lxc103", f"{agent.name}.test"), code="ca.root_changed", reporter=agent.name
        )
        await take(world.store, agent, agent.preflight(changed, identifier=f"{agent.name}.test"))
        await world.sweep("lxc101", "lxc102", "lxc103")
        (incident,) = (await world.store.read(list_incidents, None, 9)).items
        assert (incident.code, incident.confirmed) == ("ca.root_changed", counted)
    assert incident.explanation.startswith("2 of 2 agents report the same.")
    assert await world.said() == ["opened"]


async def test_one_way_only_is_seen_from_the_matrix(world: World) -> None:
    """The CA reaches lxc101, not lxc102, which reaches the CA."""
    from certagent.domain.rehearsals import Attempt, Hop, Rehearsal, RehearsalOutcome

    await introduce(world.store, world.cast)
    for identifier, address, status in ((TRAEFIK, "10.0.0.12", None), ("nginx.internal", "10.0.0.153", 200)):
        hop = Hop(url="", name=identifier, address=address, status=status, error=None if status else "timeout")
        outcome = RehearsalOutcome.PASSED if status else RehearsalOutcome.FAILED
        attempt = Attempt(hops=(hop,), matched=status is not None)
        seen = Rehearsal(
            identifier=identifier, outcome=outcome, at=world.clock.now(), node="lxc103", attempts=(attempt,)
        )
        await world.store.write(store_rehearsals, (seen,), asker="lxc102")
    await world.sweep("lxc101", "lxc102", "lxc103")
    (incident,) = (await world.store.read(list_incidents, None, 9)).items
    assert (incident.code, incident.culprit.node) == ("net.asymmetric", "lxc102")
    assert "reaches lxc101, but not lxc102" in incident.explanation


async def test_a_false_block_is_an_incident_if_the_collectors_policy_says_so(world: World) -> None:
    """By default it is only counted; the agent's own grade does not matter."""
    await introduce(world.store, world.cast)
    said = msgspec.structs.replace(refused(), code="preflight.disagreed", severity=Severity.WARN, culprit=None)
    await take(world.store, world.cast.traefik, world.cast.traefik.preflight(said))
    await world.sweep("lxc101", "lxc102", "lxc103")
    assert await world.found() == {}
    severe = POLICY.severity | {"preflight.disagreed": Severity.ERROR}
    await world.sweep("lxc101", "lxc102", "lxc103", policy=msgspec.structs.replace(POLICY, severity=severe))
    assert await world.found() == {"preflight.disagreed": "open"}


async def test_looking_twice_changes_nothing(world: World) -> None:
    """The same facts, the same words: no update, no event, for hours."""
    await introduce(world.store, world.cast)
    world.clock.move(timedelta(hours=17))
    await world.sweep("lxc101", "lxc103")
    heard: list[Changes] = []
    world.store.listen(heard.append)
    for _ in range(3):
        world.clock.move(timedelta(seconds=5))
        await world.sweep("lxc101", "lxc103")
    assert heard == []


async def test_what_a_revoked_token_said_is_forgotten(world: World, url: str) -> None:
    """Retired, it is neither silent nor culprit, and its certificates do not expire; a rotation forgets nothing."""
    for name in ("lxc103", "lxc102"):
        await asyncio.to_thread(add_token, url, name, TokenRole.AGENT, world.clock.now())
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    await asyncio.to_thread(revoke_tokens, url, "lxc103", world.clock.now())
    await world.sweep("lxc101", "lxc102")
    assert await states(world.store) == ["open"]
    world.clock.move(timedelta(minutes=7))
    await world.sweep("lxc101", "lxc102")
    assert await states(world.store) == ["resolved"]
    assert [agent.name for agent in (await world.store.read(list_agents, None, 9)).items] == ["lxc101", "lxc102"]


async def test_what_is_over_before_it_was_due_is_not_mentioned(world: World) -> None:
    """A rule with `after`: opened and resolved within it; and when it stays, it is told late, in order."""
    agent = world.cast.authority
    for findings in ((refused(),), ()):
        await take(world.store, agent, agent.preflight(*findings, at=world.clock.now()))
        world.clock.move(timedelta(seconds=10))
    world.clock.move(HOUR)
    assert await world.said("mail") == await world.said("hook") == []
    await take(world.store, agent, agent.preflight(refused(), at=world.clock.now()))
    assert await world.said("mail") == []
    world.clock.move(timedelta(minutes=3))
    assert await world.said("mail") == await world.said("hook") == ["opened"]


async def test_only_those_are_told_whom_the_rule_names(world: World) -> None:
    """The last rule that matches decides."""
    await world.watch(shadow())
    assert (await world.said("hook"), await world.said("mail")) == (["opened"], [])


async def test_it_reminds_until_somebody_acknowledges(world: World) -> None:
    """Every four hours, as the rule says; the history says so, too."""
    await world.watch(shadow())
    assert await world.said() == ["opened"]
    for _ in range(2):
        world.clock.move(3 * HOUR)
        assert await world.store.write(remind) == 0
        world.clock.move(HOUR)
        assert (await world.store.write(remind), await world.store.write(remind)) == (1, 0)
        assert await world.said() == ["reminded"]
    (incident,) = (await world.store.read(list_incidents, None, 9)).items
    await world.store.write(acknowledge_incident, incident.id, "ops")
    world.clock.move(5 * HOUR)
    assert await world.store.write(remind) == 0


async def test_who_was_told_of_the_opening_is_told_of_the_end_although_a_reminder_waits(world: World) -> None:
    """The reminder is taken back, the end is not."""
    agent = world.cast.authority
    await take(world.store, agent, agent.preflight(refused(), at=world.clock.now()))
    world.clock.move(timedelta(minutes=3))
    assert await world.said() == ["opened"]
    world.clock.move(4 * HOUR)
    assert await world.store.write(remind) == 1
    await take(world.store, agent, agent.preflight(at=world.clock.now()))
    world.clock.move(HOUR)
    assert await world.said() == ["resolved"]


async def test_reminders_do_not_pile_up_while_the_channel_takes_none(world: World) -> None:
    """What waits already says it."""
    await world.watch(shadow())
    delivery = await world.store.read(next_delivery, "hook", world.clock.now())
    assert delivery is not None
    for _ in range(3):
        world.clock.move(5 * HOUR)
        await world.store.write(record_attempt, delivery.number, failure="HTTP 503", retry_at=world.clock.now())
        assert await world.store.write(remind) == 0
    assert await world.said() == ["opened"]
    assert await world.store.write(remind) == 1
    assert await world.said() == ["reminded"]


async def test_flapping_is_damped(world: World) -> None:
    """Ten times within minutes: a few messages, then silence until it has stayed as it is."""
    for _ in range(10):
        for findings in ((shadow(),), ()):
            await world.watch(*findings)
            world.clock.move(timedelta(seconds=30))
    told = await world.said()
    assert told == ["opened", "resolved", "reopened", "resolved", "reopened", "resolved"]
    world.clock.move(HOUR / 2)
    assert await world.said() == []
    await world.watch(shadow())
    world.clock.move(timedelta(minutes=11))
    assert await world.said() == ["reopened"]


async def test_messages_about_one_incident_keep_their_order_and_hold_up_no_other(world: World) -> None:
    """The first is to be tried again later; another incident's leaves at once."""
    await world.watch(shadow())
    first = await world.store.read(next_delivery, "hook", world.clock.now())
    assert first is not None
    await world.store.write(record_attempt, first.number, failure="HTTP 503", retry_at=world.clock.now() + HOUR)
    await world.watch()
    other = msgspec.structs.replace(shadow(), culprit=Culprit(node="lxc103", file="/etc/resolv.conf"))
    agent = world.cast.authority
    await take(world.store, agent, agent.watch(other, scope="file:/etc/resolv.conf", at=world.clock.now()))
    following = await world.store.read(next_delivery, "hook", world.clock.now())
    assert following is not None
    assert following.incident.culprit.file == "/etc/resolv.conf"
    await world.store.write(record_attempt, following.number, failure=None, retry_at=None)
    again = await world.store.read(next_delivery, "hook", world.clock.now())
    assert again is not None
    assert again.number == first.number


async def test_a_channel_that_accepts_nothing_is_an_incident_until_it_does(world: World) -> None:
    """Not at once; its own message tries the channel, too; what was taken back counts for nothing."""
    failing = "collector.channel_failing"
    await world.watch(shadow())
    first = await world.store.read(next_delivery, "hook", world.clock.now())
    assert first is not None
    soon = world.clock.now() + timedelta(seconds=45)
    await world.store.write(record_attempt, first.number, failure="HTTP 404", retry_at=soon)
    await world.sweep()
    assert failing not in await world.found()
    world.clock.move(timedelta(minutes=5))
    await world.store.write(record_attempt, first.number, failure="HTTP 404", retry_at=world.clock.now() + HOUR)
    await world.sweep()
    assert (await world.found())[failing] == "open"
    world.clock.move(timedelta(seconds=1))
    assert await world.said() == ["opened"]
    for minutes in (0, 10):  # the first message is still refused, and it alone
        world.clock.move(timedelta(minutes=minutes))
        await world.sweep()
        assert (await world.found())[failing] == "resolved"


async def test_a_message_that_is_given_up_is_an_incident_until_another_is_accepted(world: World) -> None:
    """At once: nobody tries again."""
    await world.watch(shadow())
    first = await world.store.read(next_delivery, "hook", world.clock.now())
    assert first is not None
    await world.store.write(record_attempt, first.number, failure="HTTP 422", retry_at=None)
    await world.sweep()
    assert (await world.found())["collector.channel_failing"] == "open"
    world.clock.move(timedelta(seconds=1))
    assert await world.said() == ["opened"]
    await world.sweep()
    assert (await world.found())["collector.channel_failing"] == "resolved"


async def test_a_sender_goes_on_when_too_much_waits_to_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the claim nor what came of it can be written at first: it leaves once all the same, and nothing ends."""
    left: list[str] = []
    refused: list[object] = []

    class Receiver:
        async def deliver(self, message: Message) -> None:
            left.append(message.title)

    write = world.store.write

    async def refuse_once(change: Any, *arguments: Any, **options: Any) -> object:
        if change in refused:
            return await write(change, *arguments, **options)
        refused.append(change)
        raise Overloaded

    await world.watch(shadow())
    monkeypatch.setattr(world.store, "write", refuse_once)
    sender = AlertSender("hook", Receiver(), world.store, world.clock, "https://collector.test", POLICY.collector)
    running = asyncio.create_task(sender.run())

    async def is_recorded() -> bool:
        return await world.store.read(list_announced, "hook") != [] or running.done()

    await eventually(is_recorded)
    ended, _ = await asyncio.wait({running}, timeout=0.5)
    assert (len(left), ended) == (1, set())
    assert refused == [claim_delivery, record_attempt]
    assert await world.store.read(next_delivery, "hook", world.clock.now()) is None
    running.cancel()


async def test_what_a_channel_was_told_stands_until_it_is_resolved(world: World) -> None:
    """For receivers that forget."""
    await world.watch(shadow())
    assert await world.store.read(list_announced, "hook") == []
    await world.said()
    assert [one.code for one in await world.store.read(list_announced, "hook")] == [shadow().code]
    assert await world.store.read(list_announced, "mail") == []
    await world.watch()
    assert await world.store.read(list_announced, "hook") == []


async def test_what_is_old_is_forgotten_and_what_stands_is_kept(world: World) -> None:
    """Reports by age, incidents by their end; the open one stays with its history, and nothing opens anew."""
    await introduce(world.store, world.cast)
    for findings in ((shadow(),), ()):
        await world.watch(*findings)
    other = msgspec.structs.replace(shadow(), culprit=Culprit(node="lxc103", file="/etc/resolv.conf"))
    agent = world.cast.authority
    await take(world.store, agent, agent.watch(other, scope="file:/etc/resolv.conf", at=world.clock.now()))
    world.clock.move(timedelta(days=40))
    fresh = agent.preflight(at=world.clock.now())
    await take(world.store, agent, fresh)
    cut: datetime = world.clock.now() - timedelta(days=30)
    assert await prune(world.store, cut, cut) == 6 + 1
    assert await prune(world.store, cut, cut) == 0
    (incident,) = (await world.store.read(list_incidents, None, 9)).items
    assert incident.state is IncidentState.OPEN
    found = await world.store.read(find_incident, incident.id)
    assert found is not None
    assert len(found.transitions) == len(found.sightings) == 1
    (kept,) = (await world.store.read(list_reports, None, 9)).items
    assert msgspec.json.decode(kept)["id"] == fresh.id
