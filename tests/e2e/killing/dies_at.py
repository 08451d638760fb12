"""Starts certagent as its launcher does, in a process that is killed (SIGKILL) at one point of a renewal.

`python3 -IS dies_at.py FOLDER WORDS...` in a node; WORDS are certagent's. A point is named by what is about to
happen, and to what: each question to the process that asks the CA and each answer of it, each fsync, rename and
removal, each program, the first handshake of the proof; from the first byte of a run's journal until the journal is
gone. FOLDER/point is the point to die at (removed in dying, so that the next start lives) and FOLDER/killed then the
run's id and whether its own report had been put into the spool ("kept") or not ("lost"); FOLDER/record, when it is
there, takes down the points that are met.
"""

import asyncio
import json
import os
import re
import runpy
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

LAUNCHER = "/usr/local/bin/certagent"
PROVEN_AT = 443
_QUESTION = re.compile(rb"\xa4type[\xa0-\xbf](\w+)")  # in msgpack: a key, and a short text
_URL = re.compile(rb"https://[\w./:-]+")
_LENGTH = 4
SPOOL = "/var/lib/certagent/spool/"
"""What is delivered is removed by the way, whatever the renewal is at."""


class Points:
    """Counts what is met in one run, and kills at the one that is wanted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._met: Counter[str] = Counter()
        self._journal: Path | None = None
        self._is_reported = False
        self._request = ""

    def meet(self, what: str, of: str, *, is_once: bool = False) -> None:
        """This is about to happen. `is_once`: it may be repeated at will, and is no other point then."""
        name = f"{what} {of}"
        name = re.sub(r"\d+", "N", re.sub(r"/[A-Za-z0-9]{32}(?=/|$)", "/ID", name))
        if ".run.json.new" in name and self._journal is None:
            self._met.clear()
            self._is_reported = False
            self._journal = Path(of).with_name("run.json")
        if self._journal is None or (is_once and self._met[name]):
            return
        self._met[name] += 1
        self._decide(f"{name} {self._met[name]}")

    def end(self, removed: str) -> None:
        """The journal is gone, and the run with it."""
        if self._journal is not None and removed == str(self._journal):
            self._journal = None

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python's own news of what it is about to do."""
        if event == "os.rename":
            renamed = path_of(arguments[0], arguments[2])
            self.meet("rename", renamed)
            self._is_reported |= self._is_our_report(Path(renamed))
        elif event == "os.remove":
            removed = path_of(*arguments)
            is_passing = removed.startswith(("/tmp/", SPOOL))  # noqa: S108 - a name to compare with
            if not removed.endswith(".new") and not is_passing:
                self.meet("remove", removed)
            self.end(removed)
        elif event == "subprocess.Popen":
            self.meet("run", " ".join(map(str, arguments[1])))
        elif event == "socket.connect" and arguments[1][1:] == (PROVEN_AT,):
            self.meet("handshake", "", is_once=True)

    def asks(self, writer: asyncio.StreamWriter, content: bytes) -> None:
        """The process that speaks ACME is about to be asked, and with it the CA."""
        if (question := _QUESTION.search(content)) is not None and _is_pipe(writer.transport):
            url = _URL.findall(content, question.end())
            self._request = " ".join(part.decode() for part in (question[1], *url[-1:]))
            self.meet("request", self._request)

    def heard(self, answer: bytes) -> bytes:
        """The CA has answered, and nothing of it is known yet. Of a message, its length comes first."""
        if self._request and len(answer) != _LENGTH:
            request, self._request = self._request, ""
            self.meet("answer to", request)
        return answer

    def _run(self) -> str:
        """Its id; "": none is on disk."""
        journal = self._journal
        return json.loads(journal.read_text())["id"] if journal is not None and journal.exists() else ""

    def _is_our_report(self, path: Path) -> bool:
        is_report = path.parent.name == "spool" and path.name.endswith(".json.new")
        return is_report and json.loads(path.read_bytes())["id"] == self._run()

    def _decide(self, point: str) -> None:
        record, wanted = self._folder / "record", self._folder / "point"
        if record.exists():
            with record.open("a") as file:
                file.write(f"{point}\n")
        if wanted.exists() and wanted.read_text() == point:
            report = "kept" if self._is_reported else "lost"
            (self._folder / "killed").write_text(f"{self._run()} {report}" if self._run() else "")
            wanted.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def path_of(name: Any, folder: int) -> str:
    """The whole path of a name in an open folder, or of one that is a path itself."""
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else "", str(name))


def before(real: Callable[..., Any], tell: Callable[..., None]) -> Callable[..., Any]:
    """`real`, with `tell` called first."""

    def call(*arguments: Any, **options: Any) -> Any:
        tell(*arguments)
        return real(*arguments, **options)

    return call


def then(real: Callable[..., Any], tell: Callable[[Any], Any]) -> Callable[..., Any]:
    """`real`, whose answer `tell` is told."""

    async def call(*arguments: Any, **options: Any) -> Any:
        return tell(await real(*arguments, **options))

    return call


def _is_pipe(transport: asyncio.WriteTransport) -> bool:
    return transport.get_extra_info("pipe") is not None


def main() -> None:
    """Be certagent."""
    points = Points(Path(sys.argv[1]))
    sys.addaudithook(points.audit)
    asyncio.StreamWriter.write = before(asyncio.StreamWriter.write, points.asks)  # type: ignore[method-assign]
    asyncio.StreamReader.readexactly = then(asyncio.StreamReader.readexactly, points.heard)  # type: ignore[method-assign]
    os.fsync = before(os.fsync, lambda descriptor: points.meet("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
    sys.argv[:2] = [LAUNCHER]
    runpy.run_path(LAUNCHER, run_name="__main__")


if __name__ == "__main__":
    main()
