"""`deploy/release/build`: everything of one release, into one folder."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.release import (
    checksums,
    container_image,
    debian_package,
    elf_files,
    offline_bundle,
    pinned_wheels,
    revision,
    sbom,
)
from deploy.release.debian_package import Package
from deploy.release.pinned_wheels import Wheel
from deploy.release.revision import Failed, Revision
from deploy.release.targets import TARGETS, Target

IMAGE = TARGETS["debian-13-amd64"]
"""Whose package is in the image for container hosts."""
TREE = Path(__file__).resolve().parents[2]


def main() -> int:
    """Build, or say in one sentence why not."""
    arguments = _read_arguments()
    try:
        if arguments.update_locks:
            for line in pinned_wheels.update_locks(TREE):
                print(line)
            return 0
        found = revision.find(TREE, arguments.revision)
        _say(f"{found.version}, {f'tag {found.tag}' if found.tag else 'no tag'}, commit {found.commit or 'unknown'}")
        if found.commit and revision.has_changes(TREE):
            _say("changes that are not committed are not in it")
        targets = [TARGETS[name] for name in arguments.only or TARGETS]
        for file in build(found, TREE, targets, arguments.into, with_image=arguments.image):
            print(f"{checksums.sha256_of(file)}  {file}")
        _finish(arguments.into, arguments.sign_key)
    except Failed as failed:
        print(f"release: {failed}", file=sys.stderr)
        return 1
    return 0


def build(
    found: Revision,
    tree: Path,
    targets: Sequence[Target],
    into: Path,
    *,
    bundles: bool = True,
    with_image: bool = False,
) -> Iterator[Path]:
    """Each file, as soon as it is there; `bundles`: the offline bundles, too; `with_image`: the image for container
    hosts. Raises `Failed`."""
    _empty(into)
    into = into.resolve()
    with tempfile.TemporaryDirectory(prefix="certagent-release-") as folder:
        work = Path(folder)
        source = work / "source"
        revision.export(tree, found, source)
        yield from _build_python(found, source, into)
        (wheel,) = into.glob("*.whl")
        certagent = Wheel(wheel, checksums.sha256_of(wheel), pinned_wheels.metadata_of(wheel))
        wheels = {target: pinned_wheels.fetch(target.lock(source), target, _cache()) for target in targets}
        for target, parts in wheels.items():
            yield from _build_target(found, target, [certagent, *parts], work, into)
        if with_image:
            package = next(into.glob(f"*~deb{IMAGE.debian}u1_{IMAGE.architecture}.deb"), None)
            if package is None:
                raise Failed(f"the image is made of the package {IMAGE.name}, which is not built")
            yield container_image.build(found, IMAGE, package, work, into)
        if bundles:
            yield from _build_bundles(found, certagent, wheels, work, into)


def _empty(folder: Path) -> None:
    """Make it, or remove what an earlier build has left. Raises `Failed` when there is anything else."""
    folder.mkdir(parents=True, exist_ok=True)
    left = list(folder.iterdir())
    if other := [path.name for path in left if not path.name.startswith(("certagent", checksums.FILE))]:
        raise Failed(f"{folder} holds other files ({other[0]}): choose an empty folder")
    for path in left:
        path.unlink()


def _build_python(found: Revision, source: Path, into: Path) -> Iterator[Path]:
    """The wheel and the source archive, by hatchling."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(found.epoch)}
    for kind in ("wheel", "sdist"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", into]
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"hatchling: {done.stderr.strip()}")
    yield from sorted(into.iterdir())


def _build_bundles(
    found: Revision, certagent: Wheel, wheels: dict[Target, list[Wheel]], work: Path, into: Path
) -> Iterator[Path]:
    """One for each kind of machine, for both Debians."""
    for architecture in dict.fromkeys(target.architecture for target in wheels):
        file = into / f"certagent-{found.version}-offline-{architecture}.tar.gz"
        fitting = {target: parts for target, parts in wheels.items() if target.architecture == architecture}
        offline_bundle.make(file, certagent, fitting, work)
        yield file


def _build_target(found: Revision, target: Target, wheels: Sequence[Wheel], work: Path, into: Path) -> Iterator[Path]:
    """The Debian package and its SBOM."""
    root = work / target.name
    pinned_wheels.unpack([wheel.path for wheel in wheels], root / debian_package.SITE)
    certagent, *parts = wheels
    document = sbom.make(found, target, certagent, parts, elf_files.list_native(root / debian_package.SITE))
    file = into / f"certagent-{found.version}-{target.name}.cdx.json"
    file.write_text(document)
    yield file
    yield Package(found, target, work / "source", root).build(into, document)
    shutil.rmtree(root)
    if target.architecture != "amd64":
        _say(f"{target.name} was assembled and its files' architecture checked; it was not run")


def _finish(into: Path, key: Path | None) -> None:
    listed = checksums.write(into)
    print(listed)
    if key is None:
        _say(f"{listed.name} is not signed: no --sign-key")
    else:
        print(checksums.sign(listed, key))


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build", description="Builds a release of certagent.")
    parser.add_argument("--revision", default="HEAD", help="the tag to build, or a commit; left out: HEAD")
    parser.add_argument(
        "--into",
        type=Path,
        default=TREE / "dist",
        metavar="FOLDER",
        help="left out: dist; an earlier release there is replaced",
    )
    parser.add_argument("--only", action="append", choices=list(TARGETS), help="not all targets; may be repeated")
    parser.add_argument(
        "--image", action="store_true", help=f"an image for container hosts, too: root, and {IMAGE.name}"
    )
    parser.add_argument("--sign-key", type=Path, metavar="FILE", help="an SSH private key, to sign SHA256SUMS with")
    parser.add_argument("--update-locks", action="store_true", help="pin the newest fitting wheels, and build nothing")
    return parser.parse_args()


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "certagent" / "wheels"


def _say(text: str) -> None:
    print(f"release: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
