"""What is installed, and how long a lab takes to come up."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.lab import places
from deploy.lab.processes import run
from deploy.story import witness
from tests.bench import peers
from tests.bench.rows import Row, against, of
from tests.e2e import fleet

WARM = 3


def measure() -> Iterator[Row]:
    """The wheel."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=places.TREE)
        (wheel,) = folder.glob("*.whl")
        run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder / "alone", wheel])
        run([sys.executable, "-m", "pip", "install", "-q", "--target", folder / "whole", wheel])
        known = peers.ensure()
        lego = _mebibytes(Path(known["lego"].order(folder, "none", peers.PORT)[0]))
        certbot = _mebibytes(Path(known["certbot"].order(folder, "none", peers.PORT)[0]).parent / "venv/lib")
        yield of("the wheel, installed", "MiB", [_mebibytes(folder / "alone")], "certagent alone, compiled")
        whole = of(
            "the wheel with all it depends on, installed", "MiB", [_mebibytes(folder / "whole")], "agent and collector"
        )
        yield against(whole, known["lego"].name, [lego], "one program, every DNS provider in it")
        yield against(whole, known["certbot"].name, [certbot], "with pip, which its environment brings")


def measure_ups() -> Iterator[Row]:
    """The lab, warm: down before, everything in the cache."""
    took = []
    for _ in range(WARM):
        witness.lab("down")
        began_at = time.perf_counter()
        witness.lab("up")
        took.append(time.perf_counter() - began_at)
    witness.lab("down")
    fleet.bring_up()
    yield of("lab up, warm", "s", took, "six containers, services, certagent installed, certificates issued and served")


def measure_cold_up() -> Iterator[Row]:
    """With an empty cache, in a lab of its own name; what Go and pip keep for the user stays as it is."""
    with tempfile.TemporaryDirectory() as cache:
        own = {**os.environ, "XDG_CACHE_HOME": cache, "CERTAGENT_LAB_NAME": f"{places.NAME}-cold"}
        try:
            began_at = time.perf_counter()
            subprocess.run([str(witness.LAB), "up"], env=own, check=True, stderr=subprocess.PIPE, timeout=1200)
            took = time.perf_counter() - began_at
        finally:
            subprocess.run([str(witness.LAB), "down"], env=own, check=False, stderr=subprocess.PIPE, timeout=300)
    inside = "as warm, and debootstrap, step-ca built from source, Traefik and all Python packages fetched"
    yield of("lab up, cold", "s", [took], inside)


def _mebibytes(path: Path) -> float:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file() and not one.is_symlink()]
    return sum(one.stat().st_size for one in files) / 1024**2
