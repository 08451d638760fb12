"""The image for container hosts, built here and run by podman: not as root, on a file system that it cannot write."""

import gzip
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import pytest

from deploy.lab.places import TREE
from deploy.release.__main__ import IMAGE, build
from deploy.release.container_image import NAME, USER
from deploy.release.revision import Failed, Revision
from tests.certificates import Authority
from tests.e2e.fleet import until
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.servers]

VERSION = "9.9.9"
_EPOCH = 1790000000
_AGENT = """
[agent]
name = "imaged"
state = "/var/lib/certagent"

[authority]
directory = "https://ca.test:9000/acme/acme/directory"
root = "/etc/certagent/root_ca.crt"
addresses = ["127.0.0.1"]
"""


_LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=1000:1000")
"""Podman's own are higher than this machine may let anybody have."""


class Podman:
    """Podman with a storage of its own, on a machine that may have no systemd and lets nobody raise limits."""

    def __init__(self, folder: Path) -> None:
        self._command = (
            *("podman", "--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"),
            *("--cgroup-manager", "cgroupfs", "--runtime", "runc"),
        )

    def __call__(self, *words: str) -> str:
        """What it prints."""
        done = self.try_to(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_to(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same, whatever becomes of it."""
        command = [*self._command, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def load(self, archive: Path) -> None:
        """As the documents say: not every podman unpacks it itself."""
        plain = archive.with_suffix("")
        with gzip.open(archive) as packed, plain.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
        self("load", "--quiet", "--input", str(plain))
        plain.unlink()

    def run(self, name: str, etc: Path, data: Path, *words: str, user: str | None = None) -> None:
        """In the background, with those folders."""
        mounts = ("--volume", f"{etc}:/etc/certagent:ro", "--volume", f"{data}:/var/lib/certagent")
        options = (*_LIMITS, "--read-only", "--network", "host", "--health-interval", "disable", *mounts)
        as_user = ("--user", user) if user is not None else ()
        self("run", "--detach", "--name", name, *options, *as_user, f"{NAME}:{VERSION}", *words)

    def is_healthy(self, name: str) -> bool:
        """By the image's own check."""
        return self.try_to("healthcheck", "run", name).returncode == 0

    def inside(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in the container."""
        return self.try_to("exec", name, *words)


@pytest.mark.timeout(900)
def test_the_image_runs_a_collector_and_an_agent(tmp_path: Path) -> None:
    """Built without a registry; not root; nothing but its volume can be written; what it keeps outlives it."""
    release = tmp_path / "release"
    revision = Revision(VERSION, _EPOCH, None, None)
    list(build(revision, TREE, [IMAGE], release, bundles=False, with_image=True))
    (archive,) = release.glob("*-image-amd64.tar.gz")
    print(f"{archive.name}: {archive.stat().st_size / 2**20:.0f} MiB")
    with tempfile.TemporaryDirectory(prefix="podman-") as storage:  # its path has to be short
        podman = Podman(Path(storage))
        podman.load(archive)
        (image,) = json.loads(podman("image", "inspect", f"{NAME}:{VERSION}"))
        assert image["Config"]["User"] == f"{USER}:{USER}"
        assert image["Labels"]["org.opencontainers.image.version"] == VERSION
        try:
            _judge_collector(podman, tmp_path)
            _judge_agent(podman, tmp_path)
        finally:
            podman("rm", "--all", "--force", "--time", "0")


def _judge_collector(podman: Podman, folder: Path) -> None:
    etc, data, port = folder / "collector", folder / "data", free_port()
    authority = _collector_in(etc, port)
    _folder_of(data, USER)
    podman.run("collector", etc, data)
    until("the collector is healthy", 60, lambda: podman.is_healthy("collector"))
    assert podman.inside("collector", "id", "-u").stdout.strip() == str(USER)
    assert podman.inside("collector", "touch", "/usr/x", "/etc/certagent/x").stderr.count("Read-only file system") == 2
    added = podman.inside("collector", "certagent", "token", "add", "ops", "--role", "operator", "--json")
    token = json.loads(added.stdout)["token"]
    assert _answers(authority, port, token) == 200
    assert podman.try_to("stop", "--time", "20", "collector").returncode == 0
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "collector").strip() == "0"
    assert not podman.is_healthy("collector")
    podman("rm", "collector")
    podman.run("again", etc, data)
    until("the next one is healthy", 60, lambda: podman.is_healthy("again"))
    assert _answers(authority, port, token) == 200
    podman("rm", "--force", "--time", "0", "again")


def _judge_agent(podman: Podman, folder: Path) -> None:
    etc, state = folder / "agent", folder / "state"
    etc.mkdir()
    (etc / "root_ca.crt").write_bytes(Authority().root_pem)
    (etc / "agent.toml").write_text(_AGENT, encoding="utf-8")
    _folder_of(state, 0)
    podman.run("agent", etc, state, "agent", user="0")
    until("the agent is healthy", 60, lambda: podman.is_healthy("agent"))
    assert json.loads(podman.inside("agent", "certagent", "status", "--json").stdout)["agent"] == "imaged"
    assert podman.try_to("stop", "--time", "20", "agent").returncode == 0
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "agent").strip() == "0"


def _collector_in(etc: Path, port: int) -> Authority:
    """Its configuration and a pair that its user can read."""
    authority = Authority()
    pair = authority.issue("collector.test", "127.0.0.1")
    etc.mkdir(mode=0o755)
    (etc / "collector.crt").write_bytes(pair.chain_pem)
    (etc / "collector.key").write_bytes(pair.key_pem)
    (etc / "collector.toml").write_text(
        f'url = "https://collector.test:{port}"\n[server]\nlisten = "0.0.0.0:{port}"\n'
        'certificate = "/etc/certagent/collector.crt"\nkey = "/etc/certagent/collector.key"\n'
        '[store]\nurl = "sqlite:////var/lib/certagent/collector.db"\n',
        encoding="utf-8",
    )
    for file in etc.iterdir():
        os.chown(file, USER, USER)
    return authority


def _folder_of(path: Path, user: int) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, user, user)


def _answers(authority: Authority, port: int, token: str) -> int:
    """The status of an operator's question, by TLS."""
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}/v1/agents", headers={"Authorization": f"Bearer {token}"}
    )
    context = ssl.create_default_context(cadata=authority.root_pem.decode())
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
        return int(answer.status)


def test_an_image_needs_its_package(tmp_path: Path) -> None:
    """It is made of that for Debian 13."""
    with pytest.raises(Failed, match="the image is made of the package debian-13-amd64, which is not built"):
        list(build(Revision(VERSION, _EPOCH, None, None), TREE, [], tmp_path / "release", with_image=True))
