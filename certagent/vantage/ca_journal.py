"""What the CA's journal says last: why it stopped, or does not start. Reads only, and returns no secret.

The journal is asked of journalctl, for a moment at most. What the CA said itself counts more than what systemd says of
its end, unless somebody ended it.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from certagent.domain.findings import redact
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import LastWords
from certagent.system.processes import Finished, ReloadCoordinator, run
from certagent.system.regular_files import read_within
from certagent.vantage.ca_process import UNIT_FOLDERS

READING_FOR = 3.0
"""Seconds."""
_READS_APART = 1.0
_MOST_LINES = 60
_MOST_UNITS = 1000
_LONGEST = 300
_JOURNALCTL = ("journalctl", "--quiet", "--no-pager", "--output=json", "--output-fields=MESSAGE,_PID,SYSLOG_IDENTIFIER")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_FATAL = ("panic:", "fatal error:", "runtime error:")
"""How Go begins what ends a program; a trace of many lines follows."""
_KILLED = re.compile(r"killed by the OOM killer|code=(?:killed|dumped)", re.IGNORECASE)
_FAILED = re.compile(r"code=exited|Failed with result|Failed at step|Start request repeated|code=killed", re.IGNORECASE)
_SERVES = re.compile(r"Serving HTTPS")
"""What it writes once it is up: it has got over what went wrong before."""


class JournalLine(msgspec.Struct, frozen=True):
    """One line of the journal. Systemd's own are those of process 1."""

    said: str
    pid: int

    @property
    def is_systemds(self) -> bool:
        """Whether systemd says it of the unit."""
        return self.pid == 1


class CaJournal:
    """The journal of the unit that runs the CA's program. However many ask at once, it is read once a second."""

    def __init__(self, program: str, clock: Clock, root: Path = Path("/"), journalctl: tuple[str, ...] = _JOURNALCTL):
        self._program = program
        self._root = root
        self._journalctl = journalctl
        self._reads = ReloadCoordinator(clock)

    async def read(self) -> LastWords:
        """Never raises; bounded."""
        return await self._reads.run_shared("journal", self._read, apart=_READS_APART)

    async def _read(self) -> LastWords:
        unit = find_unit(self._root, self._program)
        command = (*self._journalctl, f"--lines={_MOST_LINES}", f"--unit={unit}")
        try:
            finished = await run(command, timeout=READING_FOR)
        except OSError as error:
            return LastWords(unit=unit, missing=f"journalctl cannot be run: {error.strerror}")
        entries = tuple(_entries(finished.output))
        said = quoted(entries)
        return LastWords(unit=unit, said=said) if said else LastWords(unit=unit, missing=_why_none(finished, unit))


def _why_none(finished: Finished, unit: str) -> str:
    if finished.status is None:
        return f"journalctl did not finish within {READING_FOR:.0f} s"
    if finished.is_good:
        return f"the journal has no line from {unit}"
    lines = [line for line in finished.output.splitlines() if line.strip()]
    return f"journalctl says {_shown(lines[-1])}" if lines else f"journalctl exited with status {finished.status}"


def find_unit(root: Path, program: str) -> str:
    """The service whose command is that program; by its name, where no file says so. Blocks."""
    starts = re.compile(
        rb"^ExecStart\s*=(?:.*[/\s@'\"=])?" + re.escape(program.encode()) + rb"(?:[\s'\"]|$)", re.MULTILINE
    )
    for folder in UNIT_FOLDERS:
        for name in _services(root / folder.lstrip("/")):
            content = read_within(root, f"{folder}/{name}").content
            if content is not None and starts.search(content):
                return name
    return f"{program}.service"


def _services(folder: Path) -> list[str]:
    try:
        return sorted(file.name for file in folder.iterdir() if file.suffix == ".service")[:_MOST_UNITS]
    except OSError:
        return []


def quoted(lines: tuple[JournalLine, ...]) -> str | None:
    """The line that says most about how the CA ended: of its last failure the last one that it wrote itself, or what
    systemd says of whoever ended it; else the last line of all."""
    failures = [place for place, line in enumerate(lines) if line.is_systemds and _FAILED.search(line.said)]
    since = lines[failures[-1] + 1 :] if failures else lines
    if not failures or any(_SERVES.search(line.said) for line in since):
        written = [line for line in lines if not line.is_systemds]
        is_own = bool(lines) and not lines[-1].is_systemds
        return _last_of_run(written) if is_own else lines[-1].said if lines else None
    until = lines[: failures[-1] + 1]
    last = max((place for place, line in enumerate(until) if not line.is_systemds), default=-1)
    ending = [line.said for line in until[last + 1 :]]
    killed = [said for said in ending if _KILLED.search(said)]
    if killed or last < 0:
        return killed[0] if killed else next(said for said in ending if _FAILED.search(said))
    return _last_of_run([line for line in until if not line.is_systemds])


def _last_of_run(written: list[JournalLine]) -> str:
    """The last line that its last process wrote; of a trace, the line that it begins with."""
    lines = [line.said for line in written if line.pid == written[-1].pid]
    return next((line for line in lines if line.startswith(_FATAL)), lines[-1])


def _entries(output: str) -> Iterator[JournalLine]:
    """Those that say something; of what is no entry (a line that was cut off, journalctl's own words) none."""
    for line in output.splitlines():
        try:
            document = json.loads(line)
            said = document["MESSAGE"]
            text = bytes(said).decode("utf-8", "replace") if isinstance(said, list) else str(said)
            pid = int(document.get("_PID", 0))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        shown = [shown for piece in text.splitlines() if (shown := _shown(piece))]
        yield from map(partial(JournalLine, pid=pid), shown)


def _shown(line: str) -> str:
    """As it may be told: bounded, without what a terminal makes of it, and without secrets."""
    text = redact(_ESCAPES.sub("", line).strip())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
