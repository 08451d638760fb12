"""What a machine hands to a fresh one beside it: how to reach its package sources, and nothing else.

No cache, no program, no package: the fresh machine has to fetch and build what it needs by itself.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.lab import rootfs

BUNDLE = Path("/etc/ssl/certs")
OWN_ROOTS = Path("/usr/local/share/ca-certificates")
"""What `update-ca-certificates`, which comes with Debian's ca-certificates, adds to the bundle that it makes anew."""

FILES = (
    "/etc/resolv.conf",
    "/etc/pip.conf",
    "/etc/xdg/pip/pip.conf",
    "~/.config/pip/pip.conf",
    "~/.pip/pip.conf",
    "~/.config/go/env",
)

_VARIABLE = re.compile(
    r"(https?|ftp|all|no)_proxy"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|PIP_(CERT|INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|DEFAULT_TIMEOUT|RETRIES)"
    r"|GO(PROXY|SUMDB|NOSUMDB|NOPROXY|PRIVATE|INSECURE)",
    re.IGNORECASE,
)
_APT = re.compile(r"Acquire::(https?|Check-|Force|Retries)")
"""The reaching of a mirror. Not hooks, and not what else apt here wants to know of a mirror."""


def environment() -> dict[str, str]:
    """This process's variables for proxies, certificates and package indices."""
    return {name: value for name, value in os.environ.items() if _VARIABLE.fullmatch(name)}


def put_into(root: Path, release: rootfs.Release) -> None:
    """Write the settings into the root file system of a fresh Debian that has not started yet."""
    for folder in (BUNDLE, OWN_ROOTS):
        if folder.is_dir():
            shutil.copytree(folder, _in(root, folder), dirs_exist_ok=True, ignore_dangling_symlinks=True)
    for file in _files():
        target = _in(root, Path(str(file).replace(str(Path.home()), "/root", 1)))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copyfile(file, target)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/apt/sources.list").write_text(f"deb {rootfs.mirror()} {release.name} main\n")
    (root / "etc/apt/apt.conf.d/99reach").write_text("".join(_apt_settings()))


def _files() -> Iterator[Path]:
    """The settings' files that there are, and those that the variables name."""
    named = [value for value in environment().values() if value.startswith("/")]
    for name in (*FILES, *named):
        path = Path(name).expanduser()
        if path.is_file() and not path.is_relative_to(BUNDLE):
            yield path


def _apt_settings() -> Iterator[str]:
    told = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return (line for line in told.splitlines(keepends=True) if _APT.match(line))


def _in(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")
