"""What a finding about HAProxy tells a person to do ends the failure: each fix, done on a real HAProxy; where there is
none, on a small one."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certagent.domain.deployments import DeploymentOutcome
from certagent.domain.diagnosis.order_result import deployment_failed
from tests.deployers.dies_at import deploy
from tests.deployers.place import open_folder
from tests.deployers.real_haproxy import HaproxyScene, programs, small_haproxy

pytestmark = pytest.mark.slow

SHORT = 0.3


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """See `open_folder`."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(params=["small", pytest.param("real", marks=pytest.mark.servers)])
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> HaproxyScene:
    """With the program on the PATH, and no systemd."""
    folder = small_haproxy(tmp_path) if request.param == "small" else programs()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("certagent.deployers.haproxy._BOOTED_BY_SYSTEMD", tmp_path / "none")
    monkeypatch.setattr("certagent.deployers.haproxy.LOAD_SECONDS", 0.5)
    return HaproxyScene(tmp_path, programs=folder)


async def _fix_of(scene: HaproxyScene, code: str, variant: str, **settings: Any) -> str:
    """What a person is told when a deployment fails so, and nothing new is live."""
    deployment = await deploy(scene.job(within=SHORT, **settings))
    findings = deployment_failed("lxc101", "web", deployment)
    fixes = {(one.code, one.variant): one.fix for one in findings}
    assert (code, variant) in fixes, findings
    assert deployment.outcome is DeploymentOutcome.ROLLED_BACK
    assert scene.certificate.read_bytes() == scene.old.chain_pem + scene.old.key_pem
    return fixes[code, variant] or ""


async def _assert_over(scene: HaproxyScene, **settings: Any) -> None:
    """The next try is in place, and shown to be served."""
    deployment = await deploy(scene.job(2, **settings))
    assert (deployment.outcome, deployment.faults) == (DeploymentOutcome.PROVEN, ())


def _edit(scene: HaproxyScene, old: str, new: str) -> None:
    text = scene.haproxy.configuration.read_text()
    assert old in text
    scene.haproxy.configuration.write_text(text.replace(old, new))


async def test_a_file_that_no_listener_named_is_served_once_crt_names_it(scene: HaproxyScene) -> None:
    """`In FILE, name PEM or its folder as crt of the bind line.`"""
    other = scene.haproxy.folder / "other.pem"
    other.write_bytes(scene.certificate.read_bytes())
    _edit(scene, f"crt {scene.certificate}", f"crt {other}")
    with scene.haproxy.run():
        fix = await _fix_of(scene, "deploy.served_old", "not_named")
        assert f"In {scene.haproxy.configuration}, name {scene.certificate} or its folder as `crt`" in fix
        _edit(scene, f"crt {other}", f"crt {scene.certificate}")
        await _assert_over(scene)


async def test_a_haproxy_that_is_started_takes_it(scene: HaproxyScene) -> None:
    """`Start HAProxy with that file and -W or -Ws, or correct configuration.`"""
    assert "Start HAProxy with that file and -W" in await _fix_of(scene, "deploy.reload_failed", "no_haproxy")
    with scene.haproxy.run():
        await _assert_over(scene)


async def test_a_configuration_that_is_corrected_names_the_one_that_runs(scene: HaproxyScene, tmp_path: Path) -> None:
    """The other half of the same fix."""
    other = tmp_path / "other.cfg"
    other.write_text(scene.haproxy.configuration.read_text())
    with scene.haproxy.run():
        fix = await _fix_of(scene, "deploy.reload_failed", "no_haproxy", configuration=other)
        assert "or correct `configuration`" in fix
        await _assert_over(scene, configuration=scene.haproxy.configuration)


@pytest.mark.parametrize("is_admin", [True, False], ids=["level admin", "no socket"])
async def test_what_the_runtime_api_refused_is_taken(scene: HaproxyScene, is_admin: bool) -> None:
    """`Give that socket level admin ..., or remove socket, so that HAProxy is reloaded instead.`"""
    _edit(scene, "level admin", "level operator")
    with scene.haproxy.run():
        fix = await _fix_of(scene, "deploy.reload_failed", "runtime_api", socket=scene.haproxy.socket)
        assert "level admin" in fix
        assert "remove `socket`" in fix
        if not is_admin:
            await _assert_over(scene)
            return
    _edit(scene, "level operator", "level admin")
    with scene.haproxy.run():
        await _assert_over(scene, socket=scene.haproxy.socket)


# A real one takes the second reload after a failed one only later; whether that is its way or ours is not known yet.
@pytest.mark.parametrize("scene", ["small"], indirect=True)
async def test_a_reload_is_taken_once_what_its_log_says_is_corrected(scene: HaproxyScene, tmp_path: Path) -> None:
    """`Check HAProxy's log`: an address is taken, which `haproxy -c` does not see; the old worker goes on."""
    with socket.create_server(("127.0.0.1", 0)) as taken, scene.haproxy.run():
        port = taken.getsockname()[1]
        line = f"  bind 127.0.0.1:{port} ssl crt {scene.certificate}\n"
        _edit(scene, "  default_backend", f"{line}  default_backend")
        assert "Check HAProxy's log" in await _fix_of(scene, "deploy.reload_no_effect", "haproxy")
        assert (tmp_path / "haproxy.log").read_text()
        _edit(scene, line, "")
        await _assert_over(scene)


async def test_a_line_that_haproxy_rejected_is_corrected(scene: HaproxyScene) -> None:
    """`Fix what HAProxy names.`"""
    with scene.haproxy.run():
        _edit(scene, "  mode tcp\n", "  mode tcp\n  nonsense\n")
        assert "Fix what HAProxy names" in await _fix_of(scene, "deploy.validate_failed", "haproxy")
        _edit(scene, "  nonsense\n", "")
        await _assert_over(scene)


async def test_a_haproxy_that_is_on_the_path_is_asked(scene: HaproxyScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Put HAProxy's program on the agent's PATH.`"""
    path = os.environ["PATH"]
    with scene.haproxy.run():
        monkeypatch.setenv("PATH", str(scene.haproxy.folder))
        assert "on the agent's PATH" in await _fix_of(scene, "deploy.validate_failed", "haproxy_not_started")
        monkeypatch.setenv("PATH", path)
        await _assert_over(scene)
