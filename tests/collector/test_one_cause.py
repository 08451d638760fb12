"""One cause is one incident with one opening message, and evidence ends with its cause: on every backend."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select

from certagent.collector.credentials import add_token, revoke_tokens
from certagent.collector.incident_text import compose_message
from certagent.collector.records import Caller, TokenRole
from certagent.collector.sql.api_queries import find_incident, find_stale_identifiers, list_incidents
from certagent.collector.sql.deliveries import next_delivery, record_attempt
from certagent.collector.sql.look_queries import read_snapshot
from certagent.collector.sql.schema import outbox, transitions
from certagent.collector.sql.statements import decode_incident
from certagent.collector.store import Store, open_store
from certagent.config.policy_files import load_policy
from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Severity, TargetState, Vantage
from certagent.domain.incidents import Incident, IncidentState, TransitionKind
from certagent.domain.policy import Alerting, AlertRule
from certagent.domain.reports import Report, RunKind
from certagent.domain.spans import Duration
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, certificate, now
from tests.evidence import NGINX, shadow
from tests.fakes.clock import FakeClock

pytestmark = pytest.mark.slow

SHOP, PORTAINER = "shop.internal.thinkheads.ai", "portainer.phoenix.thinkheads.ai"
CONFIGURATION = "/etc/nginx/conf.d/zz-typo.conf"
POLICY = load_policy(None)
RETRY_AT = now() + timedelta(seconds=20)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open."""
    async with open_store(url, Alerting(channels=("hook",)), SystemClock()) as store:
        yield store


async def take(store: Store, agent: Agent, *reports: Report) -> None:
    """The agent hands them in."""
    await store.accept(Caller(agent.name, TokenRole.AGENT), reports)


async def gateway(store: Store) -> Agent:
    """A node with two certificates, one of them for two names."""
    agent = Agent("lxc101")
    gateway, shop = certificate("gateway", NGINX, PORTAINER), certificate("shopfront", SHOP)
    await take(store, agent, agent.inventory("10.0.0.153", "gateway", gateway, shop))
    return agent


def failed(
    code: str,
    certificate: str = "shopfront",
    identifier: str = SHOP,
    *,
    target: str = "nginx",
    variant: str = "deployed",
    retried: bool = True,
    **culprit: Any,
) -> Finding:
    """A finding about a certificate at a target of the gateway's."""
    state = TargetState(certificate=certificate, name=target, is_served=False, retry_at=RETRY_AT if retried else None)
    finding = catalogue.finding(
        code,
        vantage=Vantage.CLIENT,
        reporter="lxc101",
        identifier=identifier,
        culprit=Culprit(node="lxc101", **culprit),
        variant=variant,
        target=target,
        endpoint="10.0.0.153:9443" if certificate == "shopfront" else "10.0.0.153:443",
        server_name=identifier,
        trouble="refused",
        checked=True,
        proven=False,
        unproven=True,
        command="nginx -t",
        status=1,
        said="unknown directive",
    )
    return msgspec.structs.replace(finding, target=state, severity=Severity.ERROR)


def dead(identifier: str, port: int = 80, code: str = "net.refused") -> Finding:
    """The CA is refused at the gateway."""
    finding = catalogue.finding(
        code,
        vantage=Vantage.AUTHORITY,
        reporter="lxc103",
        identifier=identifier,
        culprit=Culprit(node="lxc101", address="10.0.0.153"),
        place="10.0.0.153",
        address="10.0.0.153",
        port=port,
        error="refused",
        looker="lxc103",
    )
    return msgspec.structs.replace(finding, severity=Severity.FATAL)


def deployment(agent: Agent, name: str, *found: Finding) -> Report:
    """What a renewal of the certificate came to."""
    scopes = (f"certificate:{name}",)
    return agent.report(RunKind.RENEWAL, scopes=scopes, findings=found, certificate=name)


def serving(agent: Agent, name: str, *found: Finding) -> Report:
    """What a look at what is served came to."""
    return agent.report(RunKind.SERVING, scopes=(f"served:{name}",), findings=found, certificate=name)


async def known(store: Store) -> list[Incident]:
    """Every incident, over or not."""
    return list((await store.read(list_incidents, None, 100)).items)


async def unresolved(store: Store) -> list[Incident]:
    """Those that are not over."""
    return [incident for incident in await known(store) if incident.state is not IncidentState.RESOLVED]


async def titles(store: Store) -> list[str]:
    """Of all messages, in their order."""

    def read(connection: Connection) -> Sequence[Any]:
        query = select(transitions.c.kind, transitions.c.document).join(
            outbox, outbox.c.transition == transitions.c.number
        )
        return connection.execute(query.order_by(outbox.c.number)).all()

    rows = await store.read(read)
    return [
        compose_message(decode_incident(row.document), TransitionKind(row.kind), "https://collector", now()).title
        for row in rows
    ]


async def test_a_failed_deployment_is_one_incident_with_its_steps_inside(store: Store) -> None:
    """What is found on the way, the roll-back, and what is then seen to be served; it is called by the cause."""
    agent = await gateway(store)
    cause = failed("deploy.not_served", address="10.0.0.153")
    back = failed("deploy.rolled_back", variant="", address=None)
    await take(store, agent, deployment(agent, "shopfront", back, cause))
    seen = failed("deploy.not_served", variant="drift", retried=False, address="10.0.0.153")
    await take(store, agent, serving(agent, "shopfront", seen))
    (one,) = await known(store)
    assert (one.code, [(victim.identifier, victim.certificate) for victim in one.victims]) == (
        "deploy.not_served",
        [(SHOP, "shopfront")],
    )
    assert await titles(store) == [
        "certificate shopfront on lxc101: nothing is served at the configured address; nothing is served;"
        f" next attempt by {RETRY_AT:%H:%M:%S} UTC"
    ]
    detail = await store.read(find_incident, one.id)
    assert detail is not None
    assert sorted(sighting.finding.code for sighting in detail.sightings) == [
        "deploy.not_served",
        "deploy.not_served",
        "deploy.rolled_back",
    ]


SERVED_UNTIL = datetime(2030, 5, 6, 7, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "hours", "words"),
    [
        ({"is_served": True, "served_until": SERVED_UNTIL}, -1, "the served certificate expires 2030-05-06 07:08 UTC"),
        ({"served_until": SERVED_UNTIL}, -1, "the served certificate expires 2030-05-06 07:08 UTC"),
        ({"is_served": True, "served_until": SERVED_UNTIL}, 0, "the served certificate expired 2030-05-06 07:08 UTC"),
        (
            {"is_served": False, "served_until": SERVED_UNTIL},
            -1,
            "served at some addresses, until 2030-05-06 07:08 UTC",
        ),
        ({"is_served": False, "served_until": SERVED_UNTIL}, 1, "the served certificate expired 2030-05-06 07:08 UTC"),
        ({"is_served": False}, 0, "nothing is served"),
        (
            {"is_served": True, "served_until": SERVED_UNTIL, "retry_at": SERVED_UNTIL},
            -1,
            "the served certificate expires 2030-05-06 07:08 UTC; next attempt by 07:08:00 UTC",
        ),
    ],
)
async def test_the_title_says_what_is_served_until_when(
    store: Store, state: dict[str, Any], hours: int, words: str
) -> None:
    """So many hours after that end."""
    agent = await gateway(store)
    await take(store, agent, deployment(agent, "shopfront", failed("deploy.not_served", address="10.0.0.153")))
    (one,) = await known(store)
    told = msgspec.structs.replace(one, target=TargetState(certificate="shopfront", name="nginx", **state))
    at = SERVED_UNTIL + timedelta(hours=hours)
    assert compose_message(told, TransitionKind.OPENED, "https://collector", at).title == (
        f"certificate shopfront on lxc101: nothing is served at the configured address; {words}"
    )


async def test_it_ends_when_the_next_try_is_proven(store: Store) -> None:
    """All of it at once, with one message."""
    agent = await gateway(store)
    await take(store, agent, deployment(agent, "shopfront", failed("deploy.rolled_back", variant="")))
    await take(store, agent, deployment(agent, "shopfront"))
    assert await unresolved(store) == []
    assert (await titles(store))[1:] == ["Resolved: certificate shopfront on lxc101"]


async def test_all_names_of_the_certificate_are_victims(store: Store) -> None:
    """Whichever the finding names."""
    agent = await gateway(store)
    found = failed("deploy.rolled_back", "gateway", NGINX, variant="")
    await take(store, agent, deployment(agent, "gateway", found))
    (one,) = await known(store)
    assert sorted(victim.identifier for victim in one.victims) == [NGINX, PORTAINER]


async def test_one_bad_file_under_two_certificates_is_one_incident(store: Store) -> None:
    """Each deployment's other steps are inside it, too."""
    agent = await gateway(store)
    for name, identifier in (("shopfront", SHOP), ("gateway", NGINX)):
        refused = failed("deploy.validate_failed", name, identifier, variant="", file=CONFIGURATION, line=1)
        back = failed("deploy.rolled_back", name, identifier, variant="")
        await take(store, agent, deployment(agent, name, refused, back))
    (one,) = await known(store)
    assert (one.culprit.file, one.code) == (CONFIGURATION, "deploy.validate_failed")
    assert sorted(victim.identifier for victim in one.victims) == [NGINX, PORTAINER, SHOP]
    assert [title.partition(":")[0] for title in await titles(store)] == ["certificate shopfront on lxc101"]


async def test_a_deployment_that_fails_for_another_reason_goes_on(store: Store) -> None:
    """No second message: it is still the same certificate that does not get there."""
    agent = await gateway(store)
    refused = failed("deploy.validate_failed", variant="", file=CONFIGURATION, line=1)
    await take(store, agent, deployment(agent, "shopfront", refused))
    (first,) = await known(store)
    found = failed("deploy.served_old", address="10.0.0.153")
    await take(store, agent, deployment(agent, "shopfront", found))
    (second,) = await known(store)
    assert (second.id, second.code, second.culprit.file) == (first.id, "deploy.served_old", None)
    await take(store, agent, deployment(agent, "shopfront", refused))
    assert [one.id for one in await known(store)] == [first.id]
    assert len(await titles(store)) == 1


async def test_two_targets_fail_for_themselves(store: Store) -> None:
    """Of one certificate, where nothing that they have in common is known."""
    agent = await gateway(store)
    found = [failed("deploy.served_old", target=target, address="10.0.0.153") for target in ("nginx", "command")]
    await take(store, agent, deployment(agent, "shopfront", *found))
    assert len(await known(store)) == 2


async def test_a_dead_port_is_one_incident_with_all_its_names(store: Store) -> None:
    """Each name is reported by itself, and ends by itself."""
    agent = await gateway(store)
    for name in (NGINX, PORTAINER):
        await take(store, agent, agent.preflight(dead(name), identifier=name))
    (one,) = await known(store)
    assert (one.culprit.node, one.culprit.address) == ("lxc101", "10.0.0.153")
    assert sorted(victim.identifier for victim in one.victims) == [NGINX, PORTAINER]
    await take(store, agent, agent.preflight(identifier=NGINX))
    (one,) = await unresolved(store)
    assert [victim.identifier for victim in one.victims] == [PORTAINER]
    await take(store, agent, agent.preflight(identifier=PORTAINER))
    assert await unresolved(store) == []
    assert len(await titles(store)) == 2


@pytest.mark.parametrize("is_served_first", [False, True])
async def test_a_stopped_gateway_is_one_incident(store: Store, is_served_first: bool) -> None:
    """Neither its challenges nor what it serves come through, whatever is noticed first and last."""
    agent = await gateway(store)
    seen = failed("deploy.not_served", "gateway", NGINX, variant="drift", retried=False, address="10.0.0.153")
    reports = [
        agent.preflight(dead(NGINX), identifier=NGINX),
        agent.preflight(dead(PORTAINER), identifier=PORTAINER),
        serving(agent, "gateway", seen),
    ]
    for report in reports[::-1] if is_served_first else reports:
        await take(store, agent, report)
    assert len(await known(store)) == len(await titles(store)) == 1
    assert await store.read(find_stale_identifiers, agent.name) == {NGINX, PORTAINER}
    for report in (agent.preflight(identifier=NGINX), serving(agent, "gateway")):
        await take(store, agent, report)
        assert len(await unresolved(store)) == 1
    await take(store, agent, agent.preflight(identifier=PORTAINER))
    assert await unresolved(store) == []
    assert len(await titles(store)) == 2


async def test_two_dead_ports_of_different_certificates_are_two(store: Store) -> None:
    """One port that is broken for long hides no other that breaks later."""
    agent = await gateway(store)
    shop = failed("deploy.not_served", variant="drift", retried=False, address="10.0.0.153")
    other = failed("deploy.not_served", "gateway", NGINX, variant="drift", retried=False, address="10.0.0.153")
    await take(store, agent, serving(agent, "shopfront", shop))
    await take(store, agent, serving(agent, "gateway", other))
    assert len(await unresolved(store)) == len(await titles(store)) == 2


async def test_a_wrong_answer_is_one_incident_of_each_certificate(store: Store) -> None:
    """Where no line of a file is known: whatever is wrong at the address next, and whichever name is well first."""
    agent = await gateway(store)
    for name in (NGINX, PORTAINER, SHOP):
        missing = msgspec.structs.replace(dead(name), code="http01.not_found")
        await take(store, agent, agent.preflight(missing, identifier=name))
    assert sorted(sorted(_victims(one)) for one in await unresolved(store)) == [[NGINX, PORTAINER], [SHOP]]
    await take(store, agent, agent.preflight(identifier=NGINX), agent.preflight(identifier=SHOP))
    await take(store, agent, agent.preflight(dead(PORTAINER), identifier=PORTAINER))
    assert [(one.code, _victims(one)) for one in await unresolved(store)] == [("net.refused", [PORTAINER])]
    assert len([title for title in await titles(store) if not title.startswith("Resolved: ")]) == 2


async def test_the_file_that_is_found_later_takes_the_incident_of_its_address_along(store: Store) -> None:
    """The web server had just read its files anew: that is no second cause. A file of another node is one."""
    agent = await gateway(store)
    redirected = msgspec.structs.replace(dead(SHOP), code="http01.redirect_broken")
    await take(store, agent, agent.preflight(redirected, identifier=SHOP))
    assert redirected.culprit is not None
    culprit = msgspec.structs.replace(redirected.culprit, file=CONFIGURATION, line=3)
    await take(store, agent, agent.preflight(msgspec.structs.replace(redirected, culprit=culprit), identifier=SHOP))
    (incident,) = await unresolved(store)
    assert (incident.culprit.file, incident.culprit.line) == (CONFIGURATION, 3)
    assert len(await titles(store)) == 1
    await take(store, agent, agent.preflight(shadow(SHOP), identifier=SHOP))
    assert incident.id not in {one.id for one in await unresolved(store)}


@pytest.mark.parametrize("lasts", [5, 20])
async def test_a_server_that_has_yet_to_read_its_mended_file_is_told_if_it_lasts(url: str, lasts: int) -> None:
    """The line is gone, and for a moment the server answers as before. What stays so is told, a little later."""
    clock = FakeClock()
    async with open_store(url, Alerting(channels=("hook",)), clock) as store:
        agent = await gateway(store)
        missing = msgspec.structs.replace(dead(SHOP), code="http01.not_found")
        assert missing.culprit is not None
        culprit = msgspec.structs.replace(missing.culprit, file=CONFIGURATION, line=3)
        await take(store, agent, agent.preflight(msgspec.structs.replace(missing, culprit=culprit), identifier=SHOP))
        assert len(await sent(store, clock.now())) == 1
        clock.move(timedelta(seconds=60))
        await take(store, agent, agent.preflight(missing, identifier=SHOP))
        assert [one.culprit.file for one in await unresolved(store)] == [None]
        assert await sent(store, clock.now()) == [f"Resolved: lxc101:{CONFIGURATION}:3"]
        clock.move(timedelta(seconds=lasts))
        assert len(await sent(store, clock.now())) == (lasts > 15)
        await take(store, agent, agent.preflight(identifier=SHOP))
        assert await unresolved(store) == []
        clock.move(timedelta(seconds=60))
        assert len(await sent(store, clock.now())) == (lasts > 15)


async def sent(store: Store, at: datetime) -> list[str]:
    """The titles of all messages that are due by then, taken off one by one."""
    found = []
    while (delivery := await store.read(next_delivery, "hook", at)) is not None and delivery.due_at <= at:
        found.append(compose_message(delivery.incident, delivery.kind, "https://collector", now()).title)
        await store.write(record_attempt, delivery.number, failure=None, retry_at=None)
    return found


async def test_what_is_removed_from_the_configuration_ends_with_the_inventory(store: Store) -> None:
    """An identifier, then its certificate, though no report clears them: the state that knew of them is lost."""
    agent = await gateway(store)
    await take(
        store,
        agent,
        *(agent.preflight(dead(name, port), identifier=name) for name, port in ((NGINX, 80), (PORTAINER, 81))),
        deployment(agent, "shopfront", failed("deploy.rolled_back", variant="")),
    )
    assert len(await unresolved(store)) == 2
    shop = certificate("shopfront", SHOP)
    await take(store, agent, agent.inventory("10.0.0.153", "gateway", certificate("gateway", NGINX), shop))
    assert sorted(name for one in await unresolved(store) for name in _victims(one)) == [NGINX, SHOP]
    await take(store, agent, agent.inventory("10.0.0.153", "gateway", certificate("gateway", NGINX)))
    assert [name for one in await unresolved(store) for name in _victims(one)] == [NGINX]
    await take(store, agent, agent.inventory("10.0.0.153", "gateway"))
    assert await unresolved(store) == []


def _victims(incident: Incident) -> list[str]:
    return [victim.identifier for victim in incident.victims]


async def test_a_file_that_nobody_watches_any_more_takes_its_findings_along(store: Store) -> None:
    """The first report of an agent's new life says which files it speaks for; of others it said enough."""
    agent = Agent("lxc103")
    extra, hosts = "file:/etc/extra.hosts", "file:/etc/hosts"
    await take(store, agent, agent.watch(_line("/etc/extra.hosts"), scope=extra), agent.watch(_line("/etc/hosts")))
    assert len(await unresolved(store)) == 2
    await take(store, agent, agent.report(RunKind.WATCH, scopes=("file:/etc/resolv.conf",)))
    assert len(await unresolved(store)) == 2
    reborn = agent.report(RunKind.WATCH, scopes=("file:/etc/resolv.conf",), other_files=("/etc/hosts",))
    await take(store, agent, reborn)
    assert [one.culprit.file for one in await unresolved(store)] == ["/etc/hosts"]
    await take(store, agent, agent.report(RunKind.WATCH, scopes=(hosts,), other_files=()))
    assert await unresolved(store) == []


def _line(file: str) -> Finding:
    found = shadow(NGINX)
    culprit = Culprit(node="lxc103", file=file, line=7, text=f"10.0.0.153 {NGINX}")
    return msgspec.structs.replace(found, culprit=culprit)


async def test_a_restart_is_no_incident(url: str) -> None:
    """What is over before its rule would alert anybody has left no trace; what lasts is told once."""
    clock = FakeClock()
    rules = {"restarts": AlertRule(codes=("net.refused",), after=Duration(seconds=15))}
    async with open_store(url, Alerting(channels=("hook",), rules=rules), clock) as store:
        agent = await gateway(store)
        for seconds in (10, 20):
            await take(store, agent, agent.preflight(dead(NGINX), identifier=NGINX))
            clock.move(timedelta(seconds=seconds))
            await take(store, agent, agent.preflight(identifier=NGINX))
            assert len(await known(store)) == (seconds > 15)
        assert [title.partition(" puts")[0] for title in await titles(store)] == [
            "lxc101 (10.0.0.153)",
            "Resolved: lxc101",
        ]


async def test_a_retired_agent_is_not_missed(store: Store, url: str) -> None:
    """Its token is revoked: it is neither silent nor are its certificates anybody's worry, from that moment on."""
    agent = await gateway(store)
    await asyncio.to_thread(add_token, url, agent.name, TokenRole.AGENT, now())
    later = now() + timedelta(days=1)
    before = await store.read(read_snapshot, now(), (), POLICY.collector, later)
    assert [one.node for one in before.last_seen] == [one.node for one in before.certificates[:1]] == ["lxc101"]
    await asyncio.to_thread(revoke_tokens, url, agent.name, now())
    after = await store.read(read_snapshot, now(), (), POLICY.collector, later)
    assert (after.last_seen, after.certificates) == ((), ())
