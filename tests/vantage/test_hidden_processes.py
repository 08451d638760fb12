"""A /proc that keeps other users' processes from the agent (hidepid), or a single one for a moment."""

import subprocess
import sys

import pytest

from certagent.system.procfs import ProcFs

_HIDDEN = """
import os, sys
from certagent.config import VantageSection
from certagent.system.clock import SystemClock
from certagent.system.procfs import ProcFs
from certagent.vantage.ca_process import BlindError, CaProcess
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
try:
    ProcFs().processes("sleep")
except PermissionError as error:
    print(error.strerror)
try:
    CaProcess(VantageSection(process="sleep", allow=()), SystemClock()).observe()
except BlindError as error:
    print(error)
print(len(ProcFs().processes(os.path.basename(sys.executable))))
"""
_IN_ITS_WORLD = 'mount -t proc -o hidepid=1 proc /proc; sleep 60 & "$@"; kill $!'


def test_who_may_see_no_process_says_so() -> None:
    """That none of the name runs would be false; its own process it sees."""
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-euc", _IN_ITS_WORLD, "sh", sys.executable, "-c", _HIDDEN],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, second, third = done.stdout.splitlines()
    assert first == "may be 'sleep'"
    assert second.startswith("not allowed to look for 'sleep' (/proc/")
    assert third == "1"


def test_one_that_is_kept_from_us_for_a_moment_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses a process that ends; the agent goes on, with the ones that run."""
    usual = ProcFs.process

    def refuse(proc: ProcFs, pid: int) -> object:
        if pid == victim.pid and refusals.pop():
            raise PermissionError(1, "Operation not permitted", f"/proc/{pid}/comm")
        return usual(proc, pid)

    monkeypatch.setattr(ProcFs, "process", refuse)
    with subprocess.Popen(["sleep", "61"]) as victim, subprocess.Popen(["sleep", "62"]) as other:
        try:
            refusals = [True]
            seen = {found.pid for found in ProcFs().processes("sleep")}
            assert (victim.pid in seen, other.pid in seen, refusals) == (False, True, [])
        finally:
            victim.kill()
            other.kill()
