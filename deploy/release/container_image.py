"""An image for container hosts, assembled by buildah from Debian and the package's own files. No registry takes part.

Without further words it runs the collector, as a user of its own. With the word `agent`, as root, it runs an agent.
"""

import gzip
import json
import os
import shutil
import stat
from functools import partial
from pathlib import Path

from deploy.lab import processes
from deploy.lab.processes import run
from deploy.lab.rootfs import mirror, proxy
from deploy.release.debian_package import LIBRARY
from deploy.release.revision import Failed, Revision
from deploy.release.targets import Target

USER = 843
"""The collector's, and its group; whoever mounts a folder for its data gives it to this number."""
NAME = "localhost/certagent"
PROGRAMS = ("buildah", "debootstrap")
_SUITES = {12: "bookworm", 13: "trixie"}
_HEALTHCHECK = Path("usr/lib/certagent/healthcheck")
_FOLDERS = ("etc/certagent", "var/lib/certagent")
_LEFT_OUT = (
    *("dev", "boot", "tmp", "run", "var/cache/apt", "var/cache/debconf", "var/cache/ldconfig", "var/lib/apt/lists"),
    *("var/log", "var/tmp", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"),
    "usr/share/bash-completion",
)
"""What of Debian is made where the image runs, or read by nobody there; the folders stay."""


def build(found: Revision, target: Target, package: Path, work: Path, into: Path) -> Path:
    """The image of that package, as an archive for `zcat FILE | podman load`. Raises `Failed`."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise Failed(f"the image needs {' and '.join(missing)}: apt install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise Failed("the image is built as root: debootstrap needs it")
    root = work / "image"
    _make_debian(root, target, package)
    _put_certagent(root, package)
    archive = work / "image.tar"
    _assemble(root, found, work, archive)
    file = into / f"certagent-{found.version}-image-{target.architecture}.tar.gz"
    with archive.open("rb") as source, file.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    return file


def _make_debian(root: Path, target: Target, package: Path) -> None:
    """The smallest, with what the package depends on; it needs no systemd to run in a container."""
    depends = _run("dpkg-deb", "--field", package, "Depends")
    names = {one.split()[0] for one in depends.split(",")} - {"systemd"} | {"ca-certificates"}
    # In process and mount namespaces of its own: whatever a package's script starts or mounts ends with it.
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
    what = ("--variant=minbase", f"--include={','.join(sorted(names))}", _SUITES[target.debian])
    _run(*alone, "debootstrap", *what, root, mirror(), env=proxy())


def _put_certagent(root: Path, package: Path) -> None:
    _run("dpkg-deb", "--extract", package, root)
    user = ("--system", "--uid", str(USER), "--user-group", "--home-dir", "/var/lib/certagent", "--no-create-home")
    _run("chroot", root, "useradd", *user, "--shell", "/usr/sbin/nologin", "certagent-collector")
    byte_code = ("-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash")
    _run("chroot", root, "python3", "-IS", *byte_code, f"/{LIBRARY}")
    shutil.copyfile(Path(__file__).with_name("image") / "healthcheck", root / _HEALTHCHECK)
    (root / _HEALTHCHECK).chmod(0o755)
    for name in _LEFT_OUT:
        mode = stat.S_IMODE((root / name).stat().st_mode) if (root / name).exists() else 0o755
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(mode=0o755)
        (root / name).chmod(mode)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    os.chown(root / _FOLDERS[-1], USER, USER)
    (root / _FOLDERS[-1]).chmod(0o700)


def _assemble(root: Path, found: Revision, work: Path, archive: Path) -> None:
    """In Docker's format: OCI's own has no health check."""
    labels = {"title": "certagent", "version": found.version, "revision": found.commit or ""}
    places = ("--root", work / "buildah" / "root", "--runroot", work / "buildah" / "run", "--storage-driver", "vfs")
    buildah = partial(_run, "buildah", *places)  # with a storage of its own, which goes with the folder
    container = buildah("from", "scratch").strip()
    buildah("add", "--quiet", container, root, "/")
    buildah(
        *("config", "--user", f"{USER}:{USER}", "--workingdir", "/var/lib/certagent"),
        *("--entrypoint", json.dumps(["/usr/bin/certagent"]), "--cmd", "collector", "--stop-signal", "SIGTERM"),
        *("--port", "8843", "--volume", "/var/lib/certagent"),
        *("--healthcheck", f"CMD /{_HEALTHCHECK}", "--healthcheck-interval", "30s"),
        *("--healthcheck-timeout", "10s", "--healthcheck-start-period", "60s"),
        *(word for name, text in labels.items() for word in ("--label", f"org.opencontainers.image.{name}={text}")),
        container,
    )
    to = f"docker-archive:{archive}:{NAME}:{found.version}"
    buildah("commit", "--quiet", "--format", "docker", "--timestamp", str(found.epoch), container, to)


def _run(*words: str | Path, env: dict[str, str] | None = None) -> str:
    try:
        return run(words, env=env, timeout=1800)
    except processes.Failed as failed:
        raise Failed(str(failed)) from failed
