"""Watching: content decides, the last state is never lost, reads wake nobody."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from certagent.domain.reports import FileChange
from certagent.watch import ChangeSet, Watch, watching

QUIET = timedelta(milliseconds=20)
NEVER = timedelta(hours=1)


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    """A hosts file with one line."""
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    return path


async def _next(changes: AsyncIterator[ChangeSet]) -> ChangeSet:
    async with asyncio.timeout(3):
        return await anext(changes)


async def _settled(watch: Watch, path: Path) -> AsyncIterator[ChangeSet]:
    """The iterator of a watch that has looked once: proven by a first change that it yields."""
    changes = watch.changes({str(path): b"before"})
    await _next(changes)
    return changes


async def test_it_yields_what_was_written(hosts: Path) -> None:
    """Whole lines, added and removed."""
    async with watching((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        hosts.write_text("127.0.0.1 localhost\n10.0.0.153 traefik\n")
        assert await _next(changes) == (FileChange(file=str(hosts), exists=True, added=("10.0.0.153 traefik",)),)


async def test_it_sees_a_rename_over_and_away_and_back(hosts: Path, tmp_path: Path) -> None:
    """Editors and configuration management replace files."""
    async with watching((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        (tmp_path / "new").write_text("10.0.0.1 a\n")
        (tmp_path / "new").rename(hosts)
        assert (await _next(changes))[0].added == ("10.0.0.1 a",)
        hosts.rename(tmp_path / "gone")
        assert (await _next(changes))[0].exists is False
        (tmp_path / "gone").rename(hosts)
        assert (await _next(changes))[0].exists is True


async def test_it_sees_through_a_link(tmp_path: Path) -> None:
    """resolv.conf is a link into /run wherever systemd-resolved is."""
    target = tmp_path / "run" / "stub"
    target.parent.mkdir()
    target.write_text("nameserver 10.0.0.1\n")
    link = tmp_path / "etc" / "resolv.conf"
    link.parent.mkdir()
    link.symlink_to(target)
    async with watching((link,), QUIET, NEVER) as watch:
        changes = await _settled(watch, link)
        target.write_text("nameserver 10.0.0.2\n")
        change = (await _next(changes))[0]
        assert (change.removed, change.added) == (("nameserver 10.0.0.1",), ("nameserver 10.0.0.2",))


async def test_a_burst_ends_in_its_last_state(hosts: Path) -> None:
    """However many sets a burst makes, together they lead to what the file holds."""
    async with watching((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        for number in range(300):
            hosts.write_text(f"10.0.0.1 name{number}\n")
        seen = 0
        while True:
            seen += 1
            if (await _next(changes))[0].added == ("10.0.0.1 name299",):
                break
        assert seen < 30


async def test_what_changed_before_it_began_comes_first(hosts: Path) -> None:
    """The agent was down: the content it knew is compared with what is."""
    async with watching((hosts,), QUIET, NEVER) as watch:
        first = await _next(watch.changes({str(hosts): b""}))
        assert first[0].added == ("127.0.0.1 localhost",)


async def test_reads_wake_nobody(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that resolves names all day reads its hosts file all day."""
    events: list[str] = []
    monkeypatch.setattr("certagent.watch._Hint.on_any_event", lambda _, event: events.append(str(event.src_path)))
    witness = hosts.with_name("witness")
    async with watching((hosts,), QUIET, NEVER):
        for _ in range(200):
            hosts.read_bytes()
        witness.touch()
        async with asyncio.timeout(3):
            while str(witness) not in events:
                await asyncio.sleep(0.001)
    assert str(hosts) not in events


async def test_without_inotify_it_compares_and_says_so(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unprivileged containers share the host's limit of instances."""

    def exhausted(*_: object, **__: object) -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr("watchdog.observers.inotify.InotifyObserver.schedule", exhausted)
    async with watching((hosts,), QUIET, NEVER) as watch:
        assert watch.degraded == "inotify is not to be had: inotify instance limit reached"
        changes = await _settled(watch, hosts)
        hosts.write_text("10.0.0.1 a\n")
        assert (await _next(changes))[0].added == ("10.0.0.1 a",)
