"""The offline bundle of a release: what `deploy/lxc/install --bundle` reads, made of the pinned wheels.

Its layers hold no byte code: each container's own Python writes that.
"""

import hashlib
import tarfile
from collections.abc import Sequence
from pathlib import Path

import offline

from deploy.release.pinned_wheels import Wheel, unpack
from deploy.release.targets import Target


def make(file: Path, certagent: Wheel, wheels: dict[Target, list[Wheel]], work: Path) -> None:
    """Write the bundle for those targets; `work` is a folder for what lies in it."""
    entries, layers = list[dict[str, object]](), dict[str, Path]()
    for target, parts in wheels.items():
        python = f"py{target.python.replace('.', '')}"
        below = f"dependencies-{python}-{target.machine}-glibc{target.glibc}-{_digest(parts)}"
        above = f"certagent-{python}-{_digest([certagent])}"
        layers[below] = _layer(below, parts, work)
        layers[above] = _layer(above, [certagent], work)
        entries.append(
            {
                "python": target.python,
                "glibc": target.glibc,
                "machine": target.machine,
                "compiled": False,
                "layers": [below, above],
            }
        )
    offline.write(file, entries, layers)


def _layer(name: str, wheels: Sequence[Wheel], work: Path) -> Path:
    folder, layer = work / f"{name}.folder", work / name
    if not layer.exists():
        unpack([wheel.path for wheel in wheels], folder)
        with tarfile.open(layer, "w") as archive:
            for path in sorted([folder, *folder.rglob("*")]):
                archive.add(path, f"layers/{name}/{path.relative_to(folder)}", recursive=False, filter=_plain)
    return layer


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of the machine that builds it."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def _digest(wheels: Sequence[Wheel]) -> str:
    return hashlib.sha256("\n".join(wheel.sha256 for wheel in wheels).encode()).hexdigest()[:16]
