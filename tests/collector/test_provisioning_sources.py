"""A live line and the provisioning code that wrote it: found by content, told in the incident, kept until it is mended.
The checkout is a real one, made by the library that reads it."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dulwich import porcelain

from certagent.collector.incident_text import compose_message
from certagent.collector.provisioning_sources import ProvisioningSources
from certagent.collector.sql.api_queries import find_incident, list_incidents
from certagent.collector.sql.deliveries import next_delivery
from certagent.collector.sql.incident_writer import acknowledge_incident
from certagent.commands.fix import _source_note
from certagent.domain.incidents import Incident, TransitionKind
from certagent.system.clock import SystemClock
from tests.collector.process import eventually, running
from tests.collector.test_housekeeping import POLICY, World, world
from tests.collector.test_store import introduce
from tests.evidence import LINE, shadow

__all__ = ["world"]

SCRIPT = "lxc103.sh"
CODE = (
    f"#!/bin/bash\nset -e\nGATEWAY=10.0.0.153\ncat >> /etc/hosts <<EOF\n{LINE.replace('10.0.0.153', '$GATEWAY')}\nEOF\n"
)


class Checkout:
    """A git checkout with the script of a container."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        folder.mkdir()
        porcelain.init(folder)

    def commit(self, code: str, path: str = SCRIPT) -> str:
        """The script, or another file, as it is from now on; answers the commit."""
        (self.root / path).write_text(code, encoding="utf-8")
        porcelain.add(str(self.root), [str(self.root / path)])
        author = b"A Person <person@example.org>"
        return porcelain.commit(str(self.root), b"a change", author=author, committer=author).decode()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """With nothing in it."""
    return Checkout(tmp_path / "provisioning")


async def _incidents(world: World) -> dict[str, Incident]:
    """Code -> incident."""
    page = await world.store.read(list_incidents, None, 100)
    return {incident.code: incident for incident in page.items}


def _sources(world: World, checkout: Checkout) -> ProvisioningSources:
    return ProvisioningSources(checkout.root, world.store, POLICY, world.clock)


async def test_the_script_that_wrote_a_live_line_is_named_and_has_an_incident_of_its_own(
    world: World, checkout: Checkout
) -> None:
    """With file, line and commit; in the message and in what `fix` is told."""
    commit = checkout.commit(CODE)
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    await _sources(world, checkout).compare()
    found = await _incidents(world)
    assert set(found) == {"dns.hosts_shadow.authority", "source.hosts_pinned.authority"}
    mine = found["source.hosts_pinned.authority"]
    assert (mine.culprit.node, mine.culprit.file, mine.culprit.line) == ("provisioning", SCRIPT, 5)
    assert mine.explanation.startswith(
        f"At its next run, line 5 of '{SCRIPT}' in the provisioning code writes '{LINE}' "
    )
    detail = await world.store.read(find_incident, found["dns.hosts_shadow.authority"].id)
    assert detail is not None
    (line,) = detail.incident.written_by
    assert (line.file, line.line, line.commit) == (SCRIPT, 5, commit)
    message = compose_message(detail.incident, TransitionKind.OPENED, "https://c", world.clock.now())
    assert f"Written by {SCRIPT}:5 (commit {commit[:12]}, " in message.body
    assert "the line will come back." in message.body
    delivery = await world.store.read(next_delivery, "hook", world.clock.now())
    assert delivery is not None


async def test_a_message_about_the_code_says_what_it_would_do_to_whom(world: World, checkout: Checkout) -> None:
    """Its title and first sentence name the file and the line, in words; no bare reference, no code."""
    commit = checkout.commit(CODE)
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    await _sources(world, checkout).compare()
    incident = (await _incidents(world))["source.hosts_pinned.authority"]
    address, name = LINE.split()
    told = {
        kind: compose_message(incident, kind, "https://c", world.clock.now())
        for kind in (TransitionKind.OPENED, TransitionKind.REMINDED, TransitionKind.RESOLVED)
    }
    title = (
        f"The next run of {SCRIPT} (line 5) makes the CA look for {name} at {address}:"
        " no certificate is issued or renewed"
    )
    assert [message.title for message in told.values()] == [
        title,
        f"Still: {title}",
        f"Resolved: line 5 of {SCRIPT} in the provisioning code",
    ]
    first, _, rest = told[TransitionKind.OPENED].body.partition("\n")
    assert first.startswith(
        f"At its next run, line 5 of '{SCRIPT}' in the provisioning code writes '{LINE}' into /etc/hosts on lxc103"
        f" again. With that line, the CA connects to {address} (lxc101, gateway) for the names in it: their challenges"
        f" fail there, and no certificate for them is issued or renewed. This is the code of commit {commit[:12]} ("
    )
    assert f"\nCulprit: line 5 of {SCRIPT} in the provisioning code\n" in rest
    client = msgspec.structs.replace(
        incident,
        code="source.hosts_pinned.client",
        culprit=msgspec.structs.replace(incident.culprit, text=f"<?> {name} other.example  # by hand"),
    )
    title = compose_message(client, TransitionKind.OPENED, "https://c", world.clock.now()).title
    assert title == f"The next run of {SCRIPT} (line 5) sends clients of {name} and 1 more to another address"


async def test_its_incident_outlives_the_node_s_and_ends_with_the_code(world: World, checkout: Checkout) -> None:
    """Removing the line mends a night; mending the script mends it. Nobody else's round takes it away."""
    checkout.commit(CODE)
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    sources = _sources(world, checkout)
    await sources.compare()
    await world.watch()
    await sources.compare()
    await world.sweep("lxc101", "lxc102", "lxc103")
    states = {code: str(incident.state) for code, incident in (await _incidents(world)).items()}
    assert states == {"dns.hosts_shadow.authority": "resolved", "source.hosts_pinned.authority": "open"}
    await world.store.write(acknowledge_incident, (await _incidents(world))["source.hosts_pinned.authority"].id, "ops")
    checkout.commit("#!/bin/bash\nset -e\n")
    await sources.compare()
    assert str((await _incidents(world))["source.hosts_pinned.authority"].state) == "resolved"


async def test_an_incident_and_a_commit_are_reasons_to_look(world: World, checkout: Checkout) -> None:
    """Nobody waits for the next of the looks that come anyway."""
    checkout.commit(CODE)
    policy = msgspec.structs.replace(
        POLICY, collector=msgspec.structs.replace(POLICY.collector, look_every=timedelta(hours=1))
    )
    watching = asyncio.create_task(ProvisioningSources(checkout.root, world.store, policy, SystemClock()).run())

    async def has(state: str) -> bool:
        found = (await _incidents(world)).get("source.hosts_pinned.authority")
        return found is not None and str(found.state) == state

    try:
        await introduce(world.store, world.cast)
        await world.watch(shadow())
        await eventually(lambda: has("open"), within=5.0)
        checkout.commit("#!/bin/bash\nset -e\n")
        await eventually(lambda: has("resolved"), within=5.0)
    finally:
        watching.cancel()


async def test_code_that_wrote_nothing_live_is_nobody_s_incident(world: World, checkout: Checkout) -> None:
    """Another address, another file, a comment; and an edit that is not committed."""
    checkout.commit(f"# {LINE}\necho '10.0.0.9 other.example' >> /etc/hosts\necho '{LINE}' >> /etc/hosts.bak\n")
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    sources = _sources(world, checkout)
    await sources.compare()
    (checkout.root / SCRIPT).write_text(CODE, encoding="utf-8")
    await sources.compare()
    assert set(await _incidents(world)) == {"dns.hosts_shadow.authority"}


async def test_a_folder_that_is_no_checkout_says_so_once(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a broken one, whatever the library makes of it; the collector goes on."""
    sources = ProvisioningSources(tmp_path, world.store, POLICY, world.clock)
    await sources.compare()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(b"ref: \xff\x00../../etc/passwd\n")
    for _ in range(2):
        await sources.compare()
    said = [record.message for record in caplog.records if "provisioning code is not read" in record.message]
    assert 1 <= len(said) <= 2
    assert await _incidents(world) == {}


@pytest.mark.slow
async def test_the_page_and_the_api_of_a_running_collector_say_so(tmp_path: Path, checkout: Checkout) -> None:
    """By `[sources]` in its configuration: within a round of its own."""
    checkout.commit(CODE)
    folder = tmp_path / "collector"
    folder.mkdir()
    async with running(folder, more=f'[sources]\npath = "{checkout.root}"\n') as collector:
        await collector.introduce()
        await collector.report(collector.cast.authority.watch(shadow()))

        async def told() -> dict[str, Any]:
            live = next(one for one in await collector.incidents() if one["code"] == "dns.hosts_shadow.authority")
            async with collector.session("ops") as session, session.get(f"/v1/incidents/{live['id']}") as answer:
                document: dict[str, Any] = await answer.json()
            return document if document["written_by"] else {}

        incident = await eventually(told)
        (line,) = incident["written_by"]
        assert (line["file"], line["line"]) == (SCRIPT, 5)
        async with collector.session("ops") as session, session.get(f"/incidents/{incident['id']}") as answer:
            assert f"Written by {SCRIPT}:5 (commit {line['commit'][:12]}," in await answer.text()


def test_fix_prints_the_edit_of_the_code_as_well() -> None:
    """And never makes it."""
    line = {"file": SCRIPT, "line": 5, "text": LINE, "commit": "3f2a91c0b7d4aa", "committed_at": "2026-11-24T03:00:00Z"}
    place = f"{SCRIPT}:5 (commit 3f2a91c0b7d4, 2026-11-24)"
    assert _source_note(line) == f"written by {place}, so it will come back: change it there as well: {LINE}"
