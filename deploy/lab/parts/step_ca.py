"""step-ca, the official command: the machine's own when it is new enough, else v0.30.2 built from source, once.

Built like the official releases, without cgo: its resolver is then Go's own, which is what certagent models.
`step-ca/go.mod` and `go.sum` beside this file pin what it is built from.
"""

import hashlib
import re
import shutil
from pathlib import Path

from deploy.lab import layers, places
from deploy.lab.parts import golang
from deploy.lab.processes import Failed, run
from deploy.lab.progress import say

VERSION = "0.30.2"
OLDEST = (0, 28)

_PACKAGE = "github.com/smallstep/certificates/cmd/step-ca"
_PINS = places.LAB / "parts" / "step-ca"


def ensure() -> Path:
    """Find or build step-ca, and give the layer that holds it; one of PATH is named when it is used."""
    if own := _find_own():
        about = own.stat()
        name = hashlib.sha256(f"{own} {about.st_size} {about.st_mtime_ns}".encode()).hexdigest()[:16]
        return layers.ensure(f"step-ca-{name}", f"copying {own}", lambda layer: layers.put_program(own, layer))
    text = f"building step-ca {VERSION} (once, about two minutes)"
    return golang.ensure("step-ca", VERSION, _PACKAGE, _PINS, text, [f"-ldflags=-X main.Version={VERSION}"])


def _find_own() -> Path | None:
    own = shutil.which("step-ca")
    version = _version_of(own) if own else None
    if own is None or version is None or version < OLDEST:
        return None
    say(f"step-ca {'.'.join(map(str, version))} from {own}")
    return Path(own).resolve()


def _version_of(program: str) -> tuple[int, ...] | None:
    """What it says of itself, or what the build wrote into it (a plain `go install` says 0000000-dev)."""
    for argv, pattern in (
        ([program, "version"], r"CA/v?(\d+)\.(\d+)\.(\d+)"),
        (["go", "version", "-m", program], r"github\.com/smallstep/certificates\s+v(\d+)\.(\d+)\.(\d+)"),
    ):
        try:
            told = re.search(pattern, run(argv, timeout=20))
        except Failed:
            continue
        if told:
            return tuple(int(part) for part in told.groups())
    return None
