"""The libc of this process: which one it is. What it says of a name is asked with getaddrinfo, never modelled."""

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

UNKNOWN = "unknown libc"

_MAPS = Path("/proc/self/maps")
_MUSL = re.compile(r"(/\S*/(?:ld-musl-[^/\s]+|libc\.musl-[^/\s]+)\.so\.1)$", re.MULTILINE)
_VERSION = re.compile(r"^Version (\S+)", re.MULTILINE)


def name_libc(maps: Path = _MAPS) -> str:
    """`glibc 2.36`, `musl 1.2.5`, or `unknown libc`. glibc says it itself; musl's loader, which is its libc, does
    when it is run without arguments."""
    loader = _MUSL.search(_read(maps))
    if loader is not None:
        version = _VERSION.search(_said_by(loader[1]))
        return f"musl {version[1]}" if version else "musl"
    with suppress(ValueError, OSError):
        return os.confstr("CS_GNU_LIBC_VERSION") or UNKNOWN
    return UNKNOWN


def _said_by(loader: str) -> str:
    try:
        return subprocess.run([loader], capture_output=True, text=True, timeout=2, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
