"""What several nodes claim: who keeps it, what proves it, what an operator binds, and what is shown; on every store."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import select

from certagent.cli import commands
from certagent.collector.credentials import add_certificate, add_token, bind_claims
from certagent.collector.housekeeping import look_at_fleet
from certagent.collector.records import Changes, TokenRole
from certagent.collector.sql.api_queries import list_incidents
from certagent.collector.sql.claim_queries import (
    find_disputes,
    find_holders,
    find_owners,
    find_undecided,
    is_holder,
    may_rehearse,
    note_lead,
)
from certagent.collector.sql.deliveries import next_delivery, record_attempt
from certagent.collector.sql.ingest import store_rehearsals
from certagent.collector.sql.page_queries import list_disputes
from certagent.collector.sql.schema import earlier_claims
from certagent.collector.sql.speaker_queries import hear_voice
from certagent.collector.sql.upkeep import prune_claims, replace_findings
from certagent.collector.store import Store, open_store
from certagent.config.policy_files import load_policy
from certagent.domain.claims import ClaimKind
from certagent.domain.incidents import TransitionKind
from certagent.domain.policy import Alerting
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome
from certagent.domain.speakers import Voice
from certagent.system.clock import SystemClock
from tests.collector.cast import Agent, Cast, certificate, now
from tests.collector.test_store import introduce, states, take
from tests.evidence import (
    TRAEFIK,
    attempts_of,
    by_dns,
    by_hosts,
    dns_says,
    make_hop,
    make_rehearsal,
    make_resolution,
    shadow,
)

SECOND = "10.0.0.13"
NEW = "new.internal"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Open, with the cast's inventories."""
    async with open_store(url, Alerting(channels=("hook",)), SystemClock()) as store:
        await introduce(store, Cast())
        yield store


def passed_at(address: str, *, by_line: bool = False) -> Rehearsal:
    """A rehearsal that passed there; the CA had the address out of DNS, or by a line of its hosts file."""
    used = by_hosts(address) if by_line else by_dns(address)
    resolution = make_resolution(addresses=(used,))
    attempts = attempts_of(make_hop(address, 200), matched=True)
    return make_rehearsal(resolution, passed=True, attempts=attempts, at=now(), owners={})


async def claim(store: Store, name: str = "lxc199", address: str = SECOND) -> Agent:
    """Another node says that the name is its own, too."""
    agent = Agent(name)
    await take(store, agent, agent.inventory(address, "traefik", certificate("mine", TRAEFIK)))
    return agent


async def holders(store: Store) -> set[str]:
    """Whose the name is."""
    return set((await store.read(find_holders, (TRAEFIK,)))[TRAEFIK])


async def test_who_had_it_first_keeps_it_and_the_claim_is_shown(store: Store) -> None:
    """In the collector's next round; nobody is paged."""
    await claim(store)
    assert await holders(store) == {"lxc102"}
    assert not await store.read(may_rehearse, "lxc199", TRAEFIK)
    (dispute,) = await store.read(find_disputes)
    assert (dispute.kind, dispute.subject, dispute.holders) == (ClaimKind.IDENTIFIER, TRAEFIK, ("lxc102",))
    found = await look_at_fleet(store, {"lxc199"}, load_policy(None), now(), now())
    await store.write(replace_findings, found)
    (shown,) = await store.read(list_disputes)
    assert (shown.finding.code, shown.finding.culprit.node) == ("fleet.disputed", "lxc199")  # type: ignore[union-attr]
    assert "it belongs to lxc102" in shown.finding.explanation
    assert {part.split(" since ")[0] for part in shown.finding.detail["claims"].split(", ")} == {"lxc102", "lxc199"}
    assert await states(store) == []


async def test_reporting_the_inventory_again_makes_a_claim_no_younger(store: Store) -> None:
    """Another certificate comes, the name stays: it is as old as it was."""
    await claim(store)
    traefik = Agent("lxc102", sequence=9)
    both = (certificate("new", "new.internal"), certificate("traefik", TRAEFIK))
    await take(store, traefik, traefik.inventory("10.0.0.12", "traefik", *both))
    assert await holders(store) == {"lxc102"}


async def test_a_pair_that_dns_leads_to_is_proven_by_a_rehearsal_at_its_own_address(store: Store) -> None:
    """Only after the CA was led there, and not by a line of its hosts file; then both have it, and nothing is shown."""
    await claim(store)
    await store.write(store_rehearsals, (passed_at("10.0.0.12"),), asker="lxc102")
    await store.write(store_rehearsals, (passed_at(SECOND, by_line=True),), asker="lxc102")
    assert not await store.read(may_rehearse, "lxc199", TRAEFIK)
    await store.write(store_rehearsals, (passed_at(SECOND),), asker="lxc102")
    assert await store.read(may_rehearse, "lxc199", TRAEFIK)
    await store.write(store_rehearsals, (passed_at(SECOND),), asker="lxc199")
    assert await holders(store) == {"lxc102", "lxc199"}
    assert await store.read(find_disputes) == ()


@pytest.mark.parametrize("address", ["10.0.0.153", "10.0.0.12"])
async def test_what_passes_at_anothers_address_proves_nothing(store: Store, address: str) -> None:
    """Of the gateway that passes everything on, or of the node itself; though the claimer says that it is its own."""
    await claim(store, address=address)
    await store.write(store_rehearsals, (passed_at(address),), asker="lxc199")
    assert await holders(store) == {"lxc102"}
    owner = "lxc101" if address == "10.0.0.153" else "lxc102"
    assert (await store.read(find_owners, (address,)))[address].node == owner


async def test_what_passes_at_an_accused_address_proves_nothing(store: Store) -> None:
    """A wrong record leads to the box that claims the name."""
    await claim(store)
    authority = Agent("lxc103", sequence=9)
    await take(store, authority, authority.watch(shadow(address=SECOND)))
    await store.write(store_rehearsals, (passed_at(SECOND),), asker="lxc199")
    assert await holders(store) == {"lxc102"}
    assert await states(store) == ["open"]


async def test_an_operator_binds_to_several_nodes_and_releases(store: Store, url: str) -> None:
    """By the command; no token changes."""
    await claim(store)
    for name in ("lxc102", "lxc199"):
        add_token(url, name, TokenRole.AGENT, now())
    bind_claims(url, ("lxc102", "lxc199"), [(ClaimKind.IDENTIFIER, TRAEFIK), (ClaimKind.ADDRESS, SECOND)], now())
    assert await holders(store) == {"lxc102", "lxc199"}
    assert await store.read(find_disputes) == ()
    bind_claims(url, ("lxc199",), [(ClaimKind.IDENTIFIER, TRAEFIK)], now())
    assert await holders(store) == {"lxc199"}
    bind_claims(url, (), [(ClaimKind.IDENTIFIER, TRAEFIK)], now())
    assert await holders(store) == {"lxc102"}
    with pytest.raises(ValueError, match="lxc7: no valid token"):
        bind_claims(url, ("lxc102", "lxc7"), [(ClaimKind.IDENTIFIER, TRAEFIK)], now())


def shadowed(address: str) -> Rehearsal:
    """The CA's nameservers lead to the address, and a line of its hosts file to another one."""
    resolution = make_resolution(addresses=(by_hosts("10.0.0.153"),), dns=(dns_says(address),))
    attempts = attempts_of(make_hop("10.0.0.153", 404))
    return make_rehearsal(resolution, attempts=attempts, at=now(), owners={}, identifier=NEW)


async def claim_new(store: Store) -> Agent:
    """A name that nobody has is claimed by lxc199; then comes the node that it is of, with its address."""
    squatter, newcomer = Agent("lxc199"), Agent("lxc104")
    await take(store, squatter, squatter.inventory("10.0.0.199", "box", certificate("mine", NEW)))
    await take(store, newcomer, newcomer.inventory("10.0.0.14", "nginx", certificate("new", NEW)))
    return newcomer


async def test_who_claims_what_nobody_has_yet_keeps_nobody_out(store: Store) -> None:
    """Where DNS leads decides, though a line of the CA's hosts file leads elsewhere; and the proof, then, alone."""
    await claim_new(store)
    assert (await store.read(find_holders, (NEW,)))[NEW] == {"lxc199"}
    assert await store.read(find_undecided) == [NEW]
    assert not await store.read(may_rehearse, "lxc104", NEW)
    await store.write(note_lead, shadowed("10.0.0.14"))
    assert (await store.read(find_holders, (NEW,)))[NEW] == {"lxc199", "lxc104"}
    assert await store.read(may_rehearse, "lxc104", NEW)
    await store.write(
        store_rehearsals, (msgspec.structs.replace(passed_at("10.0.0.14"), identifier=NEW),), asker="lxc104"
    )
    assert (await store.read(find_holders, (NEW,)))[NEW] == {"lxc104"}
    assert not await store.read(may_rehearse, "lxc199", NEW)
    assert await store.read(find_undecided) == []


async def test_who_was_kept_out_is_asked_to_judge_again_and_nobody_else(store: Store) -> None:
    """A name that one node alone claims was never refused to it: each new name would be rehearsed twice."""
    heard: list[Changes] = []
    store.listen(heard.append)
    alone = Agent("lxc105")
    await take(store, alone, alone.inventory("10.0.0.15", "nginx", certificate("own", "own.example")))
    await store.write(note_lead, msgspec.structs.replace(shadowed("10.0.0.15"), identifier="own.example"))
    assert not any(changes.judge_again for changes in heard)
    await claim_new(store)
    await store.write(note_lead, shadowed("10.0.0.14"))
    asked = [dict(changes.judge_again) for changes in heard if changes.judge_again]
    assert asked == [{"lxc104": {NEW}, "lxc199": {NEW}}]


async def test_what_passed_through_a_gateway_is_kept_when_the_gateway_proves_it_for_itself(store: Store) -> None:
    """A gateway that was taken over may answer for every name behind it, as it may at the CA: it reads, and hides
    nothing."""
    await store.write(store_rehearsals, (passed_at("10.0.0.153"),), asker="lxc102")
    gateway = Agent("lxc101", sequence=9)
    await take(store, gateway, gateway.inventory("10.0.0.153", "gateway", certificate("mine", TRAEFIK)))
    assert await holders(store) == {"lxc102"}
    await store.write(store_rehearsals, (passed_at("10.0.0.153"),), asker="lxc101")
    assert await holders(store) == {"lxc101", "lxc102"}


async def test_the_incident_of_a_newcomer_is_its_own(store: Store) -> None:
    """What the agent beside the CA finds of the name: the newcomer is a victim, whoever claimed the name before."""
    await claim_new(store)
    authority = Agent("lxc103", sequence=9)
    await take(store, authority, authority.watch(shadow(NEW)))
    await store.write(note_lead, shadowed("10.0.0.14"))
    (incident,) = (await store.read(list_incidents, None, 10)).items
    assert {victim.node for victim in incident.victims} == {"lxc104", "lxc199"}


async def test_dns_that_leads_to_an_accused_address_gains_nothing(store: Store) -> None:
    """A record that was found to be wrong leads to the box that claims the name."""
    await claim(store)
    authority = Agent("lxc103", sequence=9)
    await take(store, authority, authority.watch(shadow(address=SECOND)))
    await store.write(note_lead, msgspec.structs.replace(shadowed(SECOND), identifier=TRAEFIK))
    assert await holders(store) == {"lxc102"}


async def test_an_address_is_of_the_node_that_speaks_from_there(store: Store) -> None:
    """Whoever claimed it before; where several speak from one address, it is a relay's, and they prove nothing."""
    squatter, node = Agent("lxc199"), Agent("lxc104")
    await take(store, squatter, squatter.inventory("10.0.0.14", "box"))
    await take(store, node, node.inventory("10.0.0.14", "nginx"))
    assert (await store.read(find_owners, ("10.0.0.14",)))["10.0.0.14"].node == "lxc199"
    await store.write(hear_voice, "lxc104", Voice("a", "10.0.0.14"), alive=None, heard_at=now())
    assert (await store.read(find_owners, ("10.0.0.14",)))["10.0.0.14"].node == "lxc104"
    await store.write(hear_voice, "lxc105", Voice("b", "10.0.0.14"), alive=None, heard_at=now())
    assert (await store.read(find_owners, ("10.0.0.14",)))["10.0.0.14"].node == "lxc199"


async def test_a_name_that_was_away_for_a_moment_is_as_old_as_it_was(store: Store) -> None:
    """And as proven; whoever claims it meanwhile has it only meanwhile. After `keep_reports` it is forgotten."""
    await store.write(store_rehearsals, (passed_at("10.0.0.12"),), asker="lxc102")
    node = Agent("lxc102", sequence=9)
    await take(store, node, node.inventory("10.0.0.12", "traefik"))
    await claim(store)
    assert await holders(store) == {"lxc199"}
    back = certificate("traefik", TRAEFIK)
    await take(store, node, node.inventory("10.0.0.12", "traefik", back))
    assert await holders(store) == {"lxc102"}
    await take(store, node, node.inventory("10.0.0.12", "traefik"))
    await store.write(prune_claims, now())
    await take(store, node, node.inventory("10.0.0.12", "traefik", back))
    assert await holders(store) == {"lxc199"}


async def test_what_one_node_no_longer_claims_is_bounded(store: Store) -> None:
    """The latest thousand names are remembered."""
    node = Agent("lxc102", sequence=9)
    names = [f"n{number}.internal" for number in range(1_500)]
    await take(store, node, node.inventory("10.0.0.12", "traefik", certificate("many", *names)))
    await take(store, node, node.inventory("10.0.0.12", "traefik", certificate("traefik", TRAEFIK)))
    await take(store, node, node.inventory("10.0.0.12", "traefik"))
    kept = await store.read(lambda connection: set(connection.execute(select(earlier_claims.c.identifier)).scalars()))
    assert len(kept) == 1_000
    assert TRAEFIK in kept


async def test_a_rehearsal_is_kept_for_each_who_asked(store: Store) -> None:
    """What an operator or another node asked for takes nothing of the victim's away."""
    failed = msgspec.structs.replace(passed_at("10.0.0.12"), outcome=RehearsalOutcome.FAILED)
    accused = Agent("lxc102", sequence=9)
    await take(store, accused, accused.preflight(shadow(reporter="lxc102")))
    await store.write(store_rehearsals, (failed,), asker="lxc102")
    for asker in ("@ops", "lxc199"):
        await store.write(store_rehearsals, (passed_at("10.0.0.12"),), asker=asker)
    assert sorted(await states(store)) == ["open", "resolved"]  # its own; and the accusation, of which nobody was told
    assert await store.read(is_holder, "lxc102", TRAEFIK)


async def test_a_suspicion_that_is_cleared_up_at_once_is_one_message(store: Store) -> None:
    """The victim speaks first, the agent beside the CA a moment later."""
    failed = msgspec.structs.replace(passed_at("10.0.0.12"), outcome=RehearsalOutcome.FAILED)
    await store.write(store_rehearsals, (failed,), asker="lxc102")
    victim, authority = Agent("lxc102", sequence=9), Agent("lxc103", sequence=9)
    await take(store, victim, victim.preflight(shadow(reporter="lxc102")))
    await take(store, authority, authority.watch(shadow()))
    delivery = await store.read(next_delivery, "hook", now())
    assert delivery is not None
    assert (delivery.kind, delivery.incident.culprit.node) == (TransitionKind.OPENED, "lxc103")
    await store.write(record_attempt, delivery.number, failure=None, retry_at=None)
    assert await store.read(next_delivery, "hook", now()) is None


def test_the_command_binds_and_unbinds(tmp_path: Path) -> None:
    configuration, url = tmp_path / "collector.toml", f"sqlite:///{tmp_path}/c.db"
    configuration.write_text(f'[server]\nlisten = "127.0.0.1:1"\n[store]\nurl = "{url}"\n')
    add_token(url, "lxc102", TokenRole.AGENT, now())
    options = ["--config", str(configuration), "--json"]
    bound = CliRunner().invoke(commands, ["token", "bind", "lxc102", "--identifier", "A.internal", *options])
    assert (bound.exit_code, msgspec.json.decode(bound.stdout)) == (
        0,
        {"bound": [{"kind": "identifier", "subject": "a.internal", "nodes": ["lxc102"]}]},
    )
    unknown = CliRunner().invoke(commands, ["token", "bind", "lxc9", "--address", "10.0.0.1", *options])
    assert unknown.exit_code == 2
    freed = CliRunner().invoke(commands, ["token", "unbind", "--address", "10.0.0.1", *options])
    assert (freed.exit_code, msgspec.json.decode(freed.stdout)["bound"][0]["nodes"]) == (0, [])


def test_the_command_binds_a_fingerprint(tmp_path: Path) -> None:
    """However it is written; of one name; what is none is said so."""
    configuration, url = tmp_path / "collector.toml", f"sqlite:///{tmp_path}/c.db"
    configuration.write_text(f'[server]\nlisten = "127.0.0.1:1"\n[store]\nurl = "{url}"\n')
    for name in ("lxc102", "lxc103"):
        add_certificate(url, name, TokenRole.AGENT, f"{name}.internal", now())
    options = ["--config", str(configuration), "--json"]
    written = "SHA256:" + ":".join(["AB"] * 32)
    for names, status in ((["lxc102"], 0), (["lxc102", "lxc103"], 2), (["lxc9"], 2)):
        bound = CliRunner().invoke(commands, ["token", "bind", *names, "--fingerprint", written, *options])
        assert bound.exit_code == status, bound.output
    listed = CliRunner().invoke(commands, ["token", "list", *options])
    kinds = [
        (one["name"], one["kind"], one["revoked_at"] is None) for one in msgspec.json.decode(listed.stdout)["tokens"]
    ]
    assert kinds == [
        ("lxc102", "certificate", False),
        ("lxc103", "certificate", True),
        ("lxc102", "fingerprint", True),
    ]
    short = CliRunner().invoke(commands, ["token", "bind", "lxc102", "--fingerprint", "abcd", *options])
    assert short.exit_code == 2
    freed = CliRunner().invoke(commands, ["token", "unbind", "--fingerprint", "ab" * 32, *options])
    assert msgspec.json.decode(freed.stdout) == {"bound": [{"kind": "fingerprint", "subject": "ab" * 32, "nodes": []}]}
