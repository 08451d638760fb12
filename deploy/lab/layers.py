"""What never changes in a node, made once and kept in the cache: folders that the nodes' overlays lie over.

The files in them belong to the shifted ids, and nothing ever writes into one that is complete.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO

from deploy.lab import places
from deploy.lab.lock import held
from deploy.lab.processes import Failed, marked, run
from deploy.lab.progress import step

FIRST_ID = 100000
"""What root of a container is outside."""
IDS = 65536

_KEPT_FOR = timedelta(days=14)


def ensure(name: str, text: str, make: Callable[[Path], None]) -> Path:
    """The layer of that name; `make` fills its folder if it is not there yet, while `text` is shown.

    `make` may use the folder's parent for its work. A layer appears under its name only when it is complete.
    """
    layer = places.cache() / "layers" / name
    if not layer.exists():
        with held(f"{name}.lock", f"another lab is making the layer {name}; waiting for it"):
            if not layer.exists():
                _make_layer(layer, text, make)
    os.utime(layer)
    return layer


def _make_layer(layer: Path, text: str, make: Callable[[Path], None]) -> None:
    places.workshop().mkdir(parents=True, exist_ok=True)
    layer.parent.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{layer.name}-", dir=places.workshop()))
    partial = work / "layer"
    with step(text):
        _make_folder(partial)
        make(partial)
        partial.rename(layer)
    shutil.rmtree(work)


def prune() -> None:
    """Remove the layers that no lab was made of for a while, and that no lab of this machine lies on."""
    mounted = Path("/proc/self/mountinfo").read_text()
    for layer in (places.cache() / "layers").iterdir():
        is_old = time.time() - layer.stat().st_mtime > _KEPT_FOR.total_seconds()
        if is_old and str(layer) not in mounted:
            shutil.rmtree(layer)


def put_program(program: Path, layer: Path) -> None:
    """Put a copy of `program` into the layer's /usr/local/bin."""
    copy = make_folders(layer, "usr", "local", "bin") / program.name
    shutil.copyfile(program, copy)
    copy.chmod(0o755)
    os.chown(copy, FIRST_ID, FIRST_ID)


def copy_shifted(folder: Path, target: Path) -> None:
    """Copy a root file system so that every file belongs to the shifted ids."""
    pack = ["tar", "-c", "--numeric-owner", "-C", str(folder), "."]
    with subprocess.Popen(pack, stdout=subprocess.PIPE, env={**os.environ, **marked()}) as packed:
        unpack_shifted(packed.stdout, target)
    if packed.returncode != 0:
        raise Failed(f"reading {folder} failed")


def unpack_shifted(tar: IO[bytes] | None, target: Path) -> None:
    """Unpack so that every file belongs to the shifted ids."""
    # Inside the id map: tar, as root there, sets owners that are the shifted ones outside. It is given the folder as
    # where it is, not by name: those ids may not walk through /root.
    run(
        ["lxc-usernsexec", "-m", f"b:0:{FIRST_ID}:{IDS}", "--", "tar", "-x", "-p", "--numeric-owner"],
        stdin=tar,
        cwd=target,
    )


def make_folders(layer: Path, *parts: str) -> Path:
    """Make a folder in a layer, and those above it, belonging to root of the containers."""
    folder = layer
    for part in parts:
        folder /= part
        _make_folder(folder)
    return folder


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    os.chown(folder, FIRST_ID, FIRST_ID)
