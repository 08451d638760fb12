"""Debian's nginx, unpacked and not installed: the tests compare with it what certagent makes of a configuration.

The lab's nodes have their own, from their distribution.
"""

from pathlib import Path

from deploy.lab import layers
from deploy.lab.processes import Failed, run

_RECIPE = "1"


def ensure() -> Path:
    """Fetch it if it is not in the cache yet, and give the layer that holds it (`usr/sbin/nginx`)."""
    return layers.ensure(f"nginx-{_RECIPE}", "fetching nginx (once)", _fetch)


def _fetch(layer: Path) -> None:
    work = layer.parent / "package"
    work.mkdir()
    try:
        run(["apt-get", "download", "nginx"], cwd=work)
    except Failed:  # a machine that has no list of packages yet
        run(["apt-get", "update"])
        run(["apt-get", "download", "nginx"], cwd=work)
    for package in work.glob("*.deb"):
        run(["dpkg-deb", "--extract", package, layer])
    if not (layer / "usr/sbin/nginx").is_file():
        raise Failed("Debian's package nginx holds no program")
