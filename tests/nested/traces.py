"""What of a container is on this machine, looked for and not remembered; and its removal."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BOUND = 30.0
"""Seconds within which what was killed has to be gone."""
_LOCKS = Path("/run/lxc/lock")


def processes(group: str) -> list[int]:
    """Every process in the control groups below the folder `group` of any hierarchy."""
    found: set[int] = set()
    for folder in groups(group):
        with suppress(OSError):
            found.update(map(int, (folder / "cgroup.procs").read_text().split()))
    return sorted(found)


def groups(group: str) -> list[Path]:
    """Those control groups, the innermost first."""
    tops = [Path(folder) / group for folder, names, _ in os.walk("/sys/fs/cgroup") if group in names]
    return sorted((Path(folder) for top in tops for folder, _, _ in os.walk(top)), reverse=True)


def command_of(pid: int) -> str:
    """The command line of a process, for a person; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def links() -> set[str]:
    """The network links of this machine."""
    return set(os.listdir("/sys/class/net"))


def left_of(folder: Path) -> list[str]:
    """What is left of the container that lived in `folder`, one line a thing; empty when all of it is gone."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [
        *(f"process {pid}: {command_of(pid)}" for pid in processes(folder.name)),
        *(f"mount {line}" for line in mounts if str(folder) in line),
        *(f"control group {group}" for group in groups(folder.name)),
        *(f"file {path}" for path in (folder, _locks(folder)) if path.exists()),
    ]


def end_processes(group: str) -> None:
    """Kill all of them, however they were started."""
    _until_none(lambda: [pid for pid in processes(group) if _kill(pid)], f"a process of {group} does not end")


def remove(folder: Path) -> None:
    """Remove the control groups and the files of the container that lived in `folder`."""
    _until_none(lambda: [one for one in groups(folder.name) if _stays(one)], f"a control group of {folder.name} stays")
    shutil.rmtree(folder)
    shutil.rmtree(_locks(folder), ignore_errors=True)
    for empty in _locks(folder).parents:
        if not empty.is_relative_to("/run/lxc"):
            break
        with suppress(OSError):
            empty.rmdir()


def _locks(folder: Path) -> Path:
    return _LOCKS / folder.relative_to("/")


def _kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True


def _stays(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _until_none(look: Callable[[], object], otherwise: str) -> None:
    deadline = time.monotonic() + BOUND
    while look():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.02)  # not a wait for work: the condition above is asked again at once
