"""Spool and uplink: every report reaches the collector, in order, however long that takes.

The spool is a folder with one file per report, written before a run counts as reported. Nothing is deleted before the
collector has it on disk; what the collector refuses goes to `dead/`, of which the newest are kept. What one version of
the collector refused is sent once more to another one: it may know what the older did not.
"""

import asyncio
import errno
import gzip
import logging
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec

from certagent.domain.backoff import Backoff
from certagent.domain.ports import Clock, CollectorContactLog
from certagent.domain.reports import Report
from certagent.system.files import FileContent, make_folder, write_file
from certagent.system.pinned_http import PinnedClient, failure_words

log = logging.getLogger(__name__)

RESERVED_BYTES = 1024 * 1024
LARGEST_SPOOL = 4096  # reports
LARGEST_BATCH = 10
MOST_DEAD = 1000  # reports, and no more than so many bytes of them
LARGEST_DEAD = 16 * 1024 * 1024
FIRST_PAUSE = timedelta(milliseconds=500)
LONGEST_PAUSE = timedelta(seconds=10)
POST_SECONDS = 15.0
GATHER_SECONDS = 0.1  # after a delivery: what comes meanwhile goes together

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Report).decode
_decode_refusals = msgspec.json.Decoder(dict[str, frozenset[str]]).decode
_UNKNOWN_VERSION = "unknown"  # a collector that does not say it


class Spool:
    """Reports on disk, oldest first. One process owns the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.dead_folder = folder / "dead"
        for path in (folder, self.dead_folder):
            make_folder(path)
        self._reserve = folder / "reserved"
        self._delivered = folder / "delivered.json"
        self._refusals = folder / "refused.json"
        self._offered_to: str | None = None
        self._in_flight: frozenset[int] = frozenset()
        self.arrived = asyncio.Event()
        self._is_reserved = self._reserve.is_file() and self._reserve.stat().st_size == RESERVED_BYTES
        self._restore_reserve()
        if not self._is_reserved:
            log.warning("no space to reserve %d bytes for reports", RESERVED_BYTES)
        self._last = max([0, *self.waiting()[-1:], *_numbers_in(self.dead_folder)[-1:], *self._last_delivered()])

    def append(self, report: Report) -> Report:
        """Store the report, numbered; returns it as stored. A repeat of the newest waiting report is counted there.
        Whoever stores one sets `arrived`, from the event loop's own thread.

        Raises OSError only if the disk is so full that the reserved space did not help either.
        """
        folded = self._fold(report)
        stored = folded or msgspec.structs.replace(report, sequence=self._last + 1)
        self._write(self._path(stored.sequence), _encode(stored))
        self._last = stored.sequence
        self._trim()
        self._restore_reserve()
        return stored

    def waiting(self) -> list[int]:
        """The sequence numbers of what is not delivered yet, oldest first."""
        return _numbers_in(self._folder)

    def next_batch(self, most: int) -> list[Report]:
        """The oldest reports; they are in flight until the next batch. An unreadable one goes to `dead/`."""
        reports = []
        for sequence in self.waiting()[:most]:
            try:
                reports.append(_decode(self._path(sequence).read_bytes()))
            except msgspec.MsgspecError:
                with suppress(OSError):
                    self.move_to_dead(sequence, "cannot be read")
        self._in_flight = frozenset(report.sequence for report in reports)
        return reports

    def remove(self, sequence: int) -> None:
        """The collector has it. The last one is kept for its number: no number is used twice."""
        with suppress(FileNotFoundError):
            if sequence == self._last:
                self._path(sequence).replace(self._delivered)  # which needs no space, if the disk is full
            else:
                self._path(sequence).unlink()
        self._restore_reserve()

    def move_to_dead(self, sequence: int, reason: str) -> None:
        """It is refused for good: it stays in `dead/` for a person to read."""
        log.error("report %d was refused and is kept in %s: %s", sequence, self.dead_folder, reason)
        with suppress(FileNotFoundError):
            self._path(sequence).rename(self._dead_path(sequence))
        self._trim_dead()

    def refuse(self, sequence: int, reason: str, version: str | None) -> None:
        """That version of the collector refused it, and is not asked again."""
        refused = self._refused_by()
        refused[sequence] = refused.get(sequence, frozenset()) | {version or _UNKNOWN_VERSION}
        self._write(self._refusals, _encode({str(number): by for number, by in refused.items()}))
        self.move_to_dead(sequence, reason)

    def revive(self, version: str | None) -> int:
        """Let what other versions of the collector refused wait again, to be offered to this one; answers how many.
        What cannot be read, or was given up for want of room, stays."""
        version = version or _UNKNOWN_VERSION
        if version == self._offered_to:
            return 0
        self._offered_to = version
        refused = self._refused_by()
        dead = [number for number in _numbers_in(self.dead_folder) if number in refused]
        offered = [number for number in dead if version not in refused[number]]
        for sequence in offered:
            self._dead_path(sequence).rename(self._path(sequence))
        if offered:
            log.info("%d refused reports are sent again, to the collector's version %s", len(offered), version)
            self.arrived.set()
        return len(offered)

    def dead_count(self) -> int:
        """How many reports are there."""
        return sum(1 for _ in self.dead_folder.iterdir())

    def _path(self, sequence: int) -> Path:
        return self._folder / f"{sequence:012d}.json"

    def _dead_path(self, sequence: int) -> Path:
        return self.dead_folder / self._path(sequence).name

    def _refused_by(self) -> dict[int, frozenset[str]]:
        """The versions that refused a report, by its number; of those that are still there."""
        try:
            refused = _decode_refusals(self._refusals.read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            return {}
        present = {*_numbers_in(self.dead_folder), *self.waiting()}
        return {int(number): by for number, by in refused.items() if number.isdecimal() and int(number) in present}

    def _fold(self, report: Report) -> Report | None:
        newest = self.waiting()[-1:]
        if not newest or newest[0] in self._in_flight:
            return None
        try:
            last = _decode(self._path(newest[0]).read_bytes())
        except (msgspec.MsgspecError, OSError):
            return None
        if _essence(last) != _essence(report):
            return None
        return msgspec.structs.replace(
            report, id=last.id, sequence=last.sequence, started_at=last.started_at, count=last.count + report.count
        )

    def _last_delivered(self) -> list[int]:
        try:
            return [_decode(self._delivered.read_bytes()).sequence]
        except (FileNotFoundError, msgspec.MsgspecError):
            return []

    def _write(self, path: Path, content: bytes) -> None:
        try:
            write_file(path, FileContent(content=content))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._reserve.unlink(missing_ok=True)
            self._is_reserved = False
            write_file(path, FileContent(content=content))

    def _trim(self) -> None:
        waiting = self.waiting()
        for sequence in waiting[: max(0, len(waiting) - LARGEST_SPOOL)]:
            self.move_to_dead(sequence, f"more than {LARGEST_SPOOL} reports are waiting")

    def _trim_dead(self) -> None:
        """A folder that nobody reads must not fill the disk."""
        size = 0
        for count, path in enumerate(sorted(self.dead_folder.iterdir(), reverse=True), 1):
            size += path.stat().st_size
            if count > MOST_DEAD or size > LARGEST_DEAD:
                log.warning("too many reports in %s: %s is removed", self.dead_folder, path.name)
                path.unlink()

    def _restore_reserve(self) -> None:
        """Once it was used up, as soon as there is clearly more space than that."""
        if self._is_reserved:
            return
        with suppress(OSError):
            free = os.statvfs(self._folder)
            if free.f_bavail * free.f_frsize >= 2 * RESERVED_BYTES:
                write_file(self._reserve, FileContent(content=b"\0" * RESERVED_BYTES))
                self._is_reserved = True


def _numbers_in(folder: Path) -> list[int]:
    return sorted(int(name[:-5]) for name in os.listdir(folder) if name.endswith(".json") and name[:-5].isdecimal())


class Uplink:
    """Delivers what the spool holds. A collector that cannot be reached is an ordinary state."""

    def __init__(self, spool: Spool, client: PinnedClient, clock: Clock, contact_log: CollectorContactLog) -> None:
        self._contact_log = contact_log
        self._spool = spool
        self._client = client
        self._clock = clock

    async def run(self) -> None:
        """Deliver in order; never returns."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            self._spool.arrived.clear()
            reports = await asyncio.to_thread(self._spool.next_batch, LARGEST_BATCH)
            if not reports:
                await self._spool.arrived.wait()
                continue
            if await self._deliver(reports):
                backoff.reset()
                if len(reports) < LARGEST_BATCH:
                    await self._clock.sleep(GATHER_SECONDS)
            else:
                await self._clock.sleep(backoff.next_pause().total_seconds())

    async def _deliver(self, reports: list[Report]) -> bool:
        """Whether the collector decided on these reports."""
        try:
            status, body = await self._client.request(
                "POST",
                "/v1/reports",
                timeout=POST_SECONDS,
                data=gzip.compress(_encode(reports), compresslevel=1),
                headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = failure_words(error)
            log.info("the collector cannot be reached, %d reports are waiting: %s", len(self._spool.waiting()), reason)
            return self._missed(reason)
        if status not in (200, 202, 422):
            log.warning("the collector answered %d to %d reports: %s", status, len(reports), body[:200])
            return self._missed(f"it answered {status} to reports")
        try:
            refused = _refused(body) if status == 422 else {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            log.warning("the collector's refusal of %d reports cannot be read", len(reports))
            return self._missed("its refusal of reports cannot be read")
        self._contact_log.reached("reports")
        try:
            await asyncio.to_thread(self._settle, reports, refused)
        except OSError as error:  # read-only, say: they are sent again, and the collector knows them
            log.warning("%d delivered reports cannot be removed from the spool: %s", len(reports), error.strerror)
            return False
        return True

    def _missed(self, reason: str) -> bool:
        self._contact_log.missed("reports", reason)
        return False

    def _settle(self, reports: list[Report], refused: dict[str, str]) -> None:
        for report in reports:
            if report.id in refused:
                self._spool.refuse(report.sequence, refused[report.id], self._client.server_version)
            else:
                self._spool.remove(report.sequence)
        self._spool.revive(self._client.server_version)


class _Refusal(msgspec.Struct):
    id: str
    reason: str


class _RefusalDocument(msgspec.Struct):
    refused: list[_Refusal] = []


def _refused(body: bytes) -> dict[str, str]:
    document = msgspec.json.decode(body, type=_RefusalDocument)
    return {refusal.id: refusal.reason for refusal in document.refused}


def _essence(report: Report) -> bytes:
    """What two reports must share to be one with a count: everything but id, times and the evidence of the moment."""
    findings = [(finding.code, finding.identifier, finding.culprit) for finding in report.findings]
    verdicts = sorted(report.verdicts.items())
    kind = (report.agent, report.kind, report.trigger, report.outcome, report.scopes, report.certificate)
    return _encode((kind, findings, verdicts, report.changes, report.inventory, report.fixes))
