"""HAProxy, Caddy, PostgreSQL and Postfix in a container: found by `init`, renewed at the real CA, proven, broken,
rolled back.

On a guest of Debian 13 that has all four; each as its package starts it, reloaded through systemd.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.lab import layers, rootfs
from deploy.lab.places import CONTAINERS, TREE
from deploy.lab.processes import run
from deploy.story import witness
from tests.e2e import guest
from tests.e2e.conftest import require_lab
from tests.e2e.fleet import until

pytestmark = pytest.mark.lab

NODE, NAME, ADDRESS = guest.NODE.name, guest.NAME, guest.NODE.address
DIRECTORY = "https://ca.internal.thinkheads.ai:9000/acme/acme/directory"
_SYSTEM = replace(
    rootfs.TRIXIE, packages=(*rootfs.TRIXIE.packages, "haproxy", "caddy", "postgresql", "postfix", "openssl")
)
_RECIPE = "1"

_PLACES = {"haproxy": ("443", ""), "postgresql": ("5432", "postgres"), "postfix": ("25", "smtp")}
"""Service -> its port, and the words that begin TLS there."""
_HAPROXY = """
global
  user haproxy
  group haproxy
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend plain
  bind :80
  use_backend certagent if { path_beg /.well-known/acme-challenge/ }
frontend tls
  bind :443 ssl crt /etc/haproxy/certs/
backend certagent
  server agent 127.0.0.1:5002
"""
_CADDY = f"""
http://{NAME} {{
    handle /.well-known/acme-challenge/* {{
        reverse_proxy 127.0.0.1:5002
    }}
}}
{NAME} {{
    tls /etc/caddy/ssl/shop.crt /etc/caddy/ssl/shop.key
    respond "shop"
}}
"""
_POSTGRESQL = """
listen_addresses = '*'
ssl = on
ssl_cert_file = '/etc/postgresql/ssl/server.crt'
ssl_key_file = '/etc/postgresql/ssl/server.key'
"""
_POSTFIX = """
postconf -e inet_interfaces=all smtpd_tls_security_level=may smtpd_tls_chain_files=
postconf -e smtpd_tls_cert_file=/etc/postfix/ssl/mail.crt smtpd_tls_key_file=/etc/postfix/ssl/mail.key
"""
_PAIR = (
    f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN={NAME}"
    f" -addext subjectAltName=DNS:{NAME} -keyout {{0}}.key -out {{0}}.crt 2>/dev/null"
)
_AGENT = f"""
[agent]
name = "{NODE}"

[authority]
directory = "{DIRECTORY}"
root = "/etc/certagent/root_ca.crt"
addresses = ["10.0.0.10"]

[collector]
url = "https://collector.internal.thinkheads.ai:8843"
addresses = ["10.0.0.104"]

[[certificate]]
name = "shop"
identifiers = ["{NAME}"]
solver = {{ kind = "listener", listen = "127.0.0.1:5002" }}
"""
_TARGETS = f"""
[[certificate.deploy]]
kind = "haproxy"
certificate = "/etc/haproxy/certs/shop.pem"
prove = ["{ADDRESS}:443"]

[[certificate.deploy]]
kind = "command"
certificate = "/etc/postgresql/ssl/server.crt"
key = "/etc/postgresql/ssl/server.key"
owner = "postgres"
reader = "postgres"
command = ["systemctl", "reload", "postgresql@17-main"]
prove = [{{ address = "{ADDRESS}:5432", starttls = "postgres" }}]

[[certificate.deploy]]
kind = "command"
certificate = "/etc/postfix/ssl/mail.crt"
key = "/etc/postfix/ssl/mail.key"
command = ["systemctl", "reload", "postfix"]
prove = [{{ address = "{ADDRESS}:25", starttls = "smtp" }}]
"""
_CADDYS = f"""
[[certificate.deploy]]
kind = "command"
certificate = "/etc/caddy/ssl/shop.crt"
key = "/etc/caddy/ssl/shop.key"
group = "caddy"
reader = "caddy"
command = ["caddy", "reload", "--config", "/etc/caddy/Caddyfile", "--force"]
prove = ["{ADDRESS}:443"]
"""


def _system() -> Path:
    text = "making a root file system with HAProxy, Caddy, PostgreSQL and Postfix (once)"
    # `rootfs` itself stays as it is: a byte in it, and every lab's root file system is made anew.
    make = rootfs._make
    return layers.ensure(f"debian-services-{_RECIPE}", text, lambda layer: make(_SYSTEM, layer))


def _install(*words: str) -> str:
    installer = str(TREE / "deploy" / "lxc" / "install")
    return run([installer, NODE, *words, "--transport", "lxc-attach", "--lxcpath", str(CONTAINERS)])


@pytest.fixture(scope="module")
def services(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The four, each with a pair of its own making; the program, and a token for its agent."""
    require_lab()
    guest.bring_in(_system())
    guest.sh("systemctl disable --now caddy haproxy postgresql postfix nginx || true")
    guest.sh("mkdir -p /etc/haproxy/certs /etc/caddy/ssl /etc/postgresql/ssl /etc/postfix/ssl")
    for place in ("/root/shop", "/etc/caddy/ssl/shop", "/etc/postgresql/ssl/server", "/etc/postfix/ssl/mail"):
        guest.sh(_PAIR.format(place))
    guest.sh("cat /root/shop.crt /root/shop.key >/etc/haproxy/certs/shop.pem; chmod 600 /etc/haproxy/certs/shop.pem")
    guest.sh("chown postgres: /etc/postgresql/ssl/*; chgrp caddy /etc/caddy/ssl/*; chmod g+r /etc/caddy/ssl/*")
    guest.write("/etc/haproxy/haproxy.cfg", _HAPROXY)
    guest.write("/etc/caddy/Caddyfile", _CADDY)
    guest.sh("ls /etc/postgresql/*/main/postgresql.conf || pg_createcluster $(ls /usr/lib/postgresql) main")
    guest.sh(f"cat >$(ls -d /etc/postgresql/*/main/conf.d)/tls.conf <<'END'\n{_POSTGRESQL}END")
    guest.sh(_POSTFIX)
    guest.sh("systemctl start haproxy postgresql postfix")
    _install()
    told = witness.inside("lxc104", "certagent", "token", "add", NODE, "--json").stdout
    token = tmp_path_factory.mktemp("token") / NODE
    token.touch(mode=0o600)
    token.write_text(json.loads(told)["token"] + "\n")
    yield token
    witness.lab("down", show=True)


def _configure(targets: str, token: Path) -> None:
    guest.write("/etc/certagent/agent.toml", _AGENT + targets)
    _install("--role", "agent", "--token", str(token))
    guest.sh("systemctl restart certagent-agent")


def _served(service: str) -> str:
    """The SHA-256 of what is served there; "" for nothing."""
    port, words = _PLACES[service]
    begin = f"-starttls {words}" if words else ""
    look = f"openssl s_client -connect {ADDRESS}:{port} -servername {NAME} {begin} </dev/null 2>/dev/null"
    shown = guest.sh(f"{look} | openssl x509 -noout -fingerprint -sha256 || true")
    return shown.strip().partition("=")[2].replace(":", "").lower()


def _on_disk() -> str:
    """The SHA-256 of the newest generation; "" before the first."""
    folder = "/var/lib/certagent/certificates/shop/generations"
    chain = f'{folder}/"$(ls {folder} | sort -n | tail -n1)"/fullchain.pem'
    shown = guest.sh(f"openssl x509 -in {chain} -noout -fingerprint -sha256 2>/dev/null || true")
    return shown.strip().partition("=")[2].replace(":", "").lower()


def _renew() -> tuple[str, list[dict[str, Any]]]:
    _, document = witness.certagent(NODE, "renew", "shop", "--force")
    (one,) = document["certificates"]
    return one["outcome"], one["findings"]


def _has_ended() -> bool:
    """Whether the last renewal is over, and good: what is asked meanwhile would only finish that one."""
    _, document = witness.certagent(NODE, "status")
    (one,) = document["certificates"]
    return bool(one["last_outcome"] == "done")


def _serve(fingerprint: str) -> bool:
    return fingerprint != "" and {_served(service) for service in _PLACES} == {fingerprint}


def test_init_finds_all_four(services: Path) -> None:
    """Their files, their commands, and how a proof speaks to them; nothing is written."""
    told = guest.sh(f"certagent init --directory {DIRECTORY}")
    for section in (
        "haproxy serves /etc/haproxy/certs/shop.pem",
        "caddy serves /etc/caddy/ssl/shop.crt",
        "postgresql serves /etc/postgresql/ssl/server.crt",
        "postfix serves /etc/postfix/ssl/mail.crt",
        f'{{ address = "{ADDRESS}:5432", starttls = "postgres" }}',
        f'{{ address = "{ADDRESS}:25", starttls = "smtp" }}',
    ):
        assert section in told


def test_one_certificate_is_renewed_on_three_of_them_and_rolled_back_on_the_broken_one(services: Path) -> None:
    """First all serve it. Then HAProxy's configuration is broken: it keeps the old one, the others have the new one,
    and once it is mended the same certificate is served there, too, without a new order."""
    _configure(_TARGETS, services)
    until("all three serve the first one", 90, lambda: _serve(_on_disk()) and _has_ended())
    before = _on_disk()
    guest.sh("sed -i '1i nonsense' /etc/haproxy/haproxy.cfg")
    outcome, findings = _renew()
    assert outcome == "failed"
    (refused,) = [one for one in findings if one["code"] == "deploy.validate_failed"]
    assert (refused["culprit"]["file"], refused["culprit"]["line"]) == ("/etc/haproxy/haproxy.cfg", 1)
    newest = _on_disk()
    assert [_served(service) for service in _PLACES] == [before, newest, newest]
    ordered = witness.orders()
    guest.sh("sed -i '1d' /etc/haproxy/haproxy.cfg")
    until("HAProxy serves the newest one", 90, lambda: _serve(newest))
    assert witness.orders() == ordered


def test_a_postgresql_that_does_not_load_the_pair_is_rolled_back(services: Path) -> None:
    """Its configuration names another key: the reload is said to be good, and the old pair goes on."""
    _configure(_TARGETS, services)
    until("all three serve the newest one", 90, lambda: _serve(_on_disk()) and _has_ended())
    before = _on_disk()
    broken = "$(ls -d /etc/postgresql/*/main/conf.d)/zz.conf"
    guest.sh(f"echo \"ssl_key_file = '/etc/postfix/ssl/mail.key'\" >{broken}")
    outcome, findings = _renew()
    assert outcome == "failed"
    assert {"deploy.served_old", "deploy.rolled_back"} <= {one["code"] for one in findings}
    assert _served("postgresql") == before
    guest.sh(f"rm {broken}")
    until("all three serve the newest one", 90, lambda: _serve(_on_disk()))


def test_a_postfix_that_goes_on_with_another_pair_is_rolled_back(services: Path) -> None:
    """Its configuration names a copy that somebody made: the reload is good, and mail is served as before."""
    _configure(_TARGETS, services)
    until("all three serve the newest one", 90, lambda: _serve(_on_disk()) and _has_ended())
    before, folder = _on_disk(), "/etc/postfix/ssl"
    name = "postconf -e smtpd_tls_cert_file={0}/{1}.crt smtpd_tls_key_file={0}/{1}.key"
    guest.sh(f"cd {folder}; cp -L mail.crt pinned.crt; cp -L mail.key pinned.key; {name.format(folder, 'pinned')}")
    outcome, findings = _renew()
    assert outcome == "failed"
    assert {"deploy.served_old", "deploy.rolled_back"} <= {one["code"] for one in findings}
    assert _served("postfix") == before
    guest.sh(name.format(folder, "mail"))
    until("all three serve the newest one", 90, lambda: _serve(_on_disk()))


def test_caddy_in_place_of_haproxy(services: Path) -> None:
    """By the recipe: a command, and nothing else. A Caddyfile that it rejects is told with its line."""
    guest.sh("systemctl stop haproxy; systemctl start caddy")
    _configure(_CADDYS, services)
    until("its agent answers", 30, lambda: _renew()[0] == "done")
    until("Caddy serves the newest one", 90, lambda: _served("haproxy") == _on_disk() != "")
    before = _on_disk()
    guest.sh("sed -i 's/respond/nonsense/' /etc/caddy/Caddyfile")
    outcome, findings = _renew()
    assert outcome == "failed"
    (failed,) = [one for one in findings if one["code"] == "deploy.reload_failed"]
    assert failed["culprit"]["file"] == "/etc/caddy/Caddyfile"
    assert _served("haproxy") == before
    guest.sh("sed -i 's/nonsense/respond/' /etc/caddy/Caddyfile")
    until("Caddy serves the newest one", 90, lambda: _served("haproxy") == _on_disk())
