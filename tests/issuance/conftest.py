"""A real step-ca on loopback, and a warm account at it."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from ssl import create_default_context

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from certagent.issuance.acme_client import AcmeClient
from certagent.issuance.solvers.responders import Http01Responder
from certagent.system.clock import SystemClock
from tests.certificates import Authority as PrivateAuthority
from tests.fakes.stores import MemoryAccounts, MemoryOrders
from tests.ports import free_port

START_SECONDS = 30.0


class StepCa(msgspec.Struct, kw_only=True):
    """A CA that fetches challenges from `challenge_port` (by TLS from `tls_port`) of whatever it is told to certify."""

    directory: str
    address: str
    root: Path
    port: int
    challenge_port: int
    tls_port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = [str(step_ca_binary()), "ca.json", "--insecure", f"--acme-http-port={self.challenge_port}"]
        arguments.append(f"--acme-tls-port={self.tls_port}")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(arguments, cwd=self.log.parent, stdout=log, stderr=log)
        _wait_until_answered(f"https://{self.address}:{self.port}/health", self.log.parent, self.process)

    def stop(self) -> None:
        """End it; what it keeps is kept."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)

    def forget(self) -> None:
        """Lose the database, accounts and orders with it."""
        shutil.rmtree(self.log.parent / "db")

    def count(self, what: str) -> int:
        """How many requests the CA's own log has for paths that end so: "new-order", "finalize", "new-account"."""
        return len(re.findall(rf" path=\S*/{what} ", self.log.read_text()))


def step_ca_binary() -> Path:
    """CERTAGENT_STEP_CA, `step-ca` on PATH, or the cache's. Never skipped: without a CA nothing is shown."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "certagent" / "bin" / "step-ca"
    for candidate in (os.environ.get("CERTAGENT_STEP_CA"), shutil.which("step-ca"), str(cache)):
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate)
    pytest.fail(f"no step-ca: set CERTAGENT_STEP_CA, put it on PATH, or at {cache} (./tests/run does)")


@pytest.fixture(scope="session")
def start_step_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., StepCa]]:
    """Starts CAs, each with a database of its own; all end with the session."""
    running: list[StepCa] = []

    def start(
        *,
        address: str = "127.0.0.1",
        policy: dict[str, object] | None = None,
        challenges: tuple[str, ...] = (),
        claims: dict[str, object] | None = None,
        options: dict[str, object] | None = None,
    ) -> StepCa:
        provisioner: dict[str, object] = {
            "type": "ACME",
            "name": "acme",
            **({"challenges": challenges} if challenges else {}),
            **({"claims": claims} if claims else {}),
            **(options or {}),
        }
        authority: dict[str, object] = {"provisioners": [provisioner], **({"policy": policy} if policy else {})}
        ca = _configure(tmp_path_factory.mktemp("step-ca"), address, authority)
        ca.start()
        running.append(ca)
        return ca

    yield start
    for ca in running:
        ca.stop()


@pytest.fixture(scope="session")
def step_ca(start_step_ca: Callable[..., StepCa]) -> StepCa:
    """The one that most tests share."""
    return start_step_ca()


@pytest.fixture
def accounts() -> MemoryAccounts:
    """No account yet."""
    return MemoryAccounts()


@pytest.fixture
def orders() -> MemoryOrders:
    """No order yet."""
    return MemoryOrders()


@pytest.fixture
async def authority(step_ca: StepCa, accounts: MemoryAccounts) -> AsyncIterator[AcmeClient]:
    """The CA, with an account that registers at the first order."""
    async with AcmeClient(step_ca.directory, step_ca.root, (), accounts, SystemClock()) as opened:
        yield opened


@pytest.fixture
async def listener(step_ca: StepCa) -> AsyncIterator[Http01Responder]:
    """The responder, on the port that the CA asks."""
    async with Http01Responder(f"127.0.0.1:{step_ca.challenge_port}", SystemClock()) as opened:
        yield opened


def _configure(folder: Path, address: str, authority: dict[str, object]) -> StepCa:
    private = PrivateAuthority("Step Test Root")
    key = private._key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    private.write_root(folder / "root.crt")
    (folder / "ca.key").write_bytes(key)
    port, challenge_port, tls_port = free_port(), free_port(), free_port()
    document = {
        "root": "root.crt",
        "crt": "root.crt",
        "key": "ca.key",
        "address": f"{address}:{port}",
        "dnsNames": ["localhost", address],
        "logger": {"format": "text"},
        "db": {"type": "badgerv2", "dataSource": str(folder / "db")},
        "authority": authority,
    }
    (folder / "ca.json").write_text(json.dumps(document))
    return StepCa(
        directory=f"https://localhost:{port}/acme/acme/directory",
        address=address,
        root=folder / "root.crt",
        port=port,
        challenge_port=challenge_port,
        tls_port=tls_port,
        log=folder / "log",
    )


class Pebble(msgspec.Struct, kw_only=True):
    """Let's Encrypt's CA for tests: it refuses nonces at random, validates later than it is asked, knows profiles, ARI
    and account binding. `root` is what its own TLS certificate leads to."""

    directory: str
    root: Path
    challenge_port: int
    management: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="session")
def start_pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Pebble]]:
    """Starts Pebbles; all end with the session."""
    running: list[Pebble] = []

    def start(**settings: object) -> Pebble:
        pebble = _start_pebble(tmp_path_factory.mktemp("pebble"), settings)
        running.append(pebble)
        return pebble

    yield start
    for pebble in running:
        pebble.process.terminate()
        pebble.process.wait(timeout=10)


def _start_pebble(folder: Path, settings: dict[str, object]) -> Pebble:
    private = PrivateAuthority("Pebble's TLS")
    pair = private.issue("localhost", "127.0.0.1")
    private.write_root(folder / "root.crt")
    (folder / "tls.crt").write_bytes(pair.chain_pem)
    (folder / "tls.key").write_bytes(pair.key_pem)
    port, management, challenge_port = free_port(), free_port(), free_port()
    document = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "tls.crt"),
        "privateKey": str(folder / "tls.key"),
        "httpPort": challenge_port,
        "tlsPort": free_port(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "retryAfter": {"authz": 1, "order": 1},
        "profiles": {
            "default": {"description": "the usual one", "validityPeriod": 7776000},
            "shortlived": {"description": "six days", "validityPeriod": 518400},
        },
        **settings,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": document}))
    environment = {"PATH": os.environ["PATH"], "PEBBLE_WFE_NONCEREJECT": "5", "PEBBLE_VA_NOSLEEP": "1"}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [_pebble_binary(), "-config", "pebble.json"], cwd=folder, stdout=log, stderr=log, env=environment
        )
    directory = f"https://localhost:{port}/dir"
    _wait_until_answered(directory, folder, process)
    return Pebble(
        directory=directory,
        root=folder / "root.crt",
        challenge_port=challenge_port,
        management=f"https://localhost:{management}",
        process=process,
    )


def _pebble_binary() -> str:
    """CERTAGENT_PEBBLE, as `./tests/run` sets it. Never skipped."""
    binary = os.environ.get("CERTAGENT_PEBBLE") or shutil.which("pebble")
    return binary or pytest.fail("no pebble: set CERTAGENT_PEBBLE (./tests/run does)")


def _wait_until_answered(url: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
    context = create_default_context(cafile=str(folder / "root.crt"))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, context=context, timeout=2):  # noqa: S310 -- https, on loopback
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)
    pytest.fail(f"{url} did not answer: {(folder / 'log').read_text()}")
