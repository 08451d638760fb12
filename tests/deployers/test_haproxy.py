"""Deployments to a real HAProxy: renewed, proven, broken, rolled back."""

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certagent.config import HaproxyTarget, ProofEndpoint
from certagent.deployers.deploy import make_target
from certagent.deployers.haproxy import Haproxy, _Reloaded, split_provable
from certagent.deployers.wave import Member
from certagent.domain.deployments import Deployment, DeploymentOutcome, Proof
from certagent.domain.diagnosis.order_result import fault_found
from certagent.domain.findings import Finding
from certagent.system.clock import SystemClock
from certagent.system.files import lock_file
from certagent.system.processes import ReloadCoordinator
from tests.certificates import Authority
from tests.deployers.dies_at import deploy
from tests.deployers.place import NAME, open_folder
from tests.deployers.real_haproxy import HaproxyScene, programs
from tests.deployers.reloads import RELOADS
from tests.fakes.clock import FakeClock

SHORT = 0.5


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """See `open_folder`."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> HaproxyScene:
    """With the real program on the PATH where it is needed, and no systemd."""
    if request.node.get_closest_marker("servers"):
        monkeypatch.setenv("PATH", f"{programs()}:{os.environ['PATH']}")
    monkeypatch.setattr("certagent.deployers.haproxy._BOOTED_BY_SYSTEMD", tmp_path / "none")
    return HaproxyScene(tmp_path)


def _findings(deployment: Deployment) -> list[Finding]:
    return [fault_found("lxc101", fault) for fault in deployment.faults]


@pytest.mark.servers
@pytest.mark.parametrize("by", ["reload", "runtime API"])
async def test_a_renewal_is_served(scene: HaproxyScene, by: str) -> None:
    """The file that was there is taken over; HAProxy gets a new worker by a reload, and keeps its own by its API."""
    settings: dict[str, Any] = {} if by == "reload" else {"socket": scene.haproxy.socket}
    with scene.haproxy.run():
        before = scene.haproxy.processes
        for number in (1, 2):
            job = scene.job(number, **settings)
            deployment = await deploy(job)
            assert (deployment.outcome, _findings(deployment)) == (DeploymentOutcome.PROVEN, [])
        after = scene.haproxy.processes
    assert (after.master == before.master, after.workers == before.workers) == (True, by == "runtime API")
    assert scene.certificate.read_bytes() == job.generation.key_pem + job.generation.chain_pem
    assert stat.S_IMODE(scene.certificate.stat().st_mode) == 0o600
    store = scene.certificate.parent / ".certagent-web"
    assert (store / "0" / "combined.pem").read_bytes() == scene.old.chain_pem + scene.old.key_pem
    assert [stat.S_IMODE(file.stat().st_mode) for file in sorted((store / "0").iterdir())] == [0o600] * 3
    assert os.readlink(store / "current") == os.readlink(store / "proven") == "2"


@pytest.mark.servers
async def test_a_folder_of_certificates_holds_nothing_that_haproxy_stumbles_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`crt FOLDER` loads every file in it; the generations and the lock are there as well."""
    monkeypatch.setenv("PATH", f"{programs()}:{os.environ['PATH']}")
    monkeypatch.setattr("certagent.deployers.haproxy._BOOTED_BY_SYSTEMD", tmp_path / "none")
    scene = HaproxyScene(tmp_path, is_folder=True)
    job = scene.job()
    target = make_target("web", job.settings, RELOADS)
    with lock_file(target.lock_file(), "this test"), scene.haproxy.run():
        assert target.lock_file().is_file()
        deployment = await deploy(job)
        assert (deployment.outcome, _findings(deployment)) == (DeploymentOutcome.PROVEN, [])


@pytest.mark.servers
async def test_a_configuration_that_haproxy_rejects_is_rolled_back(scene: HaproxyScene) -> None:
    """Nothing is reloaded; the culprit is the line that HAProxy names, and the old certificate goes on."""
    with scene.haproxy.run():
        configuration = scene.haproxy.configuration
        configuration.write_text(configuration.read_text().replace("  mode tcp\n", "  mode tcp\n  nonsense\n"))
        workers = scene.haproxy.processes.workers
        deployment = await deploy(scene.job())
        refused, rolled_back = _findings(deployment)
        assert workers <= scene.haproxy.processes.workers
    assert (refused.code, refused.variant) == ("deploy.validate_failed", "haproxy")
    assert refused.culprit is not None
    assert (refused.culprit.file, refused.culprit.line) == (str(configuration), 6)
    assert "unknown keyword 'nonsense'" in refused.explanation
    assert refused.explanation.startswith("HAProxy rejects its configuration: haproxy -c -f")
    assert rolled_back.code == "deploy.rolled_back"
    assert "is served again" in rolled_back.explanation
    assert scene.certificate.read_bytes() == scene.old.chain_pem + scene.old.key_pem


@pytest.mark.servers
async def test_a_file_that_no_listener_names_is_rolled_back(scene: HaproxyScene) -> None:
    """HAProxy reloads well, and serves what its `crt` names."""
    other = scene.haproxy.folder / "other.pem"
    other.write_bytes(scene.certificate.read_bytes())
    configuration = scene.haproxy.configuration
    configuration.write_text(configuration.read_text().replace(f"crt {scene.certificate}", f"crt {other}"))
    with scene.haproxy.run():
        deployment = await deploy(scene.job(within=SHORT))
    first, *rest = _findings(deployment)
    assert deployment.outcome is DeploymentOutcome.ROLLED_BACK
    assert (first.code, first.variant) == ("deploy.served_old", "not_named")
    assert first.culprit is not None
    assert first.culprit.file == str(configuration)
    assert [finding.code for finding in rest] == ["deploy.served_old", "deploy.rolled_back"]
    assert deployment.restored is not None
    assert deployment.restored.is_proven


@pytest.mark.servers
async def test_what_the_runtime_api_refuses_is_told(scene: HaproxyScene) -> None:
    """A certificate that HAProxy has not loaded cannot be replaced; nor can any without `level admin`."""
    configuration = scene.haproxy.configuration
    configuration.write_text(configuration.read_text().replace("level admin", "level operator"))
    with scene.haproxy.run():
        deployment = await deploy(scene.job(within=SHORT, socket=scene.haproxy.socket))
        assert deployment.outcome is DeploymentOutcome.ROLLED_BACK
    first = _findings(deployment)[0]
    assert (first.code, first.variant) == ("deploy.reload_failed", "runtime_api")
    assert first.explanation.endswith("Permission denied")
    assert first.fix is not None
    assert "level admin" in first.fix


async def test_a_socket_that_nobody_listens_at(scene: HaproxyScene) -> None:
    """In the kernel's words."""
    target = make_target("web", scene.job(socket=scene.haproxy.socket).settings, RELOADS)
    fault = await target.reload()
    assert fault is not None
    assert fault.variant == "runtime_api"
    assert fault_found("lxc101", fault).explanation.endswith("No such file or directory")


async def test_without_a_master_nobody_is_told(scene: HaproxyScene) -> None:
    """HAProxy is stopped, or runs with another configuration."""
    fault = await make_target("web", scene.job().settings, RELOADS).reload()
    assert fault is not None
    assert (fault.code, fault.variant, fault.file) == (
        "deploy.reload_failed",
        "no_haproxy",
        str(scene.haproxy.configuration),
    )


async def test_a_haproxy_that_is_not_installed_is_told(scene: HaproxyScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is not on the PATH."""
    monkeypatch.setenv("PATH", str(scene.haproxy.folder))
    fault = await make_target("web", scene.job().settings, RELOADS).validate()
    assert fault is not None
    assert (fault.code, fault.variant) == ("deploy.validate_failed", "haproxy_not_started")
    assert fault_found("lxc101", fault).fix == (
        "Put HAProxy's program on the agent's PATH; certagent retries automatically."
    )


async def test_many_deployments_share_a_test_and_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty certificates of one HAProxy, at once."""
    monkeypatch.setattr("certagent.deployers.haproxy._BOOTED_BY_SYSTEMD", tmp_path)
    for name in ("haproxy", "systemctl"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/asked\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    configuration = tmp_path / "haproxy.cfg"
    settings = HaproxyTarget(certificate=tmp_path / "a.pem", configuration=configuration)
    reloads = ReloadCoordinator(FakeClock())
    members = [Member(make_target(f"n{number}", settings, reloads), None, FakeClock()) for number in range(20)]
    for member in members:
        member.generation = Authority().issue(NAME).generation()
        await asyncio.to_thread(member.target.stage, member.generation)
    await asyncio.gather(*(member.go_live() for member in members))
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [f"haproxy -c -f {configuration}", "systemctl reload haproxy"]


@pytest.mark.servers
async def test_a_reload_that_it_does_not_take_is_told(scene: HaproxyScene, tmp_path: Path) -> None:
    """HAProxy was told, its old worker stayed: the service's own reload command did nothing."""
    with scene.haproxy.run():
        target = Haproxy("web", scene.job().settings, ReloadCoordinator(SystemClock()))
        target.reloaded = _Reloaded(None, scene.haproxy.processes)
        proof = Proof(fingerprint="", endpoints=())
        (fault,) = await target.explain(scene.private.issue(NAME).generation(), proof)
    assert (fault.code, fault.variant) == ("deploy.reload_no_effect", "haproxy")
    assert "kept its old worker (process" in fault_found("lxc101", fault).explanation


@pytest.mark.servers
async def test_who_reads_the_file_is_who_runs_the_master(scene: HaproxyScene) -> None:
    """Its workers have given up root; they never read it."""
    settings = scene.job().settings
    assert make_target("web", settings, RELOADS).reader() == "root"
    with scene.haproxy.run():
        assert make_target("web", settings, RELOADS).reader() == str(os.geteuid())


@pytest.mark.servers
async def test_a_bind_that_expects_the_proxy_protocol_is_not_looked_at_without(scene: HaproxyScene) -> None:
    """It would be taken for dead; the line is named. With the protocol it is proven."""
    configuration, endpoint = scene.haproxy.configuration, scene.haproxy.endpoint
    configuration.write_text(configuration.read_text().replace(" ssl crt", " accept-proxy ssl crt"))
    spoken = ProofEndpoint(address=endpoint, proxy_protocol=True)
    with scene.haproxy.run():
        kept, (fault,) = split_provable(scene.job(prove=(endpoint, "127.0.0.1:9443")).settings)
        assert (await deploy(scene.job(prove=(spoken,)))).outcome is DeploymentOutcome.PROVEN
    assert kept == ["127.0.0.1:9443"]
    finding = fault_found("lxc101", fault)
    assert (finding.code, finding.variant) == ("deploy.unproven", "haproxy")
    assert finding.culprit is not None
    assert (finding.culprit.file, finding.culprit.line) == (str(configuration), 10)
    assert split_provable(scene.job(prove=(spoken,)).settings) == ([spoken], [])
    configuration.unlink()
    assert split_provable(scene.job().settings) == ([endpoint], [])


@pytest.mark.servers
async def test_all_files_that_haproxy_is_started_with_are_tested(scene: HaproxyScene, tmp_path: Path) -> None:
    """The one that is named needs another one, and the listener is in that."""
    configuration, more = scene.haproxy.configuration, tmp_path / "more"
    head, tail = configuration.read_text().split("frontend", 1)
    more.mkdir()
    (more / "tls.cfg").write_text(f"frontend{tail}")
    configuration.write_text(f"{head}frontend plain\n  bind unix@{tmp_path}/plain\n  default_backend nobody\n")
    with scene.haproxy.run(more):
        job = scene.job()
        assert scene.haproxy.processes.files == (str(configuration), str(more))
        deployment = await deploy(job)
        assert (deployment.outcome, _findings(deployment)) == (DeploymentOutcome.PROVEN, [])
        assert (
            await make_target("web", job.settings, RELOADS).explain(job.generation, Proof(fingerprint="", endpoints=()))
            == []
        )
