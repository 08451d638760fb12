"""The dependencies of each target: exactly these wheels, by version and SHA-256, in deploy/release/locks.

They are unpacked, never installed by their scripts: what an installer writes itself (byte code, programs with the path
of its own Python) would differ from machine to machine.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

from deploy.release.checksums import sha256_of
from deploy.release.revision import Failed
from deploy.release.targets import TARGETS, Target

EXTRAS = ("postgres", "notify", "sources")
"""What a package holds beside the plain dependencies: nobody can add it to an environment of a package's own."""
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
_ROOTS = ("purelib", "platlib")
_HEAD = "# The wheels of {0}. Written by `deploy/release/build --update-locks`.\n"


@dataclass(frozen=True)
class Wheel:
    """A wheel in the cache, and what it says of itself."""

    path: Path
    sha256: str
    metadata: Message

    @property
    def name(self) -> str:
        """The project's, as it writes it."""
        return str(self.metadata["Name"])

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.metadata["Version"])


def update_locks(tree: Path) -> Iterator[str]:
    """Resolve the requirements of pyproject.toml anew for every target; says how many there are, a line each."""
    wanted = _requirements(tree)
    for target in TARGETS.values():
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            _pip("install", "--dry-run", "--ignore-installed", "--report", report, "--target", folder,
                 *_fitting(target), *wanted)  # fmt: skip
            found = json.loads(report.read_text())["install"]
        lines = sorted(_locked(entry) for entry in found)
        target.lock(tree).write_text(_HEAD.format(target.name) + "".join(lines))
        yield f"{target.lock(tree).relative_to(tree)}: {len(lines)} wheels"


def fetch(lock: Path, target: Target, cache: Path) -> list[Wheel]:
    """The wheels of a lock file, each checked against its hash; fetched when the cache lacks them."""
    wanted = _read(lock)
    cache.mkdir(parents=True, exist_ok=True)
    if not set(wanted) <= {sha256 for sha256, _ in _cached(cache)}:
        with tempfile.TemporaryDirectory(dir=cache) as work:
            _pip("download", "--no-deps", "--require-hashes", "-d", work, *_fitting(target), "-r", lock)
            for path in Path(work).glob("*.whl"):
                path.rename(cache / path.name)
    wheels = {sha256: Wheel(path, sha256, metadata_of(path)) for sha256, path in _cached(cache) if sha256 in wanted}
    if lacking := [line for sha256, line in wanted.items() if sha256 not in wheels]:
        raise Failed(f"{lock.name}: the index has other files than were pinned: {', '.join(lacking)}")
    return sorted(wheels.values(), key=lambda wheel: wheel.path.name.lower())


def unpack(wheels: Sequence[Path], folder: Path) -> None:
    """Put what can be imported into the folder; programs and headers are left out."""
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                place = _place(name)
                if place is not None and not name.endswith("/"):
                    target = folder / place
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as source, target.open("xb") as copy:
                        shutil.copyfileobj(source, copy)


def metadata_of(wheel: Path) -> Message:
    """A wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA") and one.count("/") == 1)
        return Parser().parsestr(archive.read(name).decode())


def _place(name: str) -> str | None:
    """Where a file of a wheel belongs, below the folder for imports."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return name
    kind, _, below = rest.partition("/")
    return below if kind in _ROOTS else None


def _requirements(tree: Path) -> list[str]:
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    extras = (one for extra in EXTRAS for one in project["optional-dependencies"][extra])
    return [*project["dependencies"], *extras]


def _fitting(target: Target) -> list[str]:
    platforms = [word for tag in target.tags for word in ("--platform", tag)]
    return ["--only-binary=:all:", "--implementation", "cp", "--python-version", target.python, *platforms]


def _locked(entry: dict[str, dict[str, str]]) -> str:
    name, version = entry["metadata"]["name"].lower(), entry["metadata"]["version"]
    archive: dict[str, dict[str, str]] = entry["download_info"]["archive_info"]  # type: ignore[assignment]
    return f"{name}=={version} --hash=sha256:{archive['hashes']['sha256']}\n"


def _read(lock: Path) -> dict[str, str]:
    """SHA-256 -> requirement."""
    lines = (line for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    return {line.partition("sha256:")[2]: line.partition(" ")[0] for line in lines}


def _cached(cache: Path) -> Iterator[tuple[str, Path]]:
    for path in cache.glob("*.whl"):
        yield sha256_of(path), path


def _pip(*words: str | Path) -> None:
    done = subprocess.run([*_PIP, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"pip {words[0]}: exit status {done.returncode}\n{(done.stderr + done.stdout)[-2000:]}")
