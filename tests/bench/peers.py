"""The peers: certbot from PyPI, lego built from a pinned `go.mod`, uacme from Debian. Fetched once, into the cache."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import containers, layers, places
from deploy.lab.fleet import find
from deploy.lab.parts import golang
from deploy.lab.processes import Failed, run

CERTBOT = "5.8.0"
LEGO = "4.35.2"
DIRECTORY = "https://ca.internal.thinkheads.ai:9000/acme/acme/directory"
PORT = 5002

_AS_NODE = """
mount --bind "$1" /etc/ssl/certs/ca-certificates.crt
mount --bind "$2" /etc/resolv.conf
mount --bind "$3" /etc/hosts
shift 3
exec "$@"
"""
_HOOK = """#!/bin/sh
[ "$2" = http-01 ] || exit 1
case $1 in
    begin) printf %s "$5" >"$WEBROOT/.well-known/acme-challenge/$4" ;;
    *) rm -f "$WEBROOT/.well-known/acme-challenge/$4" ;;
esac
"""


@dataclass(frozen=True)
class Peer:
    """A client, its command line for one name, and what is in a run of it."""

    name: str
    order: Callable[[Path, str, int], list[str]]
    inside: str
    needs_server: bool = False


def ensure() -> dict[str, Peer]:
    """All three, by name."""
    certbot, lego, uacme = _certbot(), _lego(), _uacme()
    return {
        "lego": Peer(
            f"lego {LEGO}",
            lambda home, name, port: [str(lego), *_lego_options(port), "--path", str(home), "--domains", name, "run"],
            "one process for one certificate: its start, TLS, directory, order, files; the account is there; no"
            " rehearsal, no deployment, no proof",
        ),
        "certbot": Peer(
            f"certbot {CERTBOT}",
            lambda home, name, port: [str(certbot), "certonly", *_certbot_options(port), *_folders(home), "-d", name],
            "as lego's; Python, and a pause between its polls",
        ),
        "uacme": Peer(
            "uacme 1.7",
            lambda home, name, _: [str(uacme), "-c", str(home), "-a", DIRECTORY, "-h", str(_hook(home)), "issue", name],
            "as lego's; a hook puts the answer where a web server of the bench serves it",
            needs_server=True,
        ),
    }


def register(peer: Peer, node: str, home: Path) -> None:
    """Have the account made, outside of what is measured."""
    home.mkdir(parents=True, exist_ok=True)
    if peer.needs_server:
        uacme = peer.order(home, "none", PORT)[0]
        run(as_node(node, [uacme, "-c", str(home), "-a", DIRECTORY, "-y", "new", "bench@example.org"]), env=_env(home))


def obtain(peer: Peer, node: str, home: Path, name: str, patience: float = 120, port: int = PORT) -> float:
    """Seconds for one certificate. Raises Failed if there was none within `patience`."""
    began_at = time.perf_counter()
    run(as_node(node, peer.order(home, name, port)), env=_env(home), timeout=patience)
    return time.perf_counter() - began_at


def as_node(node: str, argv: Sequence[str]) -> list[str]:
    """A command line that runs a program of this machine in the node's network, with the node's resolver files and the
    lab's root as the only one that is trusted."""
    pid = run(["lxc-info", "-P", places.CONTAINERS, "-n", node, "-p", "-H"]).strip()
    etc = containers.root(find(node)) / "etc"
    files = [str(places.ROOT), str(etc / "resolv.conf"), str(etc / "hosts")]
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "unshare", "-m", "sh", "-euc", _AS_NODE, "sh", *files, *argv]


def serve(node: str, home: Path) -> "subprocess.Popen[bytes]":
    """The web server for those that have none."""
    folder = home / "web" / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True, exist_ok=True)
    words = ["-m", "http.server", str(PORT), "--bind", "127.0.0.1", "--directory", str(home / "web")]
    return subprocess.Popen(
        as_node(node, [sys.executable, *words]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _lego_options(port: int) -> list[str]:
    account = ["--server", DIRECTORY, "--email", "bench@example.org", "--accept-tos", "--key-type", "ec256"]
    return [*account, "--http", "--http.port", f"127.0.0.1:{port}"]


def _certbot_options(port: int) -> list[str]:
    account = ["--server", DIRECTORY, "--non-interactive", "--agree-tos", "-m", "bench@example.org"]
    listen = ["--standalone", "--http-01-address", "127.0.0.1", "--http-01-port", str(port)]
    return [*account, *listen, "--key-type", "ecdsa", "--force-renewal"]


def _folders(home: Path) -> list[str]:
    return [word for kind in ("config", "work", "logs") for word in (f"--{kind}-dir", str(home / kind))]


def _env(home: Path) -> Mapping[str, str]:
    root = str(places.ROOT)
    return {"LEGO_CA_CERTIFICATES": root, "REQUESTS_CA_BUNDLE": root, "WEBROOT": str(home / "web")}


def _hook(home: Path) -> Path:
    path = home / "hook"
    if not path.exists():
        path.write_text(_HOOK)
        path.chmod(0o755)
    return path


def _lego() -> Path:
    package, pins = "github.com/go-acme/lego/v4/cmd/lego", Path(__file__).parent / "lego"
    layer = golang.ensure("lego", LEGO, package, pins, f"building lego {LEGO} (once, some minutes)")
    return layer / "usr/local/bin/lego"


def _certbot() -> Path:
    def make(layer: Path) -> None:
        run([sys.executable, "-m", "venv", "--copies", layer / "venv"])
        run([layer / "venv/bin/python", "-m", "pip", "install", "-q", f"certbot=={CERTBOT}"])

    layer = layers.ensure(f"certbot-{CERTBOT}", f"installing certbot {CERTBOT} (once)", make)
    # The console script names the folder that it was made in.
    starter = layer / "certbot"
    starter.write_text(f'#!/bin/sh\nexec "{layer}/venv/bin/python" -c "import sys; from certbot.main import main; '
                       'sys.exit(main())" "$@"\n')  # fmt: skip
    starter.chmod(0o755)
    return starter


def _uacme() -> Path:
    if own := shutil.which("uacme"):
        return Path(own)

    def make(layer: Path) -> None:
        run(["apt-get", "-q", "download", "uacme"], cwd=layer)
        (package,) = layer.glob("*.deb")
        run(["dpkg", "-x", package, layer])

    layer = layers.ensure("uacme-debian", "fetching uacme from Debian (once)", make)
    program = layer / "usr/bin/uacme"
    if not os.access(program, os.X_OK):
        raise Failed(f"there is no {program}")
    return program
