"""A live line and the provisioning code that wrote it: found by content, told in the incident, kept until it is mended.
The checkout is a real one, made by the library that reads it."""

import asyncio
import subprocess
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
from certagent.collector.sql.source_queries import find_about_sources
from certagent.commands.fix import _source_note
from certagent.domain.findings import Culprit
from certagent.domain.incidents import Incident, TransitionKind
from certagent.system.clock import SystemClock
from tests.collector.process import eventually, running
from tests.collector.test_housekeeping import POLICY, World, world
from tests.collector.test_store import introduce, take
from tests.evidence import LINE, NAME, make_finding, shadow

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize(
    ("code", "file", "text"),
    [
        ("dns.resolver_public", "/etc/resolv.conf", "nameserver 8.8.8.8"),
        ("dns.nsswitch_no_dns", "/etc/nsswitch.conf", "hosts: files"),
        ("dns.split_horizon", "/etc/dnsmasq.d/fleet.conf", f"address=/{NAME}/10.0.0.153"),
    ],
)
async def test_a_line_of_any_resolver_file_is_tied_to_the_code(
    world: World, checkout: Checkout, code: str, file: str, text: str
) -> None:
    """As it is with hosts files: named in the incident, with an incident of its own, which ends with the code."""
    others = "".join(f"echo x >> /etc/dnsmasq.d/a{number:03}.conf\n" for number in range(120))
    checkout.commit(f"#!/bin/bash\nset -e\n\necho '{text}' >> {file}\n{others}")
    await introduce(world.store, world.cast)
    agent, blamed = (
        world.cast.authority,
        make_finding(code, culprit=Culprit(node="lxc103", file=file, line=9, text=text)),
    )
    await take(world.store, agent, agent.watch(blamed, scope=f"file:{file}"))
    sources = _sources(world, checkout)
    await sources.compare()
    found = await _incidents(world)
    assert set(found) == {code, "source.line_returns"}
    mine = found["source.line_returns"]
    assert (mine.culprit.file, mine.culprit.line) == (SCRIPT, 4)
    shown = f"'{text}'" if " " in text else text
    assert mine.explanation.startswith(
        f"At its next run, line 4 of '{SCRIPT}' in the provisioning code writes {shown} into {file} on lxc103 again."
        f" {code} comes back with it."
    )
    detail = await world.store.read(find_incident, found[code].id)
    assert detail is not None
    assert [(line.file, line.line) for line in detail.incident.written_by] == [(SCRIPT, 4)]
    message = compose_message(mine, TransitionKind.OPENED, "https://c", world.clock.now())
    assert message.title == f"Line 4 of {SCRIPT} in the provisioning code brings the fault back"
    await take(world.store, agent, agent.watch(scope=f"file:{file}"))
    await sources.compare()
    assert {code: str(one.state) for code, one in (await _incidents(world)).items()} == {
        code: "resolved",
        "source.line_returns": "open",
    }
    checkout.commit("#!/bin/bash\nset -e\n")
    await sources.compare()
    assert str((await _incidents(world))["source.line_returns"].state) == "resolved"


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


async def test_a_repository_whose_configuration_is_code_runs_nothing(
    world: World, checkout: Checkout, tmp_path: Path
) -> None:
    """Every setting of git's that names a program; git itself would run one of them at a mere `status`."""
    checkout.commit(CODE)
    ran = tmp_path / "ran"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {ran}\n", encoding="utf-8")
    trap.chmod(0o755)
    (checkout.root / ".gitattributes").write_text("* filter=trap diff=trap\n", encoding="utf-8")
    with (checkout.root / ".git" / "config").open("a", encoding="utf-8") as config:
        config.write(
            f"[core]\n\tfsmonitor = {trap}\n\tsshCommand = {trap}\n\tpager = {trap}\n\teditor = {trap}\n"
            f'\thooksPath = {tmp_path}\n[filter "trap"]\n\tclean = {trap}\n\tsmudge = {trap}\n\tprocess = {trap}\n'
            f'[diff "trap"]\n\ttextconv = {trap}\n\tcommand = {trap}\n[include]\n\tpath = {trap}.config\n'
        )
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        (tmp_path / hook).symlink_to(trap)
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    sources = _sources(world, checkout)
    for _ in range(2):
        await sources.compare()
    assert "source.hosts_pinned.authority" in await _incidents(world)
    assert not ran.exists()
    await asyncio.to_thread(subprocess.run, ["git", "status"], cwd=checkout.root, capture_output=True, check=False)
    assert ran.exists(), "the trap does not work"


async def test_a_secret_beside_the_line_is_told_to_nobody(world: World, checkout: Checkout) -> None:
    """Neither in what is kept, nor in a message, nor in what `fix` is told."""
    checkout.commit(f"#!/bin/bash\nexport DB_PASSWORD=hunter2hunter2; echo '{LINE}' >> /etc/hosts\n")
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    await _sources(world, checkout).compare()
    found = await _incidents(world)
    detail = await world.store.read(find_incident, found["dns.hosts_shadow.authority"].id)
    assert detail is not None
    (line,) = detail.incident.written_by
    assert line.code is not None
    assert line.code.startswith("export DB_PASSWORD=")
    kept = await world.store.read(find_about_sources)
    messages = [compose_message(one, TransitionKind.OPENED, "https://c", world.clock.now()) for one in found.values()]
    for told in (detail, kept, messages, found):
        assert b"hunter2" not in msgspec.json.encode(told)


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
    note = f"written by {place}, so it will come back: "
    assert _source_note(line) == f"{note}change it there: {LINE}"
    code = f"  echo {LINE} >> /etc/hosts"
    assert _source_note(line | {"code": code}) == (
        f"{note}change that line there as well: {code.strip()} (it writes {LINE})"
    )
