#!/usr/bin/python3 -IS
"""In place of a lab node's /usr/local/bin/certagent: the same, and it notes which modules' functions run.

A flow is followed by its legs: functions, each of which marks its context (PEP 567) while it runs, so that what it
calls, awaits, starts as a task or sends to a thread is told from what runs beside it. On SIGUSR2 it writes what ran on
the legs to flow-PID.json in /tmp, by module the seconds since the epoch at which its functions were called, reads the
next legs from flow-legs.json (pairs of module and function), and starts anew.
"""

import contextvars
import json
import os
import signal
import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any

release = os.path.realpath("/opt/certagent/lib")
sys.path[:0] = [f"{release}/{part}" for part in ("certagent", "dependencies")]
HOME = "/certagent/"
OPTIMIZED = 1  # inspect.CO_OPTIMIZED: a function's code, not a module's or a class's
FOLDER = "/tmp"  # noqa: S108 -- the units have PrivateTmp
seen: dict[tuple[CodeType, float], None] = {}
legs: set[tuple[str, str]] = set()
ON_FLOW: contextvars.ContextVar[FrameType | None] = contextvars.ContextVar("on_flow", default=None)
"""The leg that runs in this context."""


def note(frame: FrameType, event: str, _argument: Any) -> None:
    """The profiler: called for every call and return of every thread."""
    if event == "return" and ON_FLOW.get() is frame:
        ON_FLOW.set(None)  # of a coroutine: until it goes on
    if event != "call":
        return
    code = frame.f_code
    if ON_FLOW.get() is None and (code.co_filename.rpartition(HOME)[2], code.co_name) in legs:
        ON_FLOW.set(frame)
    if ON_FLOW.get() is not None:
        seen[code, round(time.time(), 4)] = None


def tell(_number: int, _frame: FrameType | None) -> None:
    """Write what ran, and start anew."""
    calls = list(seen)
    seen.clear()
    modules: dict[str, list[float]] = {}
    for code, at in calls:
        is_function = code.co_flags & OPTIMIZED and not code.co_name.endswith("comp>")
        if is_function and HOME in code.co_filename and "/dependencies/" not in code.co_filename:
            modules.setdefault(code.co_filename.rpartition(HOME)[2], []).append(at)
    path = f"{FOLDER}/flow-{os.getpid()}"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(modules, file)
    legs.clear()
    with open(f"{FOLDER}/flow-legs.json", encoding="utf-8") as file:
        legs.update((module, function) for module, function in json.load(file))
    os.rename(f"{path}.new", f"{path}.json")


if sys.argv[1:2] in (["agent"], ["collector"]):
    signal.signal(signal.SIGUSR2, tell)
    threading.setprofile(note)
    sys.setprofile(note)

from certagent.entry import main  # noqa: E402 - the path comes first

main()
