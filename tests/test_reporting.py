"""The spool: once, in order, whatever happens in between. A real HTTPS collector stands at the other end."""

import asyncio
import errno
import gzip
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from certagent.domain.reports import FileChange, Outcome, Report, RunKind, Trigger
from certagent.reporting import GATHER_SECONDS, RESERVED_BYTES, Spool, Uplink
from certagent.system.clock import SystemClock
from certagent.system.files import FileContent, write_file
from certagent.system.pinned_http import VERSION_HEADER, PinnedClient
from tests.certificates import Authority
from tests.fakes.contact import NoContactLog

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def _report(identity: str, line: str = "") -> Report:
    return Report(
        id=identity,
        agent="lxc102",
        sequence=0,
        kind=RunKind.WATCH,
        trigger=Trigger.FILE,
        started_at=NOW,
        finished_at=NOW,
        outcome=Outcome.DONE,
        changes=(FileChange(file="/etc/hosts", exists=True, added=(line or identity,)),),
    )


class _Collector:
    """Keeps what it accepts; `status` is what it answers."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.posts = 0
        self.status = 200
        self.refused: list[dict[str, str]] = []
        self.turned_away = 0
        self.version = ""

    async def accept(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.posts += 1
        reports = msgspec.json.decode(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body, type=list[Report])
        if self.status >= 500:
            self.turned_away += 1
        else:
            refused = {one["id"] for one in self.refused}
            self.received += [report.id for report in reports if report.id not in refused]
        headers = {VERSION_HEADER: self.version} if self.version else {}
        return web.json_response({"refused": self.refused}, status=self.status, headers=headers)


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[[_Collector], Awaitable[int]]]:
    """Serves a collector over TLS on a free port of loopback."""
    authority = Authority()
    pair = authority.issue("localhost", "collector.invalid")
    authority.write_root(tmp_path / "root.crt")
    (tmp_path / "pair.pem").write_bytes(pair.chain_pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    runners: list[web.AppRunner] = []

    async def start(collector: _Collector, port: int = 0) -> int:
        app = web.Application()
        app.router.add_post("/v1/reports", collector.accept)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context)
        await site.start()
        return int(runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def _deliver(
    spool: Spool, port: int, root: Path, until: Callable[[], bool], clock: SystemClock | None = None
) -> None:
    async with PinnedClient(f"https://localhost:{port}", root, (), {}) as client, asyncio.TaskGroup() as group:
        uplink = group.create_task(Uplink(spool, client, clock or SystemClock(), NoContactLog()).run())
        await _until(until)
        uplink.cancel()


async def test_reports_of_an_outage_arrive_once_and_in_order(
    tmp_path: Path, serve: Callable[..., Awaitable[int]]
) -> None:
    """The collector answers 503 for a while; a new agent process takes the spool over meanwhile."""
    collector = _Collector()
    collector.status = 503
    port = await serve(collector)
    spool = Spool(tmp_path / "spool")
    for number in range(25):
        spool.append(_report(f"r{number}"))

    async def recover() -> None:
        await _until(lambda: collector.turned_away > 0)
        collector.status = 200

    again = Spool(tmp_path / "spool")
    async with asyncio.TaskGroup() as group:
        group.create_task(recover())
        group.create_task(_deliver(again, port, tmp_path / "root.crt", lambda: not again.waiting()))
    assert collector.received == [f"r{number}" for number in range(25)]


class _HeldClock(SystemClock):
    """Sleeps until it is told to go on."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.goes_on = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.goes_on.wait()


async def test_what_comes_right_after_a_delivery_goes_together(
    tmp_path: Path, serve: Callable[..., Awaitable[int]]
) -> None:
    """The first one at once; of the many that a hundred renewals make, few posts."""
    collector, clock, spool = _Collector(), _HeldClock(), Spool(tmp_path / "spool")
    port = await serve(collector)
    spool.append(_report("r0"))

    async def add() -> None:
        await _until(lambda: bool(clock.slept))
        for number in range(1, 10):
            spool.append(_report(f"r{number}"))
        assert collector.received == ["r0"]
        clock.goes_on.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(add())
        group.create_task(_deliver(spool, port, tmp_path / "root.crt", lambda: len(collector.received) == 10, clock))
    assert (collector.posts, collector.received) == (2, [f"r{number}" for number in range(10)])
    assert clock.slept[0] == GATHER_SECONDS


async def test_a_spool_that_cannot_be_changed_ends_nothing(
    tmp_path: Path, serve: Callable[..., Awaitable[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file system is read-only for a while: what is delivered is delivered again, and then taken out."""
    collector = _Collector()
    port = await serve(collector)
    spool = Spool(tmp_path / "spool")
    spool.append(_report("r0"))
    remove = spool.remove

    def fail(sequence: int) -> None:
        monkeypatch.setattr(spool, "remove", remove)
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(spool, "remove", fail)
    await _deliver(spool, port, tmp_path / "root.crt", lambda: not spool.waiting())
    assert collector.received == ["r0", "r0"]


async def test_configured_addresses_take_over_when_the_name_leads_nowhere(
    tmp_path: Path, serve: Callable[..., Awaitable[int]]
) -> None:
    """Same name for SNI, Host and trust: the URL stays as it is."""
    collector = _Collector()
    port = await serve(collector)
    spool = Spool(tmp_path / "spool")
    spool.append(_report("r1"))
    url = f"https://collector.invalid:{port}"
    async with PinnedClient(url, tmp_path / "root.crt", ("127.0.0.1",), {}) as client, asyncio.TaskGroup() as group:
        uplink = group.create_task(Uplink(spool, client, SystemClock(), NoContactLog()).run())
        await _until(lambda: not spool.waiting())
        uplink.cancel()
    assert collector.received == ["r1"]


async def test_a_refused_report_is_kept_for_a_person_and_the_others_go_on(
    tmp_path: Path, serve: Callable[..., Awaitable[int]]
) -> None:
    """It lies in dead/."""
    collector = _Collector()
    collector.status, collector.refused = 422, [{"id": "r1", "reason": "of another agent"}]
    port = await serve(collector)
    spool = Spool(tmp_path / "spool")
    for number in range(3):
        spool.append(_report(f"r{number}"))
    await _deliver(spool, port, tmp_path / "root.crt", lambda: not spool.waiting())
    assert collector.received == ["r0", "r2"]
    assert spool.dead_count() == 1


def _is_settled(spool: Spool, dead: int, refused_by: str) -> bool:
    """So many lie in `dead/`, and that version refused them: they were offered to it, and not only put aside."""
    refusals = spool.dead_folder.with_name("refused.json")
    return not spool.waiting() and spool.dead_count() == dead and refused_by in refusals.read_text()


@pytest.mark.parametrize("before", ["", "0.1.0"])
async def test_what_an_older_collector_refused_is_sent_again_after_its_upgrade(
    tmp_path: Path, serve: Callable[..., Awaitable[int]], before: str
) -> None:
    """With the next report; to a version that refuses it, too, once; whatever starts anew in between. What was not
    refused stays where it is."""
    collector = _Collector()
    collector.status, collector.refused = 422, [{"id": "r1", "reason": "unknown kind"}]
    collector.version = before
    port = await serve(collector)
    spool = Spool(tmp_path / "spool")
    for number in range(3):
        spool.append(_report(f"r{number}"))
    (tmp_path / "spool" / "dead" / "000000000000.json").write_bytes(b"unreadable")
    root = tmp_path / "root.crt"
    await _deliver(spool, port, root, lambda: not spool.waiting())
    for version, refused, dead in ((before, True, 2), ("0.1.1", True, 2), ("0.1.1", False, 2), ("0.1.2", False, 1)):
        collector.version = version
        collector.status = 422 if refused else 200
        collector.refused = [{"id": "r1", "reason": "unknown kind"}] if refused else []
        spool = Spool(tmp_path / "spool")
        spool.append(_report(f"{version or 'old'} {refused}"))
        await _deliver(spool, port, root, partial(_is_settled, spool, dead, version if refused else ""))
    assert collector.received == [
        *("r0", "r2", f"{before or 'old'} True", "0.1.1 True", "0.1.1 False", "0.1.2 False", "r1"),
    ]


def test_repeats_fold_into_a_count(tmp_path: Path) -> None:
    """An agent that finds the same thing for a week sends it once, with a count."""
    spool = Spool(tmp_path / "spool")
    for number in range(50):
        spool.append(_report(f"r{number}", line="10.0.0.153 traefik"))
    (kept,) = spool.next_batch(10)
    assert (kept.id, kept.count) == ("r0", 50)


def test_what_is_in_flight_is_not_folded_into(tmp_path: Path) -> None:
    """The collector may have it already: a repeat is a report of its own."""
    spool = Spool(tmp_path / "spool")
    spool.append(_report("r0", line="x"))
    spool.next_batch(10)
    spool.append(_report("r1", line="x"))
    assert [report.id for report in spool.next_batch(10)] == ["r0", "r1"]


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    """When nothing waits, whatever became of the last; when the last waits, when only others do; with or without work
    in between."""
    folder = tmp_path / "spool"
    given: list[int] = []

    def give() -> int:
        given.append(Spool(folder).append(_report(f"r{len(given)}", line=str(len(given)))).sequence)
        return given[-1]

    first = give()
    Spool(folder).remove(first)
    second = give()
    Spool(folder).move_to_dead(second, "of another agent")
    third, _ = give(), give()
    Spool(folder).remove(third)
    last = give()
    Spool(folder).remove(last)
    give()
    assert given == list(range(1, 7))


def test_what_is_delivered_makes_room_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be written for it, and the number is not given again."""
    spool = Spool(tmp_path / "spool")
    first, second = (spool.append(_report(f"r{n}", line=str(n))).sequence for n in range(2))

    def full(path: Path, content: FileContent) -> None:
        raise OSError(errno.ENOSPC, "full", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("certagent.reporting.write_file", full)
        spool.remove(first)
        spool.remove(second)
    assert spool.waiting() == []
    assert Spool(tmp_path / "spool").append(_report("r2")).sequence == second + 1


def test_a_full_disk_can_still_be_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reserved space is given up for the report."""
    spool = Spool(tmp_path / "spool")
    reserve = tmp_path / "spool" / "reserved"

    def full(path: Path, file: FileContent) -> None:
        if reserve.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write_file(path, file)

    monkeypatch.setattr("certagent.reporting.write_file", full)
    spool.append(_report("r0"))
    assert [report.id for report in spool.next_batch(1)] == ["r0"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_start_does_not_fill_the_disk(small_disk: Path) -> None:
    """With less room than the reserve, or hardly more; it is made as soon as a report finds room for it."""
    (small_disk / "theirs").write_bytes(b"x" * (3 * RESERVED_BYTES + 500_000))
    spool = Spool(small_disk / "spool")
    reserve = small_disk / "spool" / "reserved"
    spool.append(_report("r0"))
    assert [path.name for path in small_disk.rglob("*reserved*")] == []
    (small_disk / "theirs").unlink()
    spool.append(_report("r1"))
    assert reserve.stat().st_size == RESERVED_BYTES


def test_the_reserve_comes_back_when_there_is_room_again(small_disk: Path) -> None:
    """Given up for a report, it is made again once something is written or delivered."""
    spool = Spool(small_disk / "spool")
    reserve = small_disk / "spool" / "reserved"
    with suppress(OSError):
        (small_disk / "theirs").write_bytes(b"x" * 4 * RESERVED_BYTES)
    kept = spool.append(_report("r0"))
    assert not reserve.exists()
    spool.append(_report("r1"))
    assert not reserve.exists()
    (small_disk / "theirs").unlink()
    spool.remove(kept.sequence)
    assert reserve.stat().st_size == RESERVED_BYTES


def test_an_unreadable_report_is_put_aside(tmp_path: Path) -> None:
    """A torn file must not hold up the others."""
    spool = Spool(tmp_path / "spool")
    spool.append(_report("r0"))
    spool.append(_report("r1"))
    (tmp_path / "spool" / f"{spool.waiting()[0]:012d}.json").write_bytes(b"{")
    assert [report.id for report in spool.next_batch(10)] == ["r1"]
    assert spool.dead_count() == 1


def test_what_was_given_up_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of refused reports the newest stay, so many and no more bytes than so many."""
    from certagent import reporting

    monkeypatch.setattr(reporting, "MOST_DEAD", 3)
    spool = Spool(tmp_path / "spool")
    for number in range(10):
        spool.move_to_dead(spool.append(_report(f"r{number}")).sequence, "of another agent")
    assert [path.name for path in sorted(spool.dead_folder.iterdir())] == [f"{at:012d}.json" for at in (8, 9, 10)]
    monkeypatch.setattr(reporting, "LARGEST_DEAD", 10_000)
    spool.move_to_dead(spool.append(_report("large", line="x" * 9_000)).sequence, "of another agent")
    assert [len(path.read_bytes()) > 9_000 for path in sorted(spool.dead_folder.iterdir())] == [False, True]
