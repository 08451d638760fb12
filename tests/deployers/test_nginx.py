"""What is asked of nginx's own programs, and what their words become. nginx itself is met in the lab."""

import os
from pathlib import Path

import pytest

from certagent.config import NginxTarget
from certagent.deployers import make_target
from certagent.deployers.target import Target

SAID = """nginx: [warn] conflicting server name "a" on 0.0.0.0:80, ignored
nginx: [emerg] cannot load certificate "/etc/nginx/ssl/gateway.crt": No such file or directory
nginx: configuration file /etc/nginx/nginx.conf test failed"""


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A configured nginx."""
    return make_target("gateway", NginxTarget(certificate=tmp_path / "gateway.crt", key=tmp_path / "gateway.key"))


def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> Path:
    """What is found as `nginx` and as `systemctl`: notes its arguments, says what nginx said, ends so."""
    (tmp_path / "said").write_text(SAID)
    for name in ("nginx", "systemctl"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/asked\ncat {tmp_path}/said\nexit {status}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "asked"


async def test_a_configuration_that_nginx_refuses_is_told_in_its_words(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line that is no mere warning, and all of it as evidence."""
    asked = _program(tmp_path, monkeypatch, status=1)
    fault = await target.validate()
    assert fault is not None
    assert fault.code == "deploy.validate_failed"
    assert fault.explanation == (
        "nginx does not accept its configuration: nginx -t -q ended with 1:"
        ' nginx: [emerg] cannot load certificate "/etc/nginx/ssl/gateway.crt": No such file or directory'
    )
    assert fault.detail["output"] == SAID
    assert asked.read_text() == "nginx -t -q\n"


@pytest.mark.parametrize(("booted", "asked"), [(True, "systemctl reload nginx\n"), (False, "nginx -s reload\n")])
async def test_it_is_reloaded_through_systemd_where_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, booted: bool, asked: str
) -> None:
    """Elsewhere by its own signal."""
    monkeypatch.setattr("certagent.deployers.nginx._BOOTED_BY_SYSTEMD", tmp_path if booted else tmp_path / "none")
    noted = _program(tmp_path, monkeypatch, status=0)
    target = make_target("gateway", NginxTarget(certificate=tmp_path / "gateway.crt", key=tmp_path / "gateway.key"))
    assert await target.validate() is None
    noted.unlink()
    assert await target.reload() is None
    assert noted.read_text() == asked
