"""The installer in containers of Debian 12 and of Debian 13: the first time, from an offline bundle; upgrade and way
back of running agents; and the end. What is served stays served."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from certagent import __version__
from deploy.lab.places import CONTAINERS, TREE
from deploy.release.__main__ import build
from deploy.release.revision import Revision
from deploy.release.targets import TARGETS
from deploy.story import witness
from tests.e2e import guest as visitor
from tests.e2e.fleet import TRAEFIK, until, wait_until_green

pytestmark = pytest.mark.lab

NEWER = "9.9.9"
_INSTALLER = TREE / "deploy" / "lxc" / "install"


@dataclass(frozen=True)
class Place:
    """A node with an agent, and what it serves by which service."""

    node: str
    address: str
    name: str
    service: str
    checked: int
    """The exit status of a good check."""


DEBIAN_12 = Place("lxc102", "10.0.0.12", TRAEFIK, "traefik", checked=0)
DEBIAN_13 = Place(
    visitor.NODE.name, visitor.NODE.address, visitor.NAME, "nginx", checked=3
)  # no collector: no rehearsal

_SITE = f"""
server {{ listen 80; server_name {DEBIAN_13.name}; include snippets/certagent-challenge.conf; }}
server {{
    listen 443 ssl; server_name {DEBIAN_13.name};
    ssl_certificate /etc/nginx/ssl/shop.crt; ssl_certificate_key /etc/nginx/ssl/shop.key;
}}
"""
_SERVE = """
mkdir /etc/nginx/ssl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=placeholder \\
    -keyout /etc/nginx/ssl/shop.key -out /etc/nginx/ssl/shop.crt 2>/dev/null
systemctl start nginx
"""
_GUEST_AGENT = f"""
[agent]
name = "{DEBIAN_13.node}"

[authority]
directory = "https://ca.internal.thinkheads.ai:9000/acme/acme/directory"
root = "/etc/certagent/root_ca.crt"

[dns]
nameservers = ["10.0.0.153"]

[[certificate]]
name = "shop"
identifiers = ["{DEBIAN_13.name}"]
solver = {{ kind = "listener", listen = "127.0.0.1:5002" }}

[[certificate.deploy]]
kind = "nginx"
certificate = "/etc/nginx/ssl/shop.crt"
key = "/etc/nginx/ssl/shop.key"
prove = ["{DEBIAN_13.address}:443"]
"""


def _install(*words: str, **environment: str) -> str:
    way = ["--transport", "lxc-attach", "--lxcpath", str(CONTAINERS)] if "--make-bundle" not in words else []
    done = subprocess.run(
        [sys.executable, str(_INSTALLER), *words, *way],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _version(place: Place) -> str:
    return _sh(place.node, "certagent --version").strip()


@pytest.fixture(scope="module")
def shop(guest: None, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A container of Debian 13 with nothing of certagent's and a nginx that waits for a certificate; gives the words
    that install it there, from a bundle."""
    snippet = TREE / "deploy/nginx/certagent-challenge.conf"
    visitor.write(f"/etc/nginx/snippets/{snippet.name}", snippet.read_text())
    visitor.write("/etc/nginx/conf.d/shop.conf", _SITE)
    visitor.sh(_SERVE)
    folder = tmp_path_factory.mktemp("shop")
    (folder / "agent.toml").write_text(_GUEST_AGENT)
    told = _install("--make-bundle", str(folder / "certagent.tar.gz"))
    assert "Debian 12: Python 3.11" in told
    assert "Debian 13: Python 3.13" in told
    words = ["--role", "agent", "--config", str(folder / "agent.toml"), "--bundle", str(folder / "certagent.tar.gz")]
    _install(DEBIAN_13.node, *words, XDG_CACHE_HOME=str(folder), PIP_NO_INDEX="1")
    return [DEBIAN_13.node, *words]


@pytest.fixture(params=[DEBIAN_12, DEBIAN_13], ids=["Debian 12", "Debian 13"])
def place(request: pytest.FixtureRequest, green: None, shop: list[str]) -> Place:
    """A running agent and its service, on either Debian."""
    found: Place = request.param
    return found


@pytest.fixture
def again(place: Place, shop: list[str]) -> Callable[[], None]:
    """Installs the agent of that place once more, as it was first installed."""
    if place is DEBIAN_13:
        return lambda: print(_install(*shop))

    def by_the_lab() -> None:
        witness.lab("up")
        wait_until_green(60)

    return by_the_lab


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """This tree, one version on."""
    for name in ("certagent", "policies", "deploy", "pyproject.toml", "README.md", "LICENSE"):
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    version = tmp_path / "certagent" / "__init__.py"
    version.write_text(version.read_text().replace(__version__, NEWER))
    return tmp_path


def test_the_first_time_it_needs_nothing_that_is_not_in_the_bundle(shop: list[str]) -> None:
    """Debian 13, from a cache that was empty and with no index: a certificate is issued, served, and renewed."""
    assert visitor.sh("python3 --version").startswith("Python 3.13.")
    first = until("it is served", 60, lambda: _served(DEBIAN_13))
    status, renewed = witness.certagent(DEBIAN_13.node, "renew", "--force")
    assert status in (0, 3), renewed
    assert _served(DEBIAN_13) == renewed["certificates"][0]["fingerprint"] != first


def test_an_upgrade_and_the_way_back(place: Place, newer: Path) -> None:
    """With the agent running: it is restarted, finds everything as it was, and works, in both directions."""
    served, before = until("it is served", 60, lambda: _served(place)), _version(place)
    assert f"certagent {NEWER} is in place" in _install(place.node, "--from", str(newer))
    assert _version(place).endswith(NEWER)
    _until_it_works(place)
    assert f"certagent {__version__} is in place again" in _install(place.node, "--roll-back")
    assert _version(place) == before
    _until_it_works(place)
    assert _served(place) == served


def test_an_offline_bundle_upgrades_too(green: None, newer: Path) -> None:
    """Debian 12, from a bundle; the other Python's layers lie in it as well."""
    made = newer / "certagent.tar.gz"
    _install("--make-bundle", str(made), "--from", str(newer))
    _install(DEBIAN_12.node, "--bundle", str(made), XDG_CACHE_HOME=str(newer), PIP_NO_INDEX="1")
    assert _version(DEBIAN_12).endswith(NEWER)
    _install(DEBIAN_12.node, "--roll-back")
    _until_it_works(DEBIAN_12)


def test_the_bundle_of_a_release_upgrades_too(shop: list[str], tmp_path: Path) -> None:
    """Debian 13, from what deploy/release/build makes for a machine without an index; and the way back."""
    for_both = [TARGETS["debian-12-amd64"], TARGETS["debian-13-amd64"]]
    files = list(build(Revision(NEWER, 1790000000, None, None), TREE, for_both, tmp_path / "dist"))
    (bundle,) = (file for file in files if file.name.endswith("-offline-amd64.tar.gz"))
    _install(DEBIAN_13.node, "--bundle", str(bundle), XDG_CACHE_HOME=str(tmp_path), PIP_NO_INDEX="1")
    assert _version(DEBIAN_13).endswith(NEWER)
    _until_it_works(DEBIAN_13)
    _install(DEBIAN_13.node, "--roll-back")
    _until_it_works(DEBIAN_13)


def test_the_end_leaves_every_certificate_in_place(place: Place, again: Callable[[], None]) -> None:
    """The service does not miss it, not even at its next start; installed again, the agent goes on where it was."""
    served = until("it is served", 60, lambda: _served(place))
    try:
        assert "removed certagent-agent.service" in _install(place.node, "--uninstall")
        assert witness.inside(place.node, "certagent", "--version", check=False).returncode != 0
        assert _sh(place.node, "ls /etc/systemd/system | grep -c certagent || true").strip() == "0"
        _sh(place.node, f"systemctl restart {place.service}")
        until("it is served", 20, lambda: _served(place) == served)
    finally:
        again()
    _until_it_works(place)
    assert _served(place) == served


def _served(place: Place) -> str | None:
    try:
        return witness.served(place.address, place.name)
    except witness.Unseen:
        return None


def _until_it_works(place: Place) -> None:
    check = ("certagent", "check")
    until("a check ends well", 30, lambda: witness.inside(place.node, *check, check=False).returncode == place.checked)


@pytest.mark.parametrize("node", ["lxc101", "lxc102", "lxc103", "lxc104", DEBIAN_13.node])
def test_the_units_are_hardened_where_they_run(green: None, shop: list[str], node: str) -> None:
    """As systemd itself rates them, in an unprivileged container; beside the CA, too, and by Debian 13's systemd."""
    units = ["certagent-agent", "certagent-collector"] if node == "lxc104" else ["certagent-agent"]
    for unit in units:
        assert _sh(node, f"systemctl is-active {unit}").strip() == "active"
        last = _sh(node, f"systemd-analyze security {unit}.service --no-pager | tail -n1")
        assert float(last.rpartition(": ")[2].split()[0]) <= 3.0, last


def test_an_agent_that_hangs_is_started_again(green: None) -> None:
    """Stopped by a signal, as one that hangs; the watchdog's time is made short for the test."""
    folder = "/run/systemd/system/certagent-agent.service.d"
    short = "[Service]\\nWatchdogSec=2\\nTimeoutAbortSec=1\\n"
    _sh("lxc102", f"mkdir -p {folder}; printf '{short}' > {folder}/short.conf")
    _sh("lxc102", "systemctl daemon-reload; systemctl restart certagent-agent")

    def is_another() -> bool:
        look = "systemctl is-active certagent-agent; systemctl show -p MainPID --value certagent-agent"
        state, _, main = witness.inside("lxc102", "sh", "-c", look, check=False).stdout.strip().partition("\n")
        return state == "active" and main not in ("0", pid)

    try:
        pid = _sh("lxc102", "systemctl show -p MainPID --value certagent-agent").strip()
        _sh("lxc102", f"kill -STOP {pid}")
        until("another one runs", 60, is_another)
    finally:
        _sh("lxc102", f"rm -r {folder}; systemctl daemon-reload; systemctl restart certagent-agent")
    until("a check proceeds", 30, lambda: witness.certagent("lxc102", "check")[0] == 0)
