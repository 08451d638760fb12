"""What certagent is made of, as two layers: its dependencies, which seldom change, and itself.

A layer is a tar file in the host's cache, named after everything that its content depends on: a container that has a
folder of that name has that content.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from email.parser import Parser
from pathlib import Path
from typing import IO

from transport import Facts

_LAYERS = "/opt/certagent/layers"
"""Where they lie in a container; byte code remembers where its source was."""
_KEPT_FOR = timedelta(days=14)
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "certagent", "policies", "deploy/nginx", "deploy/traefik")
_EXTRAS = ("; extra == 'sources'", "; extra == 'postgres'")


class Failed(Exception):
    """The wheel or its dependencies could not be had; the message says why."""


def build_wheel(tree: Path) -> Path:
    """The wheel of a source tree, built if this state of it has not been built before."""
    if not (tree / "pyproject.toml").is_file():
        raise Failed(f"{tree} is no source tree: it has no pyproject.toml")
    with _alone():
        folder = _cache() / f"wheel-{_digest_of_tree(tree)}"
        if not folder.exists():
            with _work() as work:
                _build_wheel(tree, work)
                work.rename(folder)
    for wheel in folder.glob("certagent-*.whl"):
        return wheel
    raise Failed(f"building a wheel from {tree} gave none")


def make(wheel: Path, facts: Facts) -> list[Path]:
    """The layers for a container like that: [dependencies, certagent]."""
    wanted = _requirements(wheel)
    target = f"py{facts.python[0]}{facts.python[1]}"
    platform = f"{target}-{facts.machine}-glibc{facts.glibc[0]}.{facts.glibc[1]}"
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    below = f"dependencies-{platform}-{_digest(recipe, *wanted)}"
    above = f"certagent-{target}-{_digest(recipe, hashlib.sha256(wheel.read_bytes()).hexdigest())}"
    with _alone():
        return [
            _layer(below, facts, lambda folder: _install(wanted, facts, folder)),
            _layer(above, facts, lambda folder: _extract(wheel, folder)),
        ]


def _layer(name: str, facts: Facts, fill: Callable[[Path], None]) -> Path:
    layer = _cache() / name
    if not layer.exists():
        with _work() as work:
            folder = work / "layers" / name
            folder.mkdir(parents=True)
            fill(folder)
            if facts.is_compiled_here:
                _compile(folder, f"{_LAYERS}/{name}")
            with tarfile.open(work / "tar", "w") as archive:
                archive.add(folder, f"layers/{name}", filter=_owned_by_root)
            (work / "tar").rename(layer)
        _prune()
    os.utime(layer)
    return layer


def keep(name: str, content: IO[bytes] | None) -> Path:
    """A layer from elsewhere in the cache, under the name that says what it holds."""
    if content is None or not name.startswith(("dependencies-", "certagent-")) or "/" in name:
        raise Failed(f"{name!r} is no layer")
    layer = _cache() / name
    with _alone():
        if not layer.exists():
            with _work() as work:
                with (work / "tar").open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                (work / "tar").rename(layer)
    os.utime(layer)
    return layer


def _prune() -> None:
    """Remove what nobody has asked for in a while."""
    for path in _cache().iterdir():
        if path.name.startswith(("dependencies-", "certagent-", "wheel-")) and _is_old(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _KEPT_FOR.total_seconds()


def _install(wanted: Sequence[str], facts: Facts, folder: Path) -> None:
    """Have pip put wheels for that Python and C library into the folder; nothing is ever built from source."""
    say(f"fetching dependencies for Python {facts.python[0]}.{facts.python[1]} on {facts.machine} (once)")
    oldest = 17  # manylinux2014; older tags than that have no wheels of ours
    tags = [f"manylinux_2_{minor}_{facts.machine}" for minor in range(facts.glibc[1], oldest - 1, -1)]
    platforms = [word for tag in (*tags, f"manylinux2014_{facts.machine}") for word in ("--platform", tag)]
    version = ".".join(map(str, facts.python))
    # Environment markers are still judged by the pip that runs; none of ours differs between 3.11 and 3.14.
    _run(
        [*_pip(), "install", "-q", "--no-compile", "--only-binary=:all:", "--implementation", "cp",
         "--python-version", version, *platforms, "--target", str(folder), *wanted]
    )  # fmt: skip
    shutil.rmtree(folder / "bin", ignore_errors=True)


def _extract(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)  # noqa: S202 - a zip file: its names cannot lead outside


def _compile(folder: Path, final: str) -> None:
    _run([sys.executable, "-m", "compileall", "-q", "-s", str(folder), "-p", final, str(folder)])


def _build_wheel(tree: Path, folder: Path) -> None:
    if importlib.util.find_spec("hatchling"):
        _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=tree)
    else:
        say("building the wheel")
        _run([*_pip(), "wheel", "-q", "--no-deps", "-w", str(folder), str(tree)])


def _requirements(wheel: Path) -> list[str]:
    """What the wheel needs, with the extra that reads provisioning code: it costs a few MB of disk alone, for it is
    imported only when it is used. The other extras go with a server of the user's own."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".dist-info/METADATA"):
                wanted = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])
                plain = {_without_extra(one) for one in wanted}
                return sorted(one for one in plain if "extra ==" not in one)
    raise Failed(f"{wheel} is no wheel: it has no METADATA")


def _without_extra(requirement: str) -> str:
    for extra in _EXTRAS:
        requirement = requirement.removesuffix(extra)
    return requirement


def _pip() -> list[str]:
    """A pip: this Python's, or one in a virtual environment of its own (Proxmox VE comes without)."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    environment = _cache() / "pip"
    if not (environment / "complete").exists():
        if not importlib.util.find_spec("ensurepip"):
            raise Failed("this host's Python has neither pip nor ensurepip (apt install python3-venv)")
        say("making a virtual environment for pip (once)")
        _run([sys.executable, "-m", "venv", "--clear", str(environment)])
        (environment / "complete").touch()
    return [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def say(text: str) -> None:
    """A line for the person who waits."""
    print(f"install: {text}", file=sys.stderr, flush=True)


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)[:200]}: exit status {done.returncode}\n{(done.stderr + done.stdout)[-2000:]}")


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def _digest_of_tree(tree: Path) -> str:
    total = hashlib.sha256()
    for top in _SOURCES:
        start = tree / top
        for path in sorted(start.rglob("*")) if start.is_dir() else [start]:
            if path.is_file() and "__pycache__" not in path.parts:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                total.update(f"{path.relative_to(tree)} {content}\n".encode())
    return total.hexdigest()[:16]


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home) / "certagent" / "bundles"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _work() -> Iterator[Path]:
    """A folder beside the results, so that a result appears by one rename; gone afterwards, whatever happened."""
    folder = Path(tempfile.mkdtemp(prefix=".work-", dir=_cache()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone() -> Iterator[None]:
    """One build at a time: a second installer waits for the first one's result."""
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
