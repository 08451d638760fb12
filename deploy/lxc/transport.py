"""Ways into a container: `pct exec` on Proxmox VE, `lxc-attach` elsewhere. Both pass standard input and output."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Self

_HERE = Path(__file__).parent
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STARTED_WITHIN = 300
"""Seconds for unpacking, and for the service to say that it is ready."""


class Failed(Exception):
    """The node cannot be installed to; the message says why in one sentence."""


@dataclass(frozen=True)
class Node:
    """A container, and the beginning of every command line that runs in it."""

    name: str
    enter: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What the container is like, as far as a bundle depends on it."""

    python: tuple[int, int]
    machine: str
    """As `uname -m` says it."""
    glibc: tuple[int, int]
    layers: frozenset[str] = frozenset()
    """The names of the layers it has already."""

    @classmethod
    def of(cls, python: str, machine: str, glibc: str) -> Self:
        """From versions as text. Raises Failed when nothing can be installed there."""
        version, library = _pair(python), _pair(glibc)
        if version is None or version < (3, 11):
            raise Failed(f"needs Python 3.11 or newer and has {python or 'none'} (apt install python3)")
        if library is None:
            raise Failed("has a C library that is not glibc, for which the dependencies are not to be had as wheels")
        return cls(version, machine, library)

    @property
    def is_compiled_here(self) -> bool:
        """Whether this host's Python writes the byte code that the container's reads."""
        return self.python == sys.version_info[:2]


def find(name: str, transport: str | None, lxcpath: Path | None) -> Node:
    """How that container is entered; `transport` None: `pct` where there is one."""
    kind = transport or ("pct" if shutil.which("pct") and lxcpath is None else "lxc-attach")
    if shutil.which(kind) is None:
        raise Failed(f"there is no {kind} on this host")
    if kind == "pct":
        return Node(name, ("pct", "exec", name, "--"))
    where = ("-P", str(lxcpath)) if lxcpath else ()
    clean = ("--clear-env", "-v", f"PATH={_PATH}", "-v", "LANG=C.UTF-8")
    return Node(name, ("lxc-attach", *where, "-n", name, *clean, "--"))


def probe(node: Node) -> Facts:
    """Ask the container what it has.

    Raises:
        Failed: it is not running, or has no Python 3.11 or no systemd.
    """
    with (_HERE / "probe.sh").open("rb") as script:
        told = _run(node, ["sh", "-s"], script, timeout=60)
    facts = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    if "entered" not in facts:
        raise Failed("cannot be entered; is it running?")
    if facts.get("systemd") != "yes":
        raise Failed("needs systemd as its init, and that is not running there")
    found = Facts.of(facts.get("python", ""), facts["machine"], facts.get("glibc", ""))
    return replace(found, layers=frozenset(facts.get("layers", "").split()))


def apply(node: Node, archive: IO[bytes], *words: str) -> str:
    """Stream the archive in and have its own script put everything in place; tells what that did."""
    unpack = (
        "set -e; umask 022; rm -rf /opt/certagent/incoming; mkdir -p /opt/certagent/incoming;"
        ' tar -xi --no-same-owner -C /opt/certagent/incoming -f -; exec sh /opt/certagent/incoming/apply "$@"'
    )
    return _run(node, ["sh", "-c", unpack, "apply", *words], archive, timeout=_STARTED_WITHIN)


def _run(node: Node, command: Sequence[str], stdin: IO[bytes], timeout: float) -> str:
    try:
        done = subprocess.run(
            [*node.enter, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"not done after {timeout:.0f} s") from late
    told = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise Failed(told.strip()[-3000:] or f"{node.enter[0]}: exit status {done.returncode}")
    return told


def _pair(version: str) -> tuple[int, int] | None:
    parts = version.split(".")
    return (int(parts[0]), int(parts[1])) if len(parts) >= 2 and all(part.isdigit() for part in parts[:2]) else None
