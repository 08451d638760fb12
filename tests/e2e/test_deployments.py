"""Deployments that do not take, on the real nginx and the real Traefik: the old pair stays valid and served, the
finding says why, and when the cause is gone the same pair goes live by itself, without a new order."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deploy.lab.places import NODES
from deploy.story import witness
from tests.e2e.fleet import TRAEFIK, until

pytestmark = pytest.mark.lab

NGINX = "nginx.internal.thinkheads.ai"
_SSL = "/etc/nginx/ssl"
_EXTRA = "/etc/nginx/conf.d/extra.conf"


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _served(node: str) -> str:
    return witness.served(*(("10.0.0.153", NGINX) if node == "lxc101" else ("10.0.0.12", TRAEFIK)))


def _renew(node: str) -> tuple[str, list[dict[str, Any]]]:
    """(outcome, findings) of a renewal that is asked for."""
    _, document = witness.certagent(node, "renew", "--force")
    (one,) = document["certificates"]
    return one["outcome"], one["findings"]


def _codes(findings: list[dict[str, Any]]) -> list[str]:
    return [one["code"] for one in findings if one["severity"] in ("fatal", "error")]


def _newest(node: str, name: str) -> str:
    folder = f"/var/lib/certagent/certificates/{name}/generations"
    chain = f'{folder}/"$(ls {folder} | sort -n | tail -n1)"/fullchain.pem'
    shown = _sh(node, f"openssl x509 -in {chain} -noout -fingerprint -sha256")
    return shown.strip().partition("=")[2].replace(":", "").lower()


@contextmanager
def _recovers_without_an_order(node: str, name: str) -> Iterator[str]:
    """Inside: broken, and then mended; the agent may see that at once. Until then the pair from before is served, which
    it gives; afterwards the newest one, and the CA was not asked again."""
    before = _served(node)
    yield before
    ordered = witness.orders()
    newest = _newest(node, name)
    assert newest != before

    def is_served() -> bool:
        return _served(node) == newest

    until(f"{newest} is served", 90, is_served)
    assert witness.orders() == ordered


@pytest.fixture
def nginx(green: None) -> Iterator[None]:
    """The gateway's own files, as they were."""
    yield
    _sh("lxc101", f"rm -f {_EXTRA}; nginx -t -q && systemctl reload nginx")


def test_a_reload_that_nginx_does_not_take(nginx: None) -> None:
    """`nginx -t` and the reload say that all is well; nginx cannot have a port and keeps everything as it was."""
    with _recovers_without_an_order("lxc101", "gateway") as before:
        _sh("lxc101", f"echo 'server {{ listen 127.0.0.1:5002; return 204; }}' > {_EXTRA}")
        outcome, findings = _renew("lxc101")
        assert outcome == "failed"
        assert _codes(findings)[0] == "deploy.reload_no_effect", findings
        assert {"deploy.served_old", "deploy.rolled_back"} <= set(_codes(findings))
        assert "bind() to 127.0.0.1:5002 failed (98: Address already in use)" in findings[0]["explanation"]
        assert findings[0]["culprit"]["file"] == "/var/log/nginx/error.log"
        (back,) = [one for one in findings if one["code"] == "deploy.rolled_back"]
        assert "is served again" in back["explanation"]
        assert _served("lxc101") == before
        _sh("lxc101", f"rm {_EXTRA}")


def test_a_configuration_that_nginx_refuses(nginx: None) -> None:
    """The line that it names is the culprit; it was not even reloaded."""
    with _recovers_without_an_order("lxc101", "gateway") as before:
        _sh("lxc101", f"printf '# mine\\nserver {{\\n    lissten 81;\\n}}\\n' > {_EXTRA}")
        outcome, findings = _renew("lxc101")
        assert outcome == "failed"
        (refused,) = [one for one in findings if one["code"] == "deploy.validate_failed"]
        assert (refused["culprit"]["file"], refused["culprit"]["line"]) == (_EXTRA, 3)
        assert _served("lxc101") == before
        _sh("lxc101", f"rm {_EXTRA}")


@pytest.fixture
def small_disk(nginx: None) -> Iterator[None]:
    """The folder of nginx's pair on a small file system of its own."""
    mount = f"mount -t tmpfs -o size=256k,mode=0755 tmpfs {_SSL}"
    _sh("lxc101", f"cp -a {_SSL} /root/ssl && {mount} && cp -a /root/ssl/. {_SSL}/")
    yield
    _sh("lxc101", f"rm -rf /root/ssl && cp -a {_SSL} /root/ssl && umount {_SSL}")
    _sh("lxc101", f"rm -rf {_SSL}/.certagent-gateway; cp -a /root/ssl/. {_SSL}/; rm -r /root/ssl")


def test_a_full_disk(small_disk: None) -> None:
    """Half a pair is never there, and room is all it takes."""
    with _recovers_without_an_order("lxc101", "gateway") as before:
        _sh("lxc101", f"dd if=/dev/zero of={_SSL}/filler bs=4k 2>/dev/null || true")
        outcome, findings = _renew("lxc101")
        assert (outcome, _codes(findings)) == ("failed", ["deploy.disk_full"])
        assert _served("lxc101") == before
        _sh("lxc101", f"openssl x509 -in {_SSL}/gateway.crt -noout && rm {_SSL}/filler")


def test_a_target_that_cannot_be_written_withholds_the_order(small_disk: None) -> None:
    """Read-only: nothing is ordered that could not be put anywhere."""
    before, ordered = _served("lxc101"), witness.orders()
    _sh("lxc101", f"mount -t tmpfs -o remount,ro tmpfs {_SSL}")
    try:
        outcome, findings = _renew("lxc101")
        assert (outcome, _codes(findings)[:1]) == ("blocked", ["deploy.unwritable"])
        assert findings[0]["culprit"]["file"].startswith(_SSL)
    finally:
        _sh("lxc101", f"mount -t tmpfs -o remount,rw tmpfs {_SSL}")
    assert (_served("lxc101"), witness.orders()) == (before, ordered)
    assert _renew("lxc101")[0] in ("done", "found")


def test_an_owner_outside_of_the_id_map_is_explained(nginx: None) -> None:
    """The host gave the folder to its own root: here it is nobody's, and not even root may write to it."""
    shelf = NODES / "lxc101" / "root" / _SSL.lstrip("/") / ".certagent-gateway"
    owner = shelf.stat()
    os.chown(shelf, 0, 0)
    try:
        outcome, findings = _renew("lxc101")
        assert (outcome, _codes(findings)[:1]) == ("blocked", ["deploy.unmapped_owner"])
        assert "belongs to nobody here" in findings[0]["explanation"]
    finally:
        os.chown(shelf, owner.st_uid, owner.st_gid)
    assert _renew("lxc101")[0] in ("done", "found")


@pytest.fixture
def traefik(green: None) -> Iterator[None]:
    """Traefik's own files, as they were."""
    yield
    _sh("lxc102", _AS_BEFORE)


_ELSEWHERE = """
set -e
cp -a /etc/traefik/dynamic /etc/traefik/elsewhere
sed -i 's|/etc/traefik/dynamic|/etc/traefik/elsewhere|' /etc/traefik/traefik.yml
systemctl restart traefik
"""
_AS_BEFORE = """
sed -i 's|/etc/traefik/elsewhere|/etc/traefik/dynamic|' /etc/traefik/traefik.yml
rm -rf /etc/traefik/elsewhere
systemctl start traefik
"""


def _is_ready() -> bool:
    """A rehearsal passes, which takes all that Traefik loads at its start."""
    return witness.inside("lxc102", "certagent", "check", check=False).returncode == 0


def test_traefik_watches_another_folder(traefik: None) -> None:
    """It goes on serving what it has; its API says that it never loaded the new one. Stopped, it serves nothing, and
    that is told, too; started rightly, it serves the very same pair."""
    with _recovers_without_an_order("lxc102", "traefik") as before:
        _sh("lxc102", _ELSEWHERE)
        until("Traefik has loaded what it watches", 30, _is_ready)
        outcome, findings = _renew("lxc102")
        assert outcome == "failed", findings
        assert _codes(findings)[0] == "deploy.traefik_not_loaded", findings
        assert findings[0]["culprit"]["file"] == "/etc/traefik/dynamic/certagent-traefik.yml"
        assert "deploy.served_old" in _codes(findings)
        assert _served("lxc102") == before
        _sh("lxc102", "systemctl stop traefik")
        outcome, findings = _renew("lxc102")
        assert outcome == "failed"
        assert "deploy.not_served" in _codes(findings), findings
        _sh("lxc102", _AS_BEFORE)
        until("Traefik has loaded what it watches", 30, _is_ready)


def test_an_address_that_another_process_serves(nginx: None) -> None:
    """Whoever listens there is named; nginx, which took the new pair, goes back as well."""
    configuration = "/etc/certagent/agent.toml"
    _sh("lxc101", f'sed -i \'s|"10.0.0.153:443"|"10.0.0.153:443", "127.0.0.1:9443"|\' {configuration}')
    serve = f"openssl s_server -quiet -accept 127.0.0.1:9443 -cert {_SSL}/gateway.crt -key {_SSL}/gateway.key"
    _sh("lxc101", f"systemd-run -q --unit=squatter {serve}; systemctl restart certagent-agent")
    try:
        with _recovers_without_an_order("lxc101", "gateway") as before:
            outcome, findings = _renew("lxc101")
            assert outcome == "failed"
            (seen,) = [one for one in findings if one["code"] == "deploy.served_old"][:1]
            assert "openssl (process " in seen["explanation"]
            assert "listens there" in seen["explanation"]
            assert _served("lxc101") == before
            _sh("lxc101", f"systemctl stop squatter; sed -i 's|, \"127.0.0.1:9443\"||' {configuration}")
            _sh("lxc101", "systemctl restart certagent-agent")
    finally:
        _sh("lxc101", f"systemctl stop squatter 2>/dev/null || true; sed -i 's|, \"127.0.0.1:9443\"||' {configuration}")
