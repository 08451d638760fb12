"""What a command costs before it has done anything: processor time beside `python -c pass` of the same interpreter."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.rows import Row, against, of

RUNS = 10
_CONFIGURATION = """[agent]
name = "bench"
state = "{folder}/state"
socket = "{folder}/agent.sock"
[authority]
directory = "https://ca.internal:9000/acme/acme/directory"
root = "{folder}/root.crt"
"""
_PASS = (sys.executable, "-c", "pass")


def measure() -> Iterator[Row]:
    """One after the other, so that each meets the same machine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.toml"
        path.write_text(_CONFIGURATION.format(folder=folder))
        (Path(folder) / "root.crt").touch()
        programs = [_PASS, *((*_ours(), command, "--config", str(path)) for command in ("check", "lint"))]
        for program in programs:
            _seconds(program)  # compiled, and in memory
        passes, checks, lints = zip(*([_seconds(program) for program in programs] for _ in range(RUNS)), strict=True)
    inside = "user and system, as the installed program starts: its agent does not run"
    peer = "the same interpreter, its site included"
    yield against(of("certagent check, processor time", "s", checks, inside), "python -c pass", passes, peer, 7)
    inside = "likewise: this machine's own resolver files, without findings that take time"
    yield against(of("certagent lint, processor time", "s", lints, inside), "python -c pass", passes, peer, 12)


def _ours() -> tuple[str, ...]:
    path = [folder for folder in sys.path if folder]
    start = f"import sys; sys.path[:0] = {path!r}; from certagent.entry import main; main()"
    return sys.executable, "-ISXno_debug_ranges", "-c", start


def _seconds(argv: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env=_environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}
