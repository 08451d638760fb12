"""The Debian package in containers of Debian 12 and of Debian 13: installed, upgraded, downgraded, removed, purged; and
from the file to the first proven renewal in two commands."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.lab import containers
from deploy.lab.fleet import Node, find
from deploy.story import witness
from tests.e2e import guest as visitor
from tests.e2e.fleet import until
from tests.release.packages import build_package

pytestmark = pytest.mark.lab

OLDER, NEWER = "9.9.8", "9.9.9"
DIRECTORY = "https://ca.internal.thinkheads.ai:9000/acme/acme/directory"
PACKAGE = "/root/certagent.deb"

_AGENT = f"""
[agent]
name = "packaged"
state = "/var/lib/certagent/agent"

[authority]
directory = "{DIRECTORY}"
root = "/etc/certagent/root_ca.crt"
"""
_COLLECTOR = """
[server]
listen = "127.0.0.1:8843"
certificate = "/etc/certagent/collector.crt"
key = "/etc/certagent/collector.key"

[store]
url = "sqlite:////var/lib/certagent/collector.db"
"""
_FILES = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /root -o -path /var/tmp \
    -o -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd \
    -o -path '/etc/*-' -o -path /etc/.pwd.lock -o -name __pycache__ \) -prune -o -print | sort
"""
"""Everything but what other programs keep for themselves, and the copies that passwd's tools leave."""


@dataclass(frozen=True)
class Place:
    """A container, and the package for its Debian."""

    node: Node
    target: str


DEBIAN_12 = Place(find("client"), "debian-12-amd64")
DEBIAN_13 = Place(visitor.NODE, "debian-13-amd64")

Packages = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """(target, version) -> its package, built when it is first asked for."""
    built: dict[tuple[str, str], Path] = {}

    def package(target: str, version: str) -> Path:
        if (target, version) not in built:
            folder = tmp_path_factory.mktemp("release") / "dist"
            built[target, version] = build_package(target, version, folder)
        return built[target, version]

    return package


@pytest.fixture(params=[DEBIAN_12, DEBIAN_13], ids=["Debian 12", "Debian 13"])
def place(request: pytest.FixtureRequest, green: None, guest: None) -> Place:
    """A container in which nothing of certagent's is installed."""
    found: Place = request.param
    return found


def _sh(place: Place, script: str) -> str:
    return witness.inside(place.node.name, "sh", "-euc", script).stdout


def _try(place: Place, script: str) -> subprocess.CompletedProcess[str]:
    return witness.inside(place.node.name, "sh", "-c", f"{{ {script}; }} 2>&1", check=False)


def _write(place: Place, path: str, text: str) -> None:
    containers.run_inside(place.node, "sh", "-c", 'cat >"$1"', "sh", path, text=text)


def _bring(place: Place, package: Path) -> None:
    """The file, into the container."""
    with package.open("rb") as content:
        command = containers.inside(place.node, "sh", "-c", 'cat >"$1"', "sh", PACKAGE)
        subprocess.run(command, stdin=content, check=True, timeout=60)


def _apt(place: Place, *words: str) -> str:
    """What apt-get said; without a mirror: everything that is needed is there."""
    return _sh(place, f"DEBIAN_FRONTEND=noninteractive apt-get -q -y {' '.join(words)} 2>&1")


def _install(place: Place, package: Path) -> str:
    _bring(place, package)
    return _apt(place, "install", "--allow-downgrades", PACKAGE)


def _state(place: Place, unit: str) -> tuple[str, str]:
    """(is it enabled, is it active)."""
    enabled, _, active = _try(place, f"systemctl is-enabled {unit}; systemctl is-active {unit}").stdout.partition("\n")
    return enabled.strip(), active.strip()


def _pid(place: Place, unit: str) -> str:
    return _sh(place, f"systemctl show -p MainPID --value {unit}").strip()


def _version(place: Place) -> str:
    return _sh(place, "certagent --version").strip()


@pytest.mark.timeout(1200)
def test_the_life_of_a_package(place: Place, packages: Packages) -> None:
    """Each step with both services running, where they can; at the end the container is as it was."""
    root = _sh(place, "cat /etc/certagent/root_ca.crt")
    _sh(place, "rm -rf /etc/certagent /var/lib/certagent")
    before = _sh(place, _FILES)
    try:
        _new(place, packages(place.target, OLDER))
        _configure(place, root)
        assert "0" not in _upgrade_and_back(place, packages)
        _remove_and_purge(place, packages(place.target, OLDER), before)
    finally:
        _sh(place, "mkdir -p /etc/certagent")
        _write(place, "/etc/certagent/root_ca.crt", root)


def _new(place: Place, package: Path) -> None:
    """Nothing runs, nothing is enabled; program, manual, completion, user and folders are there."""
    _install(place, package)
    assert _version(place).endswith(OLDER)
    for unit in ("certagent-agent", "certagent-collector"):
        assert _state(place, unit) == ("disabled", "inactive")
    assert _sh(place, "stat -c '%a %U' /var/lib/certagent /etc/certagent").split("\n")[:2] == ["700 root", "755 root"]
    assert "certagent-collector" in _sh(place, "getent passwd certagent-collector")
    files = _sh(place, "dpkg -L certagent")
    for path in ("man1/certagent.1.gz", "completions/certagent", "vendor-completions/_certagent"):
        assert path in files
    assert _sh(place, "find /usr/lib/certagent -name '*.pyc' | head -1"), "compiled when it is installed"
    assert _sh(place, "dpkg --verify certagent") == ""


def _configure(place: Place, root: str) -> None:
    """Both services, by systemctl alone."""
    for path, text in (("root_ca.crt", root), ("agent.toml", _AGENT), ("collector.toml", _COLLECTOR)):
        _write(place, f"/etc/certagent/{path}", text)
    _sh(place, "systemctl enable --now certagent-collector certagent-agent")
    assert _sh(place, "stat -c '%a %U:%G' /var/lib/certagent").strip() == "1770 root:certagent-collector"
    assert _sh(place, "stat -c '%a' /etc/certagent/collector.key").strip() == "640"
    for unit in ("certagent-agent", "certagent-collector"):
        assert _state(place, unit) == ("enabled", "active")
        last = _sh(place, f"systemd-analyze security {unit}.service --no-pager | tail -n1")
        assert float(last.rpartition(": ")[2].split()[0]) <= 3.0, last


def _upgrade_and_back(place: Place, packages: Packages) -> list[str]:
    """Each time both run again, of the version that is there now."""
    pids = [_pid(place, "certagent-agent"), _pid(place, "certagent-collector")]
    for version in (NEWER, OLDER):
        _install(place, packages(place.target, version))
        assert _version(place).endswith(version)
        for unit in ("certagent-agent", "certagent-collector"):
            assert _state(place, unit) == ("enabled", "active"), _try(place, f"journalctl -u {unit} -n 20").stdout
            pids.append(_pid(place, unit))
    assert len(set(pids)) == len(pids)
    return pids


def _remove_and_purge(place: Place, package: Path, before: str) -> None:
    """Configuration and state stay, even after a purge; with the flag file nothing does."""
    for words in ("remove", "purge"):
        _apt(place, words, "certagent")
        assert _try(place, "certagent --version").returncode != 0
        assert _sh(
            place, "test ! -e /usr/lib/certagent && ls /etc/certagent/agent.toml /var/lib/certagent/collector.db"
        )
        assert "certagent" not in _sh(place, "systemctl list-units --all --plain --no-legend")
        told = _install(place, package)
        assert _state(place, "certagent-agent")[1] == "inactive", told
    _sh(place, "touch /etc/certagent/purge-state")
    _apt(place, "purge", "certagent")
    assert _sh(place, _FILES) == before
    assert _try(place, "getent passwd certagent-collector").stdout == ""


def test_beside_the_installers_certagent_it_is_refused(green: None, packages: Packages) -> None:
    """On a node that deploy/lxc/install has set up; what is there goes on."""
    place = Place(find("lxc102"), DEBIAN_12.target)
    _bring(place, packages(place.target, OLDER))
    refused = _try(place, f"dpkg -i {PACKAGE}")
    assert refused.returncode != 0
    assert "certagent was put here by deploy/lxc/install, not by a package" in refused.stdout
    assert _state(place, "certagent-agent") == ("enabled", "active")
    _sh(place, f"dpkg --purge certagent; rm {PACKAGE}")


_STATIC = """
entryPoints: {web: {address: ":80"}, websecure: {address: ":443"}}
providers: {file: {directory: /etc/traefik/dynamic, watch: true}}
"""
_DYNAMIC = f"""
http:
  routers:
    shop: {{entryPoints: [websecure], rule: "Host(`{visitor.NAME}`)", service: noop@internal, tls: {{}}}}
"""


@pytest.mark.timeout(600)
def test_from_the_package_file_to_the_first_proven_renewal_in_two_commands(
    green: None, guest: None, packages: Packages
) -> None:
    """On a Debian 13 with Traefik, and nothing of certagent's. Within three minutes, and what was printed is shown."""
    place = DEBIAN_13
    package = packages(place.target, OLDER)
    fingerprint = visitor.sh(f"cat >/root/ca.crt <<'END'\n{_root()}END\n{_FINGERPRINT}").partition("=")[2].strip()
    _sh(place, "rm -rf /etc/certagent /var/lib/certagent /root/ca.crt; mkdir -p /etc/traefik/dynamic")
    visitor.write("/etc/traefik/traefik.yml", _STATIC)
    visitor.write("/etc/traefik/dynamic/shop.yml", _DYNAMIC)
    visitor.sh("systemctl start traefik")
    _bring(place, package)

    begun = time.monotonic()
    commands = (
        f"apt-get install -y {PACKAGE}",
        f"certagent init --directory {DIRECTORY} --fingerprint {fingerprint} --write --start",
    )
    for command in commands:
        print(f"# {command}")
        print(_sh(place, f"{command} 2>&1"))
    served = until("the CA's certificate is served", 150, _served)
    took = time.monotonic() - begun
    print(f"# {took:.0f} s from the file to {served[:16]}… served")
    assert took <= 180
    status = until("the renewal is proven", 30, lambda: _proven(served))
    print(status)


_FINGERPRINT = "openssl x509 -in /root/ca.crt -noout -fingerprint -sha256"


def _root() -> str:
    return witness.inside("lxc103", "cat", "/etc/certagent/root_ca.crt").stdout


def _served() -> str | None:
    try:
        return witness.served(visitor.NODE.address, visitor.NAME)
    except witness.Unseen:
        return None


def _proven(fingerprint: str) -> str | None:
    """What `certagent status` shows, once the agent says that this certificate was ordered, deployed and proven."""
    status, document = witness.certagent(visitor.NODE.name, "status")
    (certificate,) = document["certificates"]
    is_proven = (
        status in (0, 3) and certificate["served"].values() and set(certificate["served"].values()) == {fingerprint}
    )
    if not is_proven or certificate["last_outcome"] not in ("done", "found"):
        return None
    return visitor.sh("certagent status || true")
