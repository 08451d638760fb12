"""The installer: what it streams, what it refuses in a sentence, and that it changes only what changed."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from deploy.lab.places import CONTAINERS, TREE
from tests.lab.machine import inside, lab

INSTALLER = TREE / "deploy" / "lxc" / "install"
AGENT = """
[agent]
name = "client"

[authority]
directory = "https://ca.internal.thinkheads.ai:9000/acme/acme/directory"
"""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "say which nodes"),
        (["101", "--config", "x"], "need --role"),
        (["101", "--role", "agent", "--config", "/does/not/exist"], "/does/not/exist does not exist"),
        (["101", "--role", "boss"], "invalid choice"),
        (["101", "--roll-back", "--role", "agent"], "stand alone"),
        (["101", "--make-bundle", "x"], "say which nodes"),
        (["--layers-for", "3.9", "x86_64", "2.31"], "needs Python 3.11 or newer and has 3.9"),
    ],
)
def test_what_cannot_be_meant_is_said(words: list[str], complaint: str) -> None:
    """Wrong words are answered before anything is built or entered."""
    done = _install(*words, check=False)
    assert done.returncode in (1, 2)
    assert complaint in done.stderr


def test_the_stream_holds_what_the_node_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files always, a layer only when the node has none of that name; tar reads it all as one archive."""
    monkeypatch.syspath_prepend(str(INSTALLER.parent))
    import stream

    for name in ("below-1", "above-2"):
        (tmp_path / "layers" / name).mkdir(parents=True)
        (tmp_path / "layers" / name / "file").write_text(name)
        with tarfile.open(tmp_path / name, "w") as layer:
            layer.add(tmp_path / "layers" / name, f"layers/{name}")
    sent = io.BytesIO()
    files = {"token": (tmp_path / "layers" / "below-1" / "file", 0o600)}
    stream.write(sent, files, [tmp_path / "below-1", tmp_path / "above-2"], frozenset({"below-1"}))
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["tar", "-xi", "-C", target, "-f", "-"], input=sent.getvalue(), check=True)
    assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == {
        "token",
        "layers/above-2/file",
    }
    assert (target / "token").stat().st_mode & 0o777 == 0o600


PCT = """#!/bin/sh
call=$(ls {notes} | grep -c words)
for word; do printf '%s\\0' "$word"; done >{notes}/$call.words
cat >{notes}/$call.stdin
case "$*" in
    *"sh -s") printf '%s\\n' entered=yes python=3.13 machine=x86_64 glibc=2.41 systemd=yes 'layers=*' ;;
esac
"""
UNPACK = (
    "set -e; umask 022; rm -rf /opt/certagent/incoming; mkdir -p /opt/certagent/incoming; tar -xi --no-same-owner"
    ' -C /opt/certagent/incoming -f -; exec sh /opt/certagent/incoming/apply "$@"'
)


class Pct:
    """What was asked of a `pct` that writes it down, and answers as a container of Debian 13 would."""

    def __init__(self, folder: Path) -> None:
        self._notes = folder / "notes"
        self._notes.mkdir()
        program = folder / "pct"
        program.write_text(PCT.format(notes=self._notes))
        program.chmod(0o755)

    def calls(self) -> list[list[str]]:
        """Its arguments, a call after the other."""
        return [path.read_text().split("\0")[:-1] for path in sorted(self._notes.glob("*.words"))]

    def sent(self, call: int) -> bytes:
        """What that call got to read."""
        return (self._notes / f"{call}.stdin").read_bytes()


@pytest.fixture
def pct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pct:
    """The first `pct` on the path; nobody had a Proxmox at hand. The installer's cache is empty."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Pct(tmp_path)


def test_on_proxmox_the_first_time_it_is_two_pct_execs(pct: Pct, tmp_path: Path) -> None:
    """The exact commands: what is it like, and then all of it as one stream."""
    for name in ("config", "token", "root"):
        (tmp_path / name).write_text(name)
    names = ("dependencies-py313", "certagent-py313")
    words = ["102", "--role", "agent", "--config", str(tmp_path / "config"), "--token", str(tmp_path / "token")]
    _with_pct(*words, "--root-ca", str(tmp_path / "root"), "--bundle", str(_bundle(tmp_path, *names)))
    assert pct.calls() == [
        ["exec", "102", "--", "sh", "-s"],
        ["exec", "102", "--", "sh", "-c", UNPACK, "apply", "agent", *names, "no"],
    ]
    assert pct.sent(0) == (INSTALLER.parent / "probe.sh").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(pct.sent(1)), ignore_zeros=True) as sent:
        modes = {member.name: member.mode for member in sent.getmembers()}
    units = {"certagent-agent.service": 0o644, "certagent-collector.service": 0o644}
    small = {"launcher": 0o755, "apply": 0o755, "placeholder": 0o644, "config": 0o644, "token": 0o600}
    assert modes == {**units, **small, "root_ca.crt": 0o644, **{f"layers/{name}": 0o644 for name in names}}


@pytest.mark.parametrize("what", ["roll-back", "uninstall"])
def test_on_proxmox_a_way_back_is_one_pct_exec(pct: Pct, what: str) -> None:
    """The exact command; what is there already is all that it needs."""
    _with_pct("102", f"--{what}")
    assert pct.calls() == [["exec", "102", "--", "sh", "-c", UNPACK, "apply", what]]
    with tarfile.open(fileobj=io.BytesIO(pct.sent(0))) as sent:
        assert sent.getnames() == ["apply"]


def _with_pct(*words: str) -> None:
    command = [sys.executable, str(INSTALLER), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _bundle(folder: Path, *names: str) -> Path:
    """A bundle for Debian 13 whose layers are one small file each."""
    entry = {"python": "3.13", "glibc": "2.41", "machine": "x86_64", "compiled": False, "layers": names}
    (folder / "manifest.json").write_text(json.dumps([entry]))
    for name in names:
        with tarfile.open(folder / name, "w") as layer:
            layer.add(folder / "manifest.json", f"layers/{name}")
    with tarfile.open(folder / "bundle.tar.gz", "w:gz") as archive:
        for name in ("manifest.json", *names):
            archive.add(folder / name, name)
    return folder / "bundle.tar.gz"


def test_a_bundle_for_another_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence; and something else than a bundle is said to be none."""
    monkeypatch.syspath_prepend(str(INSTALLER.parent))
    import bundle
    import offline
    from transport import Facts

    made = tmp_path / "bundle.tar.gz"
    entry = {"python": "3.11", "glibc": "2.36", "machine": "x86_64", "compiled": True, "layers": []}
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    with tarfile.open(made, "w:gz") as archive:
        archive.add(tmp_path / "manifest.json", "manifest.json")
    assert offline.find(made, Facts.of("3.11", "x86_64", "2.41")) == ([], True)
    for python, glibc in (("3.13", "2.41"), ("3.11", "2.31")):
        with pytest.raises(bundle.Failed, match="holds nothing for Python"):
            offline.find(made, Facts.of(python, "x86_64", glibc))
    with pytest.raises(bundle.Failed, match="is no bundle"):
        offline.find(tmp_path / "manifest.json", Facts.of("3.11", "x86_64", "2.36"))


@pytest.fixture(scope="module")
def client(bare: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node that has nothing of certagent's, and a configuration for it."""
    configuration = tmp_path_factory.mktemp("client") / "agent.toml"
    configuration.write_text(AGENT)
    return configuration


@pytest.mark.lab
def test_it_installs_where_nothing_is_and_then_changes_nothing(client: Path) -> None:
    """All of it is streamed in; a second time says nothing and restarts nothing; a new configuration restarts."""
    first = _install("client", "--role", "agent", "--config", str(client))
    assert "restarted certagent-agent.service" in first.stdout
    assert inside("client", "certagent", "--version").startswith("certagent, version ")
    assert inside("client", "systemctl", "is-active", "certagent-agent").strip() == "active"
    pid = _pid()
    assert _install("client").stdout == ""
    assert _install("client", "--role", "agent", "--config", str(client)).stdout == ""
    assert _pid() == pid
    client.write_text(AGENT + '\n[dns]\nnameservers = ["10.0.0.153"]\n')
    changed = _install("client", "--role", "agent", "--config", str(client))
    assert changed.stdout.splitlines() == [
        "client: wrote /etc/certagent/agent.toml",
        "client: restarted certagent-agent.service",
    ]
    assert _pid() != pid


@pytest.mark.lab
def test_a_wrong_configuration_is_told_by_the_installer(client: Path, tmp_path: Path) -> None:
    """The service's own sentence reaches the person who installs."""
    wrong = tmp_path / "agent.toml"
    wrong.write_text(AGENT + "\n[agents]\n")
    done = _install("client", "--role", "agent", "--config", str(wrong), check=False)
    assert done.returncode == 1
    assert "agents" in done.stderr


@pytest.mark.lab
def test_a_node_without_python_is_refused_in_a_sentence(bare: None) -> None:
    """Nothing is sent, nothing is left."""
    inside("vm1001", "mv", "/usr/bin/python3", "/usr/bin/python3.away")
    try:
        done = _install("vm1001", "--role", "agent", "--config", str(TREE / "pyproject.toml"), check=False)
    finally:
        inside("vm1001", "mv", "/usr/bin/python3.away", "/usr/bin/python3")
    assert done.returncode == 1
    assert done.stderr == "vm1001: needs Python 3.11 or newer and has none (apt install python3)\n"
    assert lab("exec", "vm1001", "--", "ls", "/opt/certagent", check=False).returncode != 0


@pytest.mark.lab
def test_a_node_that_does_not_run_is_refused(bare: None) -> None:
    """One sentence, whatever the transport says."""
    done = _install("lxc999", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("lxc999: ")


def _install(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    way = ["--transport", "lxc-attach", "--lxcpath", str(CONTAINERS)]
    done = subprocess.run(
        [sys.executable, str(INSTALLER), *words, *way], capture_output=True, text=True, timeout=300, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def _pid() -> str:
    return inside("client", "systemctl", "show", "-p", "MainPID", "--value", "certagent-agent").strip()
