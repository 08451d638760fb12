"""A node's files as a case has them, over those of this machine, in namespaces of their own: no network, and nothing
outside the case changes. Needs no root and no lab; a machine without user namespaces is a clear error."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.certificates import Authority
from tests.field import namespaces
from tests.warm import warm_certagent

CASES = Path(__file__).with_name("cases")
TREES = Path(__file__).with_name("trees")
_OF_THE_MACHINE = ("passwd", "group", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl", "alternatives", "localtime")
_SCRIPT = """ip link set lo up
for address in {addresses}; do ip address add "$address" dev lo; done
for folder in {folders}; do mkdir -p "/$folder"; mount --rbind "{root}/$folder" "/$folder"; done
exec "$@"
"""


class Tree:
    """The files of one case below `root`, complete with its key pairs; they can be changed between two runs.
    `addresses`: the node's own, beside loopback."""

    def __init__(self, root: Path, addresses: Sequence[str] = ()) -> None:
        self.root = root
        self.addresses = tuple(addresses)

    @classmethod
    def of_case(cls, name: str, folder: Path) -> "Tree":
        """`cases/NAME/root` copied to `folder`, with the pairs of its pairs.txt made."""
        return cls.of(CASES / name, folder)

    @classmethod
    def of(cls, case: Path, folder: Path, addresses: Sequence[str] = ()) -> "Tree":
        """The same of any folder that holds `root` and pairs.txt."""
        if (case / "root").is_dir():
            shutil.copytree(case / "root", folder, symlinks=True, dirs_exist_ok=True)
        pairs = (case / "pairs.txt").read_text().splitlines() if (case / "pairs.txt").is_file() else []
        for certificate, key, kind, *names in (line.split() for line in pairs if not line.startswith("#")):
            rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048) if kind == "rsa" else None
            pair = Authority().issue(*names, key=rsa_key)
            _write(folder / certificate.lstrip("/"), pair.chain_pem)
            _write(folder / key.lstrip("/"), pair.key_pem)
        return cls(folder, addresses)

    def certagent(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """`certagent ARGUMENTS` on this node. Never raises for its exit status."""
        self._complete()
        addresses = ",".join(self.addresses)
        return warm_certagent().run(str(self.root), addresses, *arguments, within=timeout, module=namespaces.__name__)

    def document(self, *arguments: str) -> Any:
        """The document of `certagent ARGUMENTS --json`. Raises AssertionError when there is none."""
        done = self.certagent(*arguments, "--json")
        assert done.stdout, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return json.loads(done.stdout)

    def diagnoses(self, seen: Sequence[Any]) -> list[list[dict[str, Any]]]:
        """The findings when the CA saw these answers (`Seen`): of each, worst first."""
        words = [json.dumps(self.addresses), msgspec.json.encode(seen).decode()]
        done = self.run([sys.executable, "-m", "tests.field.diagnose", *words])
        assert done.returncode == 0, done.stderr
        findings: list[list[dict[str, Any]]] = json.loads(done.stdout)
        return findings

    def run(self, command: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Any command there; its output is text."""
        return subprocess.run(
            self.inside(command), capture_output=True, text=True, timeout=timeout, check=False, env=_environment()
        )

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """One that goes on; who starts it ends it. The process is the command itself."""
        with log.open("wb") as output:
            return subprocess.Popen(self.inside(command), stdout=output, stderr=output, env=_environment())

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command with what puts it there."""
        self._complete()
        folders = " ".join(sorted(path.name for path in self.root.iterdir() if path.is_dir()))
        script = _SCRIPT.format(folders=folders, root=self.root, addresses=" ".join(self.addresses))
        unshare = ["unshare", "--map-root-user", "--mount", "--net", "--kill-child"]
        return [*unshare, "sh", "-ec", script, "sh", *command]

    def _complete(self) -> None:
        """What programs need of /etc, as this machine has it."""
        etc = self.root / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        for name in _OF_THE_MACHINE:
            _copy(Path("/etc") / name, etc / name)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _copy(source: Path, target: Path) -> None:
    if not source.exists() or os.path.lexists(target):
        return
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("private"))
    else:
        shutil.copy(source, target)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
