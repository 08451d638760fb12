"""Watching: content decides, the last state is never lost, reads wake nobody."""

import asyncio
import mmap
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, WatchDescriptor

from certagent.domain.reports import Contents, FileChange
from certagent.system import folder_events
from certagent.watch import ChangeSet, Watch, WatchedPaths, open_watch, read_contents

QUIET = timedelta(milliseconds=20)
NEVER = timedelta(hours=1)
PATIENCE = 30.0


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    """A hosts file with one line."""
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    return path


async def _next(changes: AsyncIterator[ChangeSet]) -> ChangeSet:
    async with asyncio.timeout(PATIENCE):
        return await anext(changes)


async def _settled(watch: Watch, path: Path) -> AsyncIterator[ChangeSet]:
    """The iterator of a watch that has looked once: proven by a first change that it yields."""
    changes = watch.changes({str(path): b"before"})
    await _next(changes)
    return changes


async def test_it_yields_what_was_written(hosts: Path) -> None:
    """Whole lines, added and removed."""
    async with open_watch((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        hosts.write_text("127.0.0.1 localhost\n10.0.0.153 traefik\n")
        assert await _next(changes) == (FileChange(file=str(hosts), exists=True, added=("10.0.0.153 traefik",)),)


async def test_it_sees_what_is_written_through_a_mapping(hosts: Path) -> None:
    """The kernel tells of no write then, only that a file that was open for writing is closed."""
    async with open_watch((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        with hosts.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
            mapping[:3] = b"128"
        assert (await _next(changes))[0].added == ("128.0.0.1 localhost",)


async def test_it_sees_a_rename_over_and_away_and_back(hosts: Path, tmp_path: Path) -> None:
    """Editors and configuration management replace files."""
    async with open_watch((hosts,), QUIET, NEVER) as watch:
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
    async with open_watch((link,), QUIET, NEVER) as watch:
        changes = await _settled(watch, link)
        target.write_text("nameserver 10.0.0.2\n")
        change = (await _next(changes))[0]
        assert (change.removed, change.added) == (("nameserver 10.0.0.1",), ("nameserver 10.0.0.2",))


@pytest.mark.parametrize("how", ["rename", "remove and make", "through another link"])
async def test_a_link_on_the_way_is_swung(tmp_path: Path, how: str) -> None:
    """A release: `current` leads to the next one, and with it all files below it; then that one's files count."""
    for release in ("1", "2"):
        (tmp_path / "releases" / release / "dynamic").mkdir(parents=True)
    old, new = (tmp_path / "releases" / release / "dynamic" / "file" for release in ("1", "2"))
    old.write_text("one\n")
    new.write_text("two\n")
    current, outer = tmp_path / "srv" / "current", tmp_path / "outer"
    current.parent.mkdir()
    current.symlink_to("../releases/1")
    outer.symlink_to(current.parent)
    path = (outer / "current" if how == "through another link" else current) / "dynamic" / "file"
    async with open_watch((path,), QUIET, NEVER) as watch:
        changes = await _settled(watch, path)
        if how == "remove and make":
            current.unlink()
            current.symlink_to(tmp_path / "releases" / "2")
        else:
            current.with_name("next").symlink_to("../releases/2")
            current.with_name("next").rename(current)
        while not (added := (await _next(changes))[0].added):
            pass
        assert added == ("two",)
        new.write_text("three\n")
        assert (await _next(changes))[0].added == ("three",)
        new.unlink()
        assert (await _next(changes))[0].exists is False


async def test_a_path_that_does_not_say_where_it_begins_is_watched_from_the_root(hosts: Path) -> None:
    """dnsmasq takes such names; nobody waits for ever to find their folder."""
    paths = (hosts, Path("certagent-nowhere"), Path("nowhere/at-all"))
    async with asyncio.timeout(10), open_watch(paths, QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        hosts.write_text("127.0.0.1 other\n")
        assert (await _next(changes))[0].added == ("127.0.0.1 other",)


async def test_a_link_that_leads_elsewhere_is_followed(tmp_path: Path) -> None:
    """Into a folder that was not watched before, and that is removed and made anew afterwards."""
    first, second, link = tmp_path / "first" / "stub", tmp_path / "second" / "stub", tmp_path / "etc" / "resolv.conf"
    for path in (first, second, link):
        path.parent.mkdir()
    first.write_text("nameserver 10.0.0.1\n")
    second.write_text("nameserver 10.0.0.2\n")
    link.symlink_to(first)
    async with open_watch((link,), QUIET, NEVER) as watch:
        changes = await _settled(watch, link)
        link.with_name("new").symlink_to("../second/stub")
        link.with_name("new").rename(link)
        assert (await _next(changes))[0].added == ("nameserver 10.0.0.2",)
        second.write_text("nameserver 10.0.0.3\n")
        assert (await _next(changes))[0].added == ("nameserver 10.0.0.3",)
        second.unlink()
        second.parent.rmdir()
        assert (await _next(changes))[0].exists is False
        second.parent.mkdir()
        second.write_text("nameserver 10.0.0.4\n")
        assert (await _next(changes))[0].added == ("nameserver 10.0.0.4",)
        second.write_text("nameserver 10.0.0.5\n")
        assert (await _next(changes))[0].added == ("nameserver 10.0.0.5",)


async def test_deleted_and_made_again_at_once_ends_in_what_is_there(hosts: Path) -> None:
    """Whether the moment without it was seen or not."""
    async with open_watch((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        for number in range(20):
            hosts.unlink()
            hosts.write_text(f"10.0.0.1 name{number}\n")
            while (await _next(changes))[0].added != (f"10.0.0.1 name{number}",):
                pass


async def test_a_rename_away_is_known_at_once(hosts: Path) -> None:
    """Nobody waits for where it went (watchdog would, for half a second); the best of five, on a busy machine."""
    loop = asyncio.get_running_loop()
    took = []
    async with open_watch((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        for _ in range(5):
            began_at = loop.time()
            hosts.rename(hosts.parent.parent / "away")
            assert (await _next(changes))[0].exists is False
            took.append(loop.time() - began_at)
            (hosts.parent.parent / "away").rename(hosts)
            await _next(changes)
    assert min(took) < 0.4


async def test_a_burst_is_one_change_set(hosts: Path) -> None:
    """1,000 writes: a set when there is quiet, or now and then if there is none; the last one has the last state."""
    async with open_watch((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        writer = await asyncio.create_subprocess_exec(sys.executable, "-c", _BURST, str(hosts))
        first = await _next(changes)
        seen = [first[0].added]
        while seen[-1] != ("10.0.0.1 name999",):
            seen.append((await _next(changes))[0].added)
        assert await writer.wait() == 0
    assert len(seen) < 30


_BURST = """
import sys
for number in range(1000):
    with open(sys.argv[1], "w") as file:
        file.write(f"10.0.0.1 name{number}\\n")
"""


async def test_a_mount_over_the_file_is_seen_and_so_is_its_end(tmp_path: Path) -> None:
    """No event of files tells of it. In a mount namespace of its own, so that nothing is left on this machine."""
    command = ("unshare", "-m", sys.executable, "-m", "tests.mounted", str(tmp_path))
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(child.communicate(), 30)
    assert said.decode().split() == ["over", "off", "folder", "inside"]


@pytest.mark.parametrize("made", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
async def test_what_is_no_file_holds_nobody_up(tmp_path: Path, made: Callable[[str], None]) -> None:
    """A pipe without a writer, a folder, a device without an end: each is passed by in bounded time and memory."""
    path = tmp_path / "hosts"
    made(str(path))
    async with open_watch((path,), QUIET, NEVER) as watch:
        changes = await _settled(watch, path)
        assert len(watch.contents[str(path)] or b"") <= 4 * 1024 * 1024
        path.rmdir() if path.is_dir() else path.unlink()
        path.write_text("10.0.0.1 a\n")
        while (await _next(changes))[0].added != ("10.0.0.1 a",):
            pass


async def test_what_changed_before_it_began_comes_first(hosts: Path) -> None:
    """The agent was down: the content it knew is compared with what is."""
    async with open_watch((hosts,), QUIET, NEVER) as watch:
        first = await _next(watch.changes({str(hosts): b""}))
        assert first[0].added == ("127.0.0.1 localhost",)


async def test_reads_wake_nobody(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that resolves names all day reads its hosts file all day."""
    events: list[str] = []
    monkeypatch.setattr(
        "certagent.system.folder_events.FolderWatch.on_event", lambda _, event: events.append(event.name.decode())
    )
    witness = hosts.with_name("witness")
    async with open_watch((hosts,), QUIET, NEVER):
        for _ in range(200):
            hosts.read_bytes()
        witness.touch()
        async with asyncio.timeout(PATIENCE):
            while witness.name not in events:
                await asyncio.sleep(0.001)
    assert hosts.name not in events


@pytest.mark.slow
async def test_a_thousand_folders_take_one_instance_and_one_thread(tmp_path: Path) -> None:
    """Whoever watches, and however many there are; the host's limit of instances is shared by its containers."""
    paths = tuple(tmp_path / str(number) / "certificate.crt" for number in range(1000))
    for path in paths:
        path.parent.mkdir()
        path.write_text("before\n")
    async with open_watch((tmp_path / "first",), QUIET, NEVER):
        threads, instances = threading.active_count(), _instances()
        async with open_watch(paths, QUIET, NEVER) as one, open_watch(paths, QUIET, NEVER) as other:
            assert (threading.active_count(), _instances()) == (threads, instances)
            for watch in (one, other):
                changes = watch.changes(read_contents(paths))
                looking = asyncio.create_task(_next(changes), name="look")
                await asyncio.sleep(0.1)
                paths[567].write_text(f"{id(watch)}\n")
                assert [change.file for change in await looking] == [str(paths[567])]


def _instances() -> int:
    opened = [os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    return sum(os.path.islink(path) and "inotify" in os.readlink(path) for path in opened)


async def test_an_event_has_only_that_read_which_it_can_concern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a hundred links through a folder of their own each, and one that all share, as they are deployed."""
    paths = tuple(tmp_path / f"{number}.crt" for number in range(100))
    for path in paths:
        for release in ("1", "2"):
            (tmp_path / path.stem / release).mkdir(parents=True)
            (tmp_path / path.stem / release / "fullchain.pem").write_text(f"{release} of {path.stem}\n")
        (tmp_path / path.stem / "current").symlink_to("1")
        path.symlink_to(f"{path.stem}/current/fullchain.pem")
    async with open_watch(paths, QUIET, NEVER) as watch:
        changes = watch.changes(read_contents(paths))
        looking = asyncio.create_task(_next(changes), name="look")
        await asyncio.sleep(0.1)
        read: set[Path] = set()

        def noted(those: tuple[Path, ...]) -> Contents:
            read.update(those)
            return read_contents(those)

        monkeypatch.setattr("certagent.watch.read_contents", noted)
        (tmp_path / "new").symlink_to("2")
        (tmp_path / "new").rename(tmp_path / "7/current")
        assert await looking == (FileChange(file=str(paths[7]), exists=True, added=("2 of 7",), removed=("1 of 7",)),)
        (tmp_path / "9/1/fullchain.pem").write_text("3 of 9\n")
        assert [change.file for change in await _next(changes)] == [str(paths[9])]
        assert read == {paths[7], paths[9]}
        (tmp_path / "7/2/fullchain.pem").unlink()
        assert [change.file for change in await _next(changes)] == [str(paths[7])]


@pytest.mark.slow
async def test_a_neighbour_that_is_written_all_the_time_wakes_nobody(
    hosts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 events a second of another file in the folder: no hint, no memory, little of the processor; what counts
    is seen all the same."""
    async with open_watch((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        hints: list[object] = []
        with monkeypatch.context() as patch:
            patch.setattr(watch, "hint", lambda *told: hints.append(told))
            before, began_at = _resident(), time.process_time()
            writer = await asyncio.create_subprocess_exec(sys.executable, "-c", _NOISE, str(hosts.with_name("noise")))
            assert await writer.wait() == 0
            assert time.process_time() - began_at < 1.0
            assert _resident() - before < 4 * 1024 * 1024
        assert hints == []
        hosts.write_text("10.0.0.1 a\n")
        assert (await _next(changes))[0].added == ("10.0.0.1 a",)


_NOISE = """
import sys, time
for _ in range(300):
    for _ in range(50):
        with open(sys.argv[1], "w") as file:
            file.write("noise")
    time.sleep(0.01)
"""


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_lost_events_are_made_up_for_by_a_look(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's queue has an end (IN_Q_OVERFLOW): what was in it is looked for."""
    monkeypatch.setattr("certagent.system.folder_events.FolderWatch.on_event", lambda *_: None)
    async with open_watch((hosts,), QUIET, NEVER) as watch:
        changes = await _settled(watch, hosts)
        hosts.write_text("10.0.0.1 a\n")
        overflow = InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b"")
        folder_events._Reader.running().handle_event(overflow)
        assert (await _next(changes))[0].added == ("10.0.0.1 a",)


async def test_of_very_many_a_part_is_compared_without_events_and_at_once_what_one_tells_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in its turn; what an event tells of is seen at once, wherever it stands."""
    monkeypatch.setattr("certagent.watch._MOST_COMPARED", 2)
    files = tuple(tmp_path / f"{number}" for number in range(5))
    seen: set[str] = set()
    with monkeypatch.context() as patch:
        patch.setattr("certagent.system.folder_events.FolderWatch.on_event", lambda *_: None)
        async with open_watch(files, QUIET, timedelta(milliseconds=1)) as watch:
            changes = watch.changes({**read_contents(files), str(files[0]): b"before"})
            await _next(changes)
            for file in files:
                file.write_text("new\n")
            while len(seen) < len(files):
                changed = {change.file for change in await _next(changes)}
                assert len(changed) <= 2
                seen |= changed
    async with open_watch(files, QUIET, NEVER) as watch:
        changes = watch.changes({**read_contents(files), str(files[0]): b"before"})
        await _next(changes)
        for file in files:
            file.write_text("newer\n")
        seen = set()
        while len(seen) < len(files):
            seen |= {change.file for change in await _next(changes)}


@pytest.mark.slow
async def test_without_inotify_it_compares_and_says_so(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unprivileged containers share the host's limit of instances."""

    def exhausted(*_: object, **__: object) -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr("watchdog.observers.inotify_c.InotifyFD.add_callback", exhausted)
    async with open_watch((hosts,), QUIET, NEVER) as watch:
        assert watch.degraded == "inotify is unavailable: inotify instance limit reached"
        changes = await _settled(watch, hosts)
        hosts.write_text("10.0.0.1 a\n")
        assert (await _next(changes))[0].added == ("10.0.0.1 a",)


@pytest.mark.slow
async def test_inotify_is_asked_for_again(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the host's limit is raised, or others have ended: without a restart of the agent; an empty set says so."""

    def exhausted(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    with monkeypatch.context() as patch:
        patch.setattr("watchdog.observers.inotify_c.InotifyFD.add_callback", exhausted)
        watch = Watch((hosts,), QUIET, timedelta(milliseconds=1))
        watch.start()
    changes = await _settled(watch, hosts)
    assert watch.degraded == "inotify is unavailable: inotify watch limit reached"
    assert await _next(changes) == ()
    assert watch.degraded is None
    hosts.write_text("10.0.0.1 a\n")
    assert (await _next(changes))[0].added == ("10.0.0.1 a",)
    await asyncio.to_thread(watch.stop)


async def test_a_file_that_comes_to_count_is_seen_and_one_that_goes_as_well(tmp_path: Path) -> None:
    """In a folder that is watched, empty or not yet there at first; a file that only ceases to count is no change."""
    folder, outside = tmp_path / "more/conf.d", tmp_path / "outside"
    outside.write_text("10.0.0.1 a\n")
    listed: list[Path] = []

    def find() -> WatchedPaths:
        found = tuple(sorted(folder.iterdir())) if folder.is_dir() else ()
        return WatchedPaths((*found, *listed), (folder,))

    async with open_watch((), QUIET, NEVER, find) as watch:
        changes = watch.changes({})
        looking = asyncio.create_task(_next(changes), name="look")
        await asyncio.sleep(0.1)
        folder.mkdir(parents=True)
        await asyncio.sleep(0.1)
        (folder / "new").write_text("10.0.0.2 b\n")
        assert await looking == (FileChange(file=str(folder / "new"), exists=True, added=("10.0.0.2 b",)),)
        listed.append(outside)
        watch.hint()
        assert [change.file for change in await _next(changes)] == [str(outside)]
        listed.clear()
        (folder / "new").unlink()
        assert await _next(changes) == (FileChange(file=str(folder / "new"), exists=False, removed=("10.0.0.2 b",)),)
        assert watch.contents == {}
