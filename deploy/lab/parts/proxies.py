"""Debian's HAProxy and Caddy, unpacked and not installed: the tests start them as processes of their own.

Each layer has the program as `bin/NAME`, a script that finds the libraries beside it.
"""

from pathlib import Path

from deploy.lab import layers
from deploy.lab.processes import Failed, run

_RECIPE = "1"
_PACKAGES = {
    "haproxy": ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"),
    "caddy": ("caddy",),
}
_LAUNCHER = """\
#!/bin/sh
here=$(dirname "$(dirname "$(readlink -f "$0")")")
for folder in "$here"/usr/lib/*-linux-gnu; do export LD_LIBRARY_PATH="$folder"; done
exec "$here/{program}" "$@"
"""


def ensure(name: str) -> Path:
    """Fetch that program if it is not in the cache yet, and give the folder that holds it."""
    layer = layers.ensure(f"{name}-{_RECIPE}", f"fetching {name} (once)", lambda layer: _fetch(layer, name))
    return layer / "bin"


def _fetch(layer: Path, name: str) -> None:
    work = layer.parent / "package"
    work.mkdir()
    try:
        run(["apt-get", "download", *_PACKAGES[name]], cwd=work)
    except Failed:  # a machine that has no list of packages yet
        run(["apt-get", "update"])
        run(["apt-get", "download", *_PACKAGES[name]], cwd=work)
    for package in work.glob("*.deb"):
        run(["dpkg-deb", "--extract", package, layer])
    program = next((one for one in (f"usr/sbin/{name}", f"usr/bin/{name}") if (layer / one).is_file()), None)
    if program is None:
        raise Failed(f"Debian's package {name} holds no program")
    launcher = layer / "bin" / name
    launcher.parent.mkdir(exist_ok=True)
    launcher.write_text(_LAUNCHER.format(program=program))
    launcher.chmod(0o755)
