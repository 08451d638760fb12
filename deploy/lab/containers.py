"""LXC's containers: one overlay and one configuration a node; started, stopped, entered.

Files are put into a node before it starts. Afterwards they are changed from inside only: a write to an overlay's
upper folder from outside raises no event, and certagent's subject is files that change.
"""

import os
import shutil
import string
from collections.abc import Sequence
from pathlib import Path

from deploy.lab import places
from deploy.lab.fleet import Node
from deploy.lab.layers import FIRST_ID, IDS
from deploy.lab.processes import Failed, run

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LXC = ("-P", str(places.CONTAINERS), "-n")


def root(node: Node) -> Path:
    """The node's root, as the machine sees it. For files before the first start only."""
    return places.NODES / node.name / "root"


def make(node: Node, layers: Sequence[Path]) -> None:
    """Mount the node's overlay over those layers, the uppermost first, and write its configuration."""
    folder = places.NODES / node.name
    upper, work = folder / "upper", folder / "work"
    for path in (upper, work, root(node)):
        path.mkdir(parents=True)
    shutil.chown(upper, FIRST_ID, FIRST_ID)
    lower = ":".join(str(layer) for layer in layers)
    run(["mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", root(node)])
    settings = places.CONTAINERS / node.name
    settings.mkdir(parents=True)
    template = string.Template((places.LAB / "container.conf").read_text())
    (settings / "config").write_text(
        template.substitute(
            name=node.name,
            address=node.address,
            root=root(node),
            first_id=FIRST_ID,
            ids=IDS,
            cgroup=places.CGROUP,
            seccomp=places.LAB / "container.seccomp",
            connect=places.LAB / "connect",
            network=places.NETWORK,
        )
    )


def put(node: Node, path: str, content: bytes, mode: int = 0o644, owner: int = 0) -> None:
    """Write one file of a node that has not started yet; `owner` is a user and group id inside it."""
    target = root(node) / path.lstrip("/")
    _make_folders(root(node), target.parent)
    target.unlink(missing_ok=True)
    target.touch(mode)
    target.write_bytes(content)
    target.chmod(mode)
    os.chown(target, FIRST_ID + owner, FIRST_ID + owner)


def put_tree(node: Node, folder: Path) -> None:
    """Copy a folder's files into a node that has not started yet. Links are followed: they lead to files we ship.

    Except certagent's own configuration: the installer brings that.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent.name != "certagent":
            executable = 0o755 if os.access(path, os.X_OK) else 0o644
            put(node, str(path.relative_to(folder)), path.read_bytes(), executable)


def enable(node: Node, unit: str) -> None:
    """Have the unit started at boot, in a node that has not started yet."""
    wants = root(node) / "etc/systemd/system/multi-user.target.wants"
    ours = root(node) / "etc/systemd/system" / unit
    link = wants / unit
    link.unlink(missing_ok=True)
    link.symlink_to(f"/etc/systemd/system/{unit}" if ours.exists() else f"/lib/systemd/system/{unit}")
    os.chown(link, FIRST_ID, FIRST_ID, follow_symlinks=False)


def start(node: Node) -> None:
    """Start the node; its services come up by themselves. Harmless when it runs."""
    if not is_running(node):
        run(
            ["lxc-start", *_LXC, node.name, "-d", "-o", places.CONTAINERS / node.name / "log", "-l", "WARN"], timeout=60
        )


def stop(node: Node) -> None:
    """Shut the node down as its own `poweroff` would. Harmless when it does not run."""
    if is_running(node):
        run(["lxc-stop", *_LXC, node.name, "-t", "20"], timeout=60)


def is_running(node: Node) -> bool:
    """Whether the node's init is there."""
    try:
        return run(["lxc-info", *_LXC, node.name, "-s", "-H"]).strip() == "RUNNING"
    except Failed:
        return False


def inside(node: Node, *argv: str) -> list[str]:
    """The command line that runs `argv` in the node, as root, with a clean environment."""
    clean = ("--clear-env", "-v", f"PATH={PATH}", "-v", "HOME=/root", "-v", "LANG=C.UTF-8")
    return ["lxc-attach", *_LXC, node.name, *clean, "--", *argv]


def run_inside(node: Node, *argv: str, text: str = "", timeout: float = 60) -> str:
    """Run a program in the node and give what it printed.

    Raises:
        Failed: its exit status was not 0.
    """
    return run(inside(node, *argv), text=text, timeout=timeout)


def _make_folders(top: Path, folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if top in path.parents and not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o755)
        os.chown(path, FIRST_ID, FIRST_ID)
