"""TLS that begins by another protocol's words: against servers that really begin it, one of them PostgreSQL itself."""

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from certagent.config import CommandTarget, ProofEndpoint, Starttls
from certagent.deployers.deploy import make_target
from certagent.domain.deployments import DeploymentOutcome, EndpointProof, Proof, ServedAs
from certagent.domain.diagnosis.order_result import fault_found
from certagent.proof import Prover
from certagent.system.clock import SystemClock
from certagent.system.handshake import LookOptions, probe
from certagent.system.starttls import PROTOCOLS
from tests.certificates import Authority
from tests.collector import postgresql
from tests.deployers.dies_at import Job, deploy
from tests.deployers.place import open_folder
from tests.deployers.reloads import RELOADS
from tests.fakes.starttls_servers import SCRIPTS, Script, starttls_server

pytestmark = pytest.mark.slow

NAME = "mail.internal"


@pytest.fixture
def private() -> Authority:
    """The pinned root."""
    return Authority()


@pytest.fixture
def root(private: Authority, tmp_path: Path) -> Path:
    """Its file."""
    return private.write_root(tmp_path / "root.crt")


def test_each_protocol_of_the_configuration_is_spoken() -> None:
    """And each has a server here."""
    assert set(get_args(Starttls)) == set(PROTOCOLS) == set(SCRIPTS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_handshake_follows_the_protocols_own_words(private: Authority, root: Path, protocol: str) -> None:
    """The certificate is seen and verified; without these words nothing is."""
    pair = private.issue(NAME)
    with starttls_server(protocol, pair) as port:
        seen = await probe("127.0.0.1", port, NAME, root, 10, LookOptions(starttls=protocol))
        assert (seen.fingerprint, seen.error, seen.distrust) == (pair.fingerprint, None, None)
        assert (await probe("127.0.0.1", port, NAME, root, 0.5)).leaf is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_servers_here_speak_as_openssl_expects_it(private: Authority, root: Path, protocol: str) -> None:
    """The same certificate, by `openssl s_client -starttls`."""
    pair = private.issue(NAME)
    with starttls_server(protocol, pair) as port:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-starttls", protocol, "-CAfile", str(root)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False
        )
    assert "Verify return code: 0 (ok)" in done.stdout, done.stderr


REFUSALS: list[tuple[str, Script, str]] = [
    ("smtp", [(b"", b"554 no\r\n")], "554 no"),
    ("smtp", [*SCRIPTS["smtp"][:2], (b"STARTTLS", b"454 TLS not available\r\n")], "454 TLS not available"),
    ("smtp", [(b"", b"")], "it closed the connection"),
    ("imap", [(b"", b"* BYE busy\r\n")], "it closed the connection"),
    ("pop3", [(b"", b"+OK\r\n"), (b"STLS", b"-ERR no\x1b[31m\r\n")], "-ERR no [31m"),
    ("sieve", [(b"", b'OK "ready"\r\n'), (b"STARTTLS", b'NO "no TLS"\r\n')], 'NO "no TLS"'),
    ("postgres", [(b"\0\0\0\x08", b"N")], "it has no TLS (ssl = off)"),
    ("postgres", [(b"\0\0\0\x08", b"E")], "E"),
    ("mysql", [(b"", b"\x09\0\0\0\x0a5.5\0" + b"\x01\0\0\0")], "it has no TLS"),
    ("mysql", [(b"", b"\x17\0\0\0\xff\x10\x04Too many connections")], "Too many connections"),
    (
        "ldap",
        [(b"0\x1d", b"0\x0c\x02\x01\x01x\x07\n\x01\x02\x04\x00\x04\x00")],
        "it refuses the extended request StartTLS",
    ),
    ("xmpp", [(b"<", b"<stream:stream><stream:features></stream:features>")], "it does not offer starttls"),
    ("xmpp", [SCRIPTS["xmpp"][0], (b"<starttls", b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")], "<failure"),
    ("ftp", [(b"", b"220-" + b"a" * 200_000)], "its answer is not the protocol's"),
    ("nntp", [(b"", b"200-x\r\n" * 200)], "its answer does not end"),
]


@pytest.mark.parametrize(("protocol", "script", "said"), REFUSALS, ids=[f"{one[0]}-{one[2][:12]}" for one in REFUSALS])
async def test_a_server_that_does_not_begin_tls_says_why(
    private: Authority, root: Path, protocol: str, script: Script, said: str
) -> None:
    """In its own words, made printable."""
    with starttls_server(protocol, private.issue(NAME), [*script, (b"never", b"")]) as port:
        seen = await probe("127.0.0.1", port, NAME, root, 10, LookOptions(starttls=protocol))
    assert (seen.leaf, seen.error) == (None, "tls")
    assert seen.detail.startswith(f"it does not begin TLS: {said}")


async def test_what_a_server_sends_before_tls_is_not_taken_for_tls(private: Authority, root: Path) -> None:
    """Words behind the go-ahead are in plain text: somebody on the way may have put them there."""
    script = [*SCRIPTS["smtp"][:2], (b"STARTTLS", b"220 go\r\n250 injected\r\n")]
    with starttls_server("smtp", private.issue(NAME), script) as port:
        seen = await probe("127.0.0.1", port, NAME, root, 10, LookOptions(starttls="smtp"))
    assert (seen.leaf, seen.error) == (None, "tls")


async def test_a_proof_is_spoken_as_it_is_configured(private: Authority, root: Path) -> None:
    """From `prove` to the handshake."""
    pair = private.issue(NAME)
    with starttls_server("imap", pair) as port:
        endpoint = ProofEndpoint(address=f"127.0.0.1:{port}", starttls="imap")
        proof = await Prover(root, SystemClock()).prove(pair.fingerprint, [endpoint], [NAME], timedelta(seconds=10))
    assert [one.served_as for one in proof.endpoints] == [ServedAs.PROVEN]


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    """That PostgreSQL's user can enter."""
    with open_folder() as opened:
        yield opened


@pytest.mark.servers
async def test_a_postgresql_is_renewed_proven_broken_and_rolled_back(private: Authority, folder: Path) -> None:
    """A real one, with `ssl = on`: it reads its pair on SIGHUP, and keeps the old one
    where the new key is open to a group."""
    ssl = folder / "ssl"
    ssl.mkdir(0o755)
    old = private.issue(NAME)
    pair = (ssl / "server.crt", ssl / "server.key")
    for file, content in zip(pair, (old.chain_pem, old.key_pem), strict=True):
        file.write_bytes(content)
    pair[1].chmod(0o600)
    with postgresql.running_server(pair) as server:
        job = Job(
            generation=private.issue(NAME).generation(1),
            settings=CommandTarget(
                certificate=pair[0],
                key=pair[1],
                owner="postgres",
                reader="postgres",
                command=("kill", "-HUP", str(server.process_id)),
                prove=(ProofEndpoint(address=f"127.0.0.1:{server.port}", starttls="postgres"),),
            ),
            root=private.write_root(folder / "root.crt"),
            within=20.0,
        )
        renewed = await deploy(job)
        assert (renewed.outcome, renewed.faults) == (DeploymentOutcome.PROVEN, ())
        job.generation, job.settings = (
            private.issue(NAME).generation(2),
            msgspec.structs.replace(job.settings, mode=0o640),
        )
        job.within = 2.0
        broken = await deploy(job)
        assert broken.outcome is DeploymentOutcome.ROLLED_BACK
        assert [fault.code for fault in broken.faults] == ["deploy.served_old", "deploy.rolled_back"]
        assert broken.restored is not None
        assert broken.restored.is_proven


async def test_a_port_that_begins_without_tls_is_told(private: Authority, tmp_path: Path) -> None:
    """What is served there cannot be seen as it is configured: the fix has the words."""
    private.write_root(tmp_path / "root.crt")
    settings = CommandTarget(
        certificate=tmp_path / "a.crt", key=tmp_path / "a.key", prove=("127.0.0.1:5432", "127.0.0.1:8443")
    )
    seen = [
        EndpointProof(endpoint=endpoint, server_name=NAME, served_as=ServedAs.NOTHING, error="reset")
        for endpoint in ("127.0.0.1:5432", "127.0.0.1:8443")
    ]
    generation = private.issue(NAME).generation()
    proof = Proof(fingerprint=generation.facts.fingerprint, endpoints=tuple(seen))
    (fault,) = await make_target("a", settings, RELOADS).explain(generation, proof)
    finding = fault_found("lxc101", fault)
    assert (finding.code, finding.variant) == ("deploy.unproven", "starttls")
    assert finding.fix == 'In `prove`, write 127.0.0.1:5432 as a table, with `address` and `starttls = "postgres"`.'
    known = msgspec.structs.replace(settings, prove=(ProofEndpoint(address="127.0.0.1:5432", starttls="postgres"),))
    assert await make_target("a", known, RELOADS).explain(generation, proof) == []
