"""Does what the plan says, and keeps the journal: `python -m tests.soak.injector PLAN JOURNAL`. A process of its own.

One JSON document a line: `at` (seconds since 1970), `event` ("begun", "asked", "ended", "failed"), `way`. What is in
when it ends, however it ends, is taken out.
"""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from deploy.lab.processes import Failed
from deploy.story import witness
from tests.soak import ways
from tests.soak.plan import Step

_ASKED_EVERY = 8.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal."""

    at: float
    event: str
    way: str
    said: str = ""


class Injector:
    """The journal, and the tracks that write it."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._over = threading.Event()

    def stop(self) -> None:
        """Take out what is in, and begin nothing more."""
        self._over.set()

    def perform(self, steps: list[Step], began_at: float) -> None:
        """One track, from its first step to its last."""
        for step in steps:
            if self._over.wait(max(0.0, began_at + step.at - time.time())):
                return
            way = ways.big().get(step.way) or ways.small()[step.way]
            self._write("begun", way)
            try:
                if self._does(way.begin, way):
                    self._write("in", way)
                    self._let_look(way, step.lasts)
            finally:
                self._does(way.end, way)
                self._write("ended", way)

    def _does(self, part: Callable[[], object], way: ways.Way) -> bool:
        try:
            part()
        except (Failed, witness.Unseen, subprocess.TimeoutExpired) as failed:
            self._write("failed", way, str(failed))
            return False
        return True

    def _let_look(self, way: ways.Way, lasts: float) -> None:
        until = time.monotonic() + lasts
        while (left := until - time.monotonic()) > 0 and not self._over.is_set():
            if way.asks:
                threads = [threading.Thread(target=self._ask, args=(way, ask)) for ask in way.asks]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                left = until - time.monotonic()
            self._over.wait(max(0.0, min(left, _ASKED_EVERY) if way.asks else left))

    def _ask(self, way: ways.Way, ask: tuple[str, ...]) -> None:
        node, *words = ask
        try:
            _, document = witness.certagent(node, *words)
        except witness.Unseen:
            return  # the agent there is down at the moment
        self._write("asked", way, f"{node}: {document.get('verdict') or document['certificates'][0]['outcome']}")

    def _write(self, event: str, way: ways.Way, said: str = "") -> None:
        with self._lock:
            self._journal.write(
                msgspec.json.encode(Entry(at=time.time(), event=event, way=way.name, said=said)) + b"\n"
            )


def main(plan: Path, journal: Path) -> None:
    """Both tracks, to their end or to a signal."""
    steps = msgspec.json.decode(plan.read_bytes(), type=list[Step])
    injector = Injector(journal)
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: injector.stop())
    tracks = [[step for step in steps if step.way in table] for table in (ways.big(), ways.small())]
    began_at = time.time()
    threads = [threading.Thread(target=injector.perform, args=(track, began_at)) for track in tracks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
