"""A Debian package for one target, put together for dpkg-deb from what is in deploy/release/debian.

`/usr/lib/certagent/site-packages` holds certagent and its pinned wheels; the system's Python runs it, isolated. Byte
code is written on the machine, by Debian's own py3compile.
"""

import gzip
import hashlib
import os
import re
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

from packaging.version import Version

from deploy.release import elf_files
from deploy.release.revision import Failed, Revision
from deploy.release.targets import Target

LIBRARY = Path("usr/lib/certagent")
SITE = LIBRARY / "site-packages"
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
_UNITS = ("certagent-agent.service", "certagent-collector.service")
_DOCUMENTS = Path("usr/share/doc/certagent")
_PLACES = {
    "completion/bash/certagent": "usr/share/bash-completion/completions/certagent",
    "completion/zsh/_certagent": "usr/share/zsh/vendor-completions/_certagent",
    "completion/fish/certagent.fish": "usr/share/fish/vendor_completions.d/certagent.fish",
}
_WORD = re.compile(r"@([a-z]+)@")
_SCHEMA = re.compile(r'^REVISION = "(\d+)"$', re.MULTILINE)
_COLLECTOR_PREPARES = "ExecStartPre=+/usr/lib/certagent/prepare-collector\n"


class Package:
    """A package that is being put together in a folder."""

    def __init__(self, revision: Revision, target: Target, source: Path, root: Path) -> None:
        """`source`: the exported tree; `root`: the folder, in which `SITE` is filled already."""
        self._revision, self._target, self._source, self._root = revision, target, source, root
        self._templates = source / "deploy" / "release" / "debian"
        self.version = debian_version(revision.version, target.debian)

    def build(self, folder: Path, sbom: str) -> Path:
        """Put the rest into the folder, have dpkg-deb pack it, and give the file. Raises `Failed`."""
        libraries = elf_files.check(self._root / SITE, self._target)
        self._put_programs()
        self._put_units()
        self._put_reference()
        self._put_documents(sbom)
        self._put_control(libraries)
        self._settle()
        file = folder / f"certagent_{self.version}_{self._target.architecture}.deb"
        options = ("--root-owner-group", "-Zxz", "-z3", "--threads-max=1")
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(self._revision.epoch)}
        command = ("dpkg-deb", *options, "--build", self._root, file)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            raise Failed(f"dpkg-deb: {done.stderr.strip()}")
        return file

    def _put_programs(self) -> None:
        self._put("usr/bin/certagent", (self._templates / "certagent").read_text(), 0o755)
        self._put(LIBRARY / "prepare-collector", (self._templates / "prepare-collector").read_text(), 0o755)
        placeholder = self._source / "deploy" / "lxc" / "placeholder.py"
        self._put(LIBRARY / "placeholder.py", placeholder.read_text())
        self._put("usr/lib/sysusers.d/certagent.conf", (self._templates / "sysusers.conf").read_text())
        self._folder("etc/certagent")

    def _put_units(self) -> None:
        """As deploy/systemd has them, with this package's program; on Debian 12 in /lib, as its packages do."""
        folder = "usr/lib/systemd/system" if self._target.debian >= 13 else "lib/systemd/system"
        for name in _UNITS:
            text = (self._source / "deploy" / "systemd" / name).read_text()
            text = text.replace("/usr/local/bin/certagent", "/usr/bin/certagent")
            if "collector" in name:
                text = text.replace("ExecStart=", f"{_COLLECTOR_PREPARES}ExecStart=", 1)
            self._put(Path(folder) / name, text)

    def _put_reference(self) -> None:
        """Manual pages and completions, by the exported tree's own generator."""
        made = self._root.parent / f"{self._root.name}.reference"
        environment = {**os.environ, "PYTHONPATH": str(self._source), "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run([sys.executable, "-P", "-m", "deploy.reference", made], check=True, env=environment)
        for page in sorted((made / "man" / "man1").iterdir()):
            self._put_packed(f"usr/share/man/man1/{page.name}.gz", page.read_text())
        for path, place in _PLACES.items():
            self._put(place, (made / path).read_text())

    def _put_documents(self, sbom: str) -> None:
        for name in ("copyright", "README.Debian"):
            self._put(_DOCUMENTS / name, (self._templates / name).read_text())
        self._put_packed(_DOCUMENTS / "changelog.gz", (self._source / "CHANGELOG.md").read_text())
        self._put_packed(_DOCUMENTS / "changelog.Debian.gz", self._filled("changelog"))
        self._put_packed(_DOCUMENTS / "sbom.cdx.json.gz", sbom)
        for path in ("docs/examples/agent.toml", "docs/examples/collector.toml",
                     "deploy/nginx/certagent-challenge.conf", "deploy/traefik/certagent-challenge.yml"):  # fmt: skip
            self._put(_DOCUMENTS / "examples" / Path(path).name, (self._source / path).read_text())
        self._put("usr/share/lintian/overrides/certagent", (self._templates / "lintian-overrides").read_text())

    def _put_control(self, libraries: set[str]) -> None:
        files = sorted(path for path in self._root.rglob("*") if path.is_file())
        sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(self._root)}\n" for path in files)  # noqa: S324 - dpkg's format
        self._put("DEBIAN/md5sums", "".join(sums))
        size = sum((path.stat().st_size + 1023) // 1024 for path in files)
        major, minor = self._target.python.split(".")
        python = f"python3 (>= {self._target.python}~), python3 (<< {major}.{int(minor) + 1}~)"
        needed = ", ".join(
            f"libc6 (>= {self._target.glibc})" if name == "libc6" else name for name in sorted(libraries | {"libc6"})
        )
        self._put("DEBIAN/control", self._filled("control", depends=f"{python}, {needed}", size=str(size)))
        for name in _SCRIPTS:
            self._put(f"DEBIAN/{name}", self._filled(name), 0o755)

    def _filled(self, name: str, **more: str) -> str:
        """A template with its `@WORDS@`; shell scripts keep their own dollars."""
        database = (self._root / SITE / "certagent/collector/sql/database.py").read_text()
        schema = _SCHEMA.search(database)
        if schema is None:
            raise Failed("certagent/collector/sql/database.py names no schema")
        words = {
            "version": self.version,
            "architecture": self._target.architecture,
            "suite": {12: "bookworm", 13: "trixie"}[self._target.debian],
            "date": formatdate(self._revision.epoch),
            "release": self._revision.version,
            "schema": schema[1],
            **more,
        }
        return _WORD.sub(lambda found: words[found[1]], (self._templates / name).read_text())

    def _put(self, path: str | Path, text: str, mode: int = 0o644) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(mode)

    def _put_packed(self, path: str | Path, text: str) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))

    def _folder(self, path: str) -> None:
        (self._root / path).mkdir(parents=True)

    def _settle(self) -> None:
        """Modes that no umask changes, and one date."""
        for path in (self._root, *self._root.rglob("*")):
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
            os.utime(path, (self._revision.epoch, self._revision.epoch))


def debian_version(version: str, debian: int) -> str:
    """1.2.3 -> 1.2.3-1~deb12u1; what comes before a release sorts before it."""
    parsed = Version(version)
    parts = [parsed.base_version]
    if parsed.pre is not None:
        parts.append("~" + "".join(map(str, parsed.pre)))
    if parsed.dev is not None:
        parts.append(f"~dev{parsed.dev}")
    if parsed.local is not None:
        parts.append(f"+{parsed.local}")
    return f"{''.join(parts)}-1~deb{debian}u1"
