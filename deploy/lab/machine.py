"""Can this machine run the lab? If not, one sentence says what is missing; one limit is raised, and that is said."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("lxc-start", "lxc-attach", "lxc-usernsexec", "debootstrap", "nft", "ip", "nsenter", "unshare")


def find_missing() -> str | None:
    """The first thing without which no container runs here, as a sentence; None when all is there."""
    if os.geteuid() != 0:
        return "The lab needs root: containers, mounts and network namespaces are made."
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"The lab needs {', '.join(absent)}: ./deploy/setup installs what is missing on Debian."
    if not _has_control_groups():
        return "The lab needs control groups, and none are mounted (writable) under /sys/fs/cgroup."
    if not _may("unshare", "--user", "--net", "--mount", "true"):
        return "The lab needs user, network and mount namespaces, and this kernel or container allows none."
    if not _may("unshare", "--mount", "sh", "-c", _OVERLAY_TRIAL):
        return "The lab needs overlay mounts, and this kernel or container allows none."
    return None


def raise_limit() -> str | None:
    """Let the containers watch files. The kernel counts the inotify instances of all of them for one user, who has 128
    as a rule: a lab needs 45. Answers what was changed, as a sentence; None if nothing had to be, or could be."""
    with suppress(OSError):  # in a container of its own it is the host's to change
        allowed = int(_INSTANCES.read_text())
        if allowed < _ENOUGH_INSTANCES:
            _INSTANCES.write_text(str(_ENOUGH_INSTANCES))
            return f"fs.inotify.max_user_instances is {_ENOUGH_INSTANCES} until the next boot, and was {allowed}"
    return None


_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_ENOUGH_INSTANCES = 512
_OVERLAY_TRIAL = """
mount -t tmpfs trial /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/m &&
mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w trial /mnt/m
"""


def _has_control_groups() -> bool:
    """Version 2, or version 1 with systemd's own hierarchy."""
    return any(
        os.path.isfile(f"/sys/fs/cgroup/{folder}cgroup.procs") and os.access(f"/sys/fs/cgroup/{folder}", os.W_OK)
        for folder in ("", "systemd/")
    )


def _may(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False, timeout=20).returncode == 0
