"""Other programs: what they said, and an end in any case."""

import os
import signal
import time
from pathlib import Path

import pytest

from certagent.system.processes import LARGEST_OUTPUT, run


async def test_it_says_what_the_program_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both streams in order, the exit status, a clean environment, arguments as they are."""
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "1")
    script = 'echo out; echo err >&2; env; printf "%s" "$1"; exit 3'
    finished = await run(["sh", "-c", script, "sh", "a b; $(c)"], timeout=10, environment={"ONE": "1"})
    assert finished.status == 3
    assert not finished.is_good
    assert finished.output.startswith("out\nerr\n")
    assert finished.output.endswith("a b; $(c)")
    assert "ONE=1" in finished.output
    assert "LANG=C" in finished.output
    assert "SECRET" not in finished.output


async def test_a_program_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    """No longer than it was given."""
    started = time.monotonic()
    finished = await run(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"], timeout=0.5)
    assert finished.status is None
    assert time.monotonic() - started < 10
    child = int((tmp_path / "child").read_text())
    while not _has_ended(child):
        assert time.monotonic() - started < 10


def _has_ended(process: int) -> bool:
    """Gone, or waiting for its parent to notice."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_a_daemon_that_stays_keeps_nobody_waiting(tmp_path: Path) -> None:
    """It holds the output open, and that is its right."""
    started = time.monotonic()
    finished = await run(["sh", "-c", f"setsid sleep 30 & echo $! > {tmp_path}/child; echo done"], timeout=20)
    assert (finished.status, finished.output) == (0, "done")
    assert time.monotonic() - started < 10
    os.kill(int((tmp_path / "child").read_text()), signal.SIGTERM)


async def test_long_output_keeps_its_end() -> None:
    """Where the reason is."""
    finished = await run(["sh", "-c", "yes | head -c 300000; echo end"], timeout=20)
    assert len(finished.output) <= LARGEST_OUTPUT
    assert finished.output.endswith("end")


async def test_a_program_that_is_not_there() -> None:
    """An exception: nothing was run."""
    with pytest.raises(FileNotFoundError):
        await run(["certagent-has-no-such-program"], timeout=1)
