"""The recipe for Caddy (docs/recipes.md) on a real one, Debian's: `kind = "command"` is all that it needs."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certagent.config import CommandTarget
from certagent.domain.deployments import DeploymentOutcome
from certagent.domain.diagnosis.order_result import fault_found
from deploy.lab.parts import proxies
from tests.certificates import Authority
from tests.deployers.dies_at import Job, deploy
from tests.deployers.place import NAME, open_folder

pytestmark = pytest.mark.servers

_PATIENCE = 30.0
_CONFIGURATION = """\
{{
  admin 127.0.0.1:{admin}
  auto_https disable_redirects
  storage file_system {folder}/storage
}}
{name}:{port} {{
  bind 127.0.0.1
  tls {folder}/web.crt {folder}/web.key
  respond "it is Caddy"
}}
"""


class _Caddy:
    """Caddy that serves a pair on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.private = Authority()
        self.root = self.private.write_root(folder / "root.crt")
        self.folder = folder
        self.admin, self.port = _free_ports(2)
        self.configuration = folder / "Caddyfile"
        self.configuration.write_text(_CONFIGURATION.format(admin=self.admin, folder=folder, name=NAME, port=self.port))
        old = self.private.issue(NAME)
        (folder / "web.crt").write_bytes(old.chain_pem)
        (folder / "web.key").write_bytes(old.key_pem)

    def job(self, number: int, *words: str, within: float = 15.0) -> Job:
        """A new certificate, loaded by the recipe's command with these words behind it."""
        where = ("--config", str(self.configuration), "--address", f"127.0.0.1:{self.admin}")
        return Job(
            generation=self.private.issue(NAME).generation(number),
            settings=CommandTarget(
                certificate=self.folder / "web.crt",
                key=self.folder / "web.key",
                command=("caddy", "reload", *where, *words),
                prove=(f"127.0.0.1:{self.port}",),
            ),
            root=self.root,
            within=within,
        )

    @contextmanager
    def run(self) -> Iterator[None]:
        """Up within the block."""
        command = [str(proxies.ensure("caddy") / "caddy"), "run", "--config", str(self.configuration)]
        environment = {**os.environ, "HOME": str(self.folder)}
        with (
            (self.folder / "caddy.log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment) as process,
        ):
            try:
                self._wait()
                yield
            finally:
                process.terminate()
                process.wait(_PATIENCE)

    def _wait(self) -> None:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < end, (self.folder / "caddy.log").read_text()
                time.sleep(0.05)
            else:
                return


def _free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in listening]
    for one in listening:
        one.close()
    return ports


@pytest.fixture
def caddy(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Caddy]:
    """With its program on the PATH."""
    monkeypatch.setenv("PATH", f"{proxies.ensure('caddy')}:{os.environ['PATH']}")
    with open_folder() as folder:
        made = _Caddy(folder)
        with made.run():
            yield made


async def test_a_renewal_is_served(caddy: _Caddy) -> None:
    """Again and again; the Caddyfile stays as it is."""
    for number in (1, 2):
        deployment = await deploy(caddy.job(number, "--force"))
        assert (deployment.outcome, deployment.faults) == (DeploymentOutcome.PROVEN, ())


async def test_without_force_caddy_reads_nothing_again(caddy: _Caddy) -> None:
    """Its configuration is the same: it says that all is well, and serves the old pair. That is why the recipe has the
    word, and why a reload is no evidence."""
    assert (await deploy(caddy.job(1, "--force"))).is_good
    deployment = await deploy(caddy.job(2, within=1.0))
    assert deployment.outcome is DeploymentOutcome.ROLLED_BACK
    assert [fault.code for fault in deployment.faults] == ["deploy.served_old", "deploy.rolled_back"]
    assert deployment.restored is not None
    assert deployment.restored.is_proven


async def test_a_configuration_that_caddy_rejects_is_rolled_back(caddy: _Caddy) -> None:
    """It goes on with what it had; its own words are told."""
    caddy.configuration.write_text(caddy.configuration.read_text().replace("  respond", "  nonsense"))
    deployment = await deploy(caddy.job(1, "--force", within=1.0))
    assert deployment.outcome is DeploymentOutcome.ROLLED_BACK
    first, *others = deployment.faults
    assert first.code == "deploy.reload_failed"
    assert (first.file, first.line) == (str(caddy.configuration), 9)
    assert fault_found("lxc101", first).explanation.endswith(
        "exited with status 1: Error: adapting config using caddyfile:"
        f" {caddy.configuration}:9: unrecognized directive: nonsense"
    )
    assert [fault.code for fault in others] == ["deploy.served_old", "deploy.rolled_back"]
    assert deployment.restored is not None
    assert deployment.restored.is_proven
