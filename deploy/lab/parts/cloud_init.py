"""Debian's cloud-init and the Python packages that it needs, unpacked and not installed: the tests run it for what it
makes of a configuration. Installed, its units would take the machine for a new guest.
"""

from pathlib import Path

from deploy.lab import layers
from deploy.lab.processes import Failed, run

_RECIPE = "1"
_LEFT_OUT = "python3-minimal"
"""The interpreter itself is the machine's own."""
_NEEDED_ONLY = ("--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances")


def ensure() -> Path:
    """Fetch it if it is not in the cache yet, and give the layer that holds it (`usr/bin/cloud-init`)."""
    return layers.ensure(f"cloud-init-{_RECIPE}", "fetching cloud-init (once)", _fetch)


def _fetch(layer: Path) -> None:
    work = layer.parent / "packages"
    work.mkdir()
    try:
        _download(work)
    except Failed:  # a machine that has no list of packages yet
        run(["apt-get", "update"])
        _download(work)
    for package in work.glob("*.deb"):
        run(["dpkg-deb", "--extract", package, layer])
    if not (layer / "usr/bin/cloud-init").is_file():
        raise Failed("Debian's package cloud-init holds no program")


def _download(work: Path) -> None:
    told = run(["apt-cache", "depends", "--recurse", *_NEEDED_ONLY, "cloud-init"])
    needed = {line for line in told.splitlines() if line.startswith("python3-")} - {_LEFT_OUT}
    run(["apt-get", "download", "cloud-init", *sorted(needed)], cwd=work)
