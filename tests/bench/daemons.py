"""The peers that stay: `step ca renew --daemon`, built from a pinned `go.mod`, and Debian's Caddy; each with a live
certificate of the lab's CA, in the network of a node, its memory looked at from outside."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.lab import containers, places
from deploy.lab.fleet import find
from deploy.lab.parts import golang, proxies
from deploy.lab.processes import Failed, run
from tests.bench import peers

STEP = "0.30.2"
RENEWED_AFTER = 25
"""Seconds until step's first renewal: like our agent, what is measured has its certificate from itself."""
_HTTP, _HTTPS = peers.PORT, 5443
_CADDYFILE = """{{
    admin off
    acme_ca {directory}
    acme_ca_root {root}
    email bench@example.org
    http_port {http}
    https_port {https}
    storage file_system {home}/caddy
}}
{name} {{
    tls {{
        issuer acme {{
            dir {directory}
            trusted_roots {root}
            disable_tlsalpn_challenge
        }}
    }}
    respond "ok"
}}
"""


class Memory(NamedTuple):
    """In MiB: the proportional share of all, and what is backed by no file."""

    share: float
    anonymous: float


def memory_of(pid: int) -> Memory:
    """Of a process of this machine. Raises OSError."""
    told = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return Memory(*(int(told[name].split()[0]) / 1024 for name in ("Pss", "Anonymous")))


@contextmanager
def step(node: str, pair: tuple[str, str], home: Path) -> Iterator[int]:
    """The process id of one that renews a copy of the node's pair, and has done so once."""
    files = [home / Path(name).name for name in pair]
    for file, name in zip(files, pair, strict=True):
        file.write_bytes((containers.root(find(node)) / name.lstrip("/")).read_bytes())
    before = files[0].read_bytes()
    ca = ["--ca-url", peers.DIRECTORY.partition("/acme/")[0], "--root", str(places.ROOT)]
    often = ["--force", "--renew-period", f"{RENEWED_AFTER}s"]
    words = [_ensure_step(), "ca", "renew", "--daemon", *ca, *often, *files]
    with _running(node, [str(word) for word in words], home) as pid:
        _await("step's renewal", 2 * RENEWED_AFTER, lambda: files[0].read_bytes() != before)
        yield pid


@contextmanager
def caddy(node: str, name: str, home: Path) -> Iterator[int]:
    """The process id of one that has got itself a certificate for that name; the node's port 80 leads to it."""
    configuration = home / "Caddyfile"
    text = _CADDYFILE.format(
        directory=peers.DIRECTORY, root=places.ROOT, home=home, http=_HTTP, https=_HTTPS, name=name
    )
    configuration.write_text(text)
    program = str(proxies.ensure("caddy") / "caddy")
    with _running(node, [program, "run", "--adapter", "caddyfile", "--config", str(configuration)], home) as pid:
        _await("Caddy's certificate", 60, lambda: any((home / "caddy").rglob(f"{name}.crt")))
        yield pid


@contextmanager
def _running(node: str, argv: Sequence[str], home: Path) -> Iterator[int]:
    own = {**os.environ, "HOME": str(home), "STEPPATH": str(home / "step"), "XDG_DATA_HOME": str(home)}
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(peers.as_node(node, argv), env=own, stdout=log, stderr=log)
    try:
        yield process.pid
    except Failed as error:
        raise Failed(f"{error}: {(home / 'log').read_text()[-2000:]}") from error
    finally:
        process.terminate()
        process.wait(timeout=30)


def _await(what: str, seconds: float, is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.2)


def _ensure_step() -> Path:
    package, pins = "github.com/smallstep/cli/cmd/step", Path(__file__).parent / "step"
    layer = golang.ensure("step", STEP, package, pins, f"building step {STEP} (once, some minutes)")
    return layer / "usr/local/bin/step"


def version_of_caddy() -> str:
    """As it says itself."""
    return run([str(proxies.ensure("caddy") / "caddy"), "version"]).split()[0]
