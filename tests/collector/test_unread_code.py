"""Provisioning code that the collector cannot read whole: said once, and no incident of that part is resolved by it."""

import logging

import pytest

from certagent.collector.provisioning_sources import ProvisioningSources
from certagent.collector.sql.api_queries import list_incidents
from certagent.vantage import git_checkout
from tests.collector.test_housekeeping import POLICY, World, world
from tests.collector.test_provisioning_sources import CODE, SCRIPT, Checkout, checkout
from tests.collector.test_store import introduce
from tests.evidence import LINE, shadow

pytestmark = pytest.mark.slow

__all__ = ["checkout", "world"]

MENDED = "#!/bin/bash\nset -e\n"
PLAY = "- hosts: lxc103\n  tasks:\n    - template: src=hosts.j2 dest=/etc/hosts\n"
TOO_LONG = "# nothing\n" * 60_000
UNREAD = "not all of the provisioning code is read"


async def _watched(world: World, checkout: Checkout) -> ProvisioningSources:
    """The incident of the line is there, and that of the code; the line is gone by now."""
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    sources = ProvisioningSources(checkout.root, world.store, POLICY, world.clock)
    await sources.compare()
    await world.watch()
    assert await _state(world) == "open"
    return sources


async def _state(world: World) -> str:
    page = await world.store.read(list_incidents, None, 100)
    return next(str(one.state) for one in page.items if one.code == "source.hosts_pinned.authority")


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if UNREAD in record.message]


def _whole(sources: ProvisioningSources) -> float:
    return next(iter(sources.metric.collect())).samples[0].value


async def test_a_script_that_became_too_long_keeps_its_incident(
    world: World, checkout: Checkout, caplog: pytest.LogCaptureFixture
) -> None:
    """The line is behind the part that is read. It is over once the script is read and has it no more."""
    checkout.commit(CODE)
    sources = await _watched(world, checkout)
    assert (_said(caplog), _whole(sources)) == ([], 1)
    checkout.commit(MENDED + TOO_LONG + CODE)
    for _ in range(3):
        await sources.compare()
    checkout.commit("anything", "README.md")
    await sources.compare()
    assert await _state(world) == "open"
    (said,) = _said(caplog)
    assert f"what that part wrote stays as it is: {SCRIPT}:1: it is longer than 512 KiB" in said
    assert _whole(sources) == 0
    checkout.commit(MENDED)
    await sources.compare()
    assert (await _state(world), _whole(sources)) == ("resolved", 1)


async def test_a_template_stays_to_blame_while_its_playbook_is_not_understood(world: World, checkout: Checkout) -> None:
    """Its file was read, and nobody knows what becomes of it. Without the line there is nothing to know."""
    checkout.commit(f"127.0.0.1 localhost\n{LINE}\n", "hosts.j2")
    checkout.commit(PLAY, "play.yml")
    sources = await _watched(world, checkout)
    checkout.commit(PLAY + "  hosts: [{{ all }}\n", "play.yml")
    await sources.compare()
    assert await _state(world) == "open"
    checkout.commit("127.0.0.1 localhost\n", "hosts.j2")
    await sources.compare()
    assert await _state(world) == "resolved"


async def test_a_script_that_writes_something_else_now_is_mended_whatever_else_is_unread(
    world: World, checkout: Checkout
) -> None:
    """By its variable: the line itself is the same as before."""
    checkout.commit(CODE)
    sources = await _watched(world, checkout)
    checkout.commit("- hosts: [\n", "play.yml")
    await sources.compare()
    assert await _state(world) == "open"
    checkout.commit(CODE.replace("GATEWAY=10.0.0.153", "GATEWAY=10.0.0.12"))
    await sources.compare()
    assert await _state(world) == "resolved"


async def test_a_tree_of_too_many_files_resolves_nothing_that_it_has_not_shown(
    world: World, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The script is behind the bound."""
    checkout.commit(CODE)
    sources = await _watched(world, checkout)
    monkeypatch.setattr(git_checkout, "MOST_FILES", 1)
    checkout.commit("first", "a.txt")
    with caplog.at_level(logging.WARNING):
        await sources.compare()
    assert await _state(world) == "open"
    assert "the commit has more than" in _said(caplog)[0]


async def test_an_edit_before_the_read_is_not_taken_for_the_commit_s(
    world: World, checkout: Checkout, caplog: pytest.LogCaptureFixture
) -> None:
    """At a collector's start; taken back, the file is read at once, though HEAD has not moved."""
    checkout.commit(MENDED)
    (checkout.root / SCRIPT).write_text(CODE, encoding="utf-8")
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    sources = ProvisioningSources(checkout.root, world.store, POLICY, world.clock)
    for _ in range(2):
        await sources.compare()
    assert await world.found() == {"dns.hosts_shadow.authority": "open"}
    (said,) = _said(caplog)
    assert said.endswith(f"{SCRIPT}:1: it differs from the commit")
    (checkout.root / SCRIPT).write_text(MENDED, encoding="utf-8")
    await sources.compare()
    assert (_whole(sources), len(_said(caplog))) == (1, 1)


async def test_a_mend_that_is_not_committed_resolves_nothing(world: World, checkout: Checkout) -> None:
    """HEAD has moved by another file meanwhile; the mend counts once it is committed."""
    checkout.commit(CODE)
    sources = await _watched(world, checkout)
    (checkout.root / SCRIPT).write_text(MENDED, encoding="utf-8")
    checkout.commit("anything", "README.md")
    await sources.compare()
    assert await _state(world) == "open"
    checkout.commit(MENDED)
    await sources.compare()
    assert await _state(world) == "resolved"


async def test_a_file_that_git_does_not_know_is_none_of_the_commit_s(world: World, checkout: Checkout) -> None:
    """Whatever it writes."""
    checkout.commit(MENDED)
    (checkout.root / "new.sh").write_text(CODE, encoding="utf-8")
    await introduce(world.store, world.cast)
    await world.watch(shadow())
    await ProvisioningSources(checkout.root, world.store, POLICY, world.clock).compare()
    assert set(await world.found()) == {"dns.hosts_shadow.authority"}


async def test_a_file_of_the_commit_counts_though_git_ignores_it(world: World, checkout: Checkout) -> None:
    """It was added before."""
    checkout.commit(CODE)
    checkout.commit("*.sh\n", ".gitignore")
    await _watched(world, checkout)
