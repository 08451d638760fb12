"""The machine as these tests see it: the lab's command, and what of the lab is on the machine."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from deploy.lab import places
from deploy.lab.fleet import FLEET
from deploy.lab.processes import Failed, run

RUN = Path(__file__).resolve().parents[2] / "deploy" / "lab" / "run"


def lab(*words: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run the lab's command to its end."""
    done = subprocess.run(
        [str(RUN), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert not check or done.returncode == 0, f"lab {' '.join(words)}: {done.returncode}\n{done.stderr}{done.stdout}"
    return done


def inside(node: str, *words: str) -> str:
    """What a command in a node printed."""
    return lab("exec", node, "--", *words).stdout


def started_at(node: str = "lxc103") -> str:
    """When the node's init began."""
    return inside(node, "ps", "-o", "lstart=", "-p", "1").strip()


def init_of(node: str) -> str:
    """The node's init, by its process id on this machine; empty while it has none.

    Nobody enters the node for it: who does while it goes down may wait for ever.
    """
    try:
        return run(["lxc-info", "-P", places.CONTAINERS, "-n", node, "-p", "-H"], timeout=10).strip()
    except Failed:
        return ""


def until(holds: Callable[[], bool]) -> None:
    """Return as soon as it holds; fail after a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def traces() -> list[str]:
    """What of the lab is on this machine, looked for in other ways than `down` does; of this lab alone."""
    runtime = f"{places.RUNTIME}/"
    found = [line for line in _read("/proc/self/mountinfo").splitlines() if runtime in line]
    for entry in Path("/proc").glob("[0-9]*"):
        command = _read(entry / "cmdline").replace("\0", " ")
        is_page = "deploy.lab.page" in command and f"{places.RUNTIME}\0" in _read(entry / "environ")
        if runtime in command or is_page:
            found.append(f"process {entry.name}: {command}")
        elif "100000" in _uids(entry) and runtime in _read(entry / "mountinfo"):
            found.append(f"process {entry.name} of a container: {command}")
    found += [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if places.CGROUP in folder.split("/")]
    found += [str(path) for path in (places.RUNTIME, places.LXC_LOCKS, Path("/run/netns")) if path.exists()]
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return found + [line for line in links.splitlines() if "ve-" in line or "fleet" in line]


def all_network_namespaces() -> set[str]:
    """Every network namespace of this machine that some process lives in, by its number."""
    listed = subprocess.run(["lsns", "-t", "net", "-n", "-o", "NS"], capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def lab_network_namespaces() -> set[str]:
    """Those of this lab's nodes while it is up. (The fleet's own is held by a file alone, which is a mount.)"""
    found = set()
    for node in FLEET:
        found.add(Path(f"/proc/{init_of(node.name)}/ns/net").readlink().name.strip("net:[]"))
    return found


def _uids(process: Path) -> list[str]:
    """Its user ids; nothing for one that has ended and waits for its parent to notice."""
    status = _read(process / "status").splitlines()
    if any(line.startswith("State:\tZ") for line in status):
        return []
    return next((line.split()[1:] for line in status if line.startswith("Uid:")), [])


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
