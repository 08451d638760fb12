"""Where the lab's things lie: what is cached, and what exists only while the lab is up."""

import os
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
LAB = TREE / "deploy" / "lab"

NAME = os.environ.get("CERTAGENT_LAB_NAME") or "certagent-lab"
"""Which lab: several may run side by side on one machine, each with a network of its own."""

# Only while the lab is up. On disk, not in /run: the nodes' own files may grow large.
RUNTIME = Path("/var/lib") / NAME
CONTAINERS = RUNTIME / "lxc"
"""LXC's own folder (`-P`): one sub-folder a node, with its configuration."""
NODES = RUNTIME / "nodes"
"""One sub-folder a node: the overlay's upper, work and merged folders."""
NETWORK = RUNTIME / "network"
"""The fleet's network namespace, as a file."""
SECRETS = RUNTIME / "secrets"
ROOT = RUNTIME / "root_ca.crt"
"""A copy of the root that everybody in the fleet trusts."""
COMPLETE = RUNTIME / "complete"
"""Written last by `up`; holds the boot's id, because mounts do not outlive a boot and files do."""
LXC_LOCKS = Path("/run/lxc/lock") / CONTAINERS.relative_to("/")

CGROUP = NAME
"""The folder in every cgroup hierarchy under which the containers' groups lie."""

MARK = "CERTAGENT_LAB"
"""An environment variable that every process of the lab inherits, by which `down` knows what a crash left running."""


def cache() -> Path:
    """The folder of everything that is built or fetched once."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "certagent"


def workshop() -> Path:
    """The folder of what this lab is building; everything in it is of no use after a crash."""
    return cache() / "workshop" / NAME


def lock(name: str) -> Path:
    """The lock file of that name. In the cache, because `down` leaves nothing elsewhere."""
    return cache() / "locks" / name
