"""Puts certagent into the fleet as a user would: by the installer, from this tree, with the README's configuration."""

import json
import platform
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.lab import layers, places, rootfs
from deploy.lab.containers import run_inside
from deploy.lab.fleet import FLEET, Node, find
from deploy.lab.processes import Failed, run
from deploy.lab.progress import step

OPERATOR = places.SECRETS / "operator"
"""The token of a person who may read everything; for the page's forwarder, and for tests."""

_INSTALLER = places.TREE / "deploy" / "lxc" / "install"
_COLLECTOR = find("lxc104")
_AS_COLLECTOR = ("runuser", "-u", "certagent-collector", "--")


def ensure_dependencies() -> Path:
    """The layer with certagent's dependencies, as the installer would send them.

    It lies under the nodes as in a container template, so that the installer finds it there and sends certagent alone.
    """
    kind = (rootfs.BOOKWORM.python, platform.machine(), rootfs.BOOKWORM.glibc)
    told = run([sys.executable, _INSTALLER, "--layers-for", *kind, "--from", places.TREE])
    bundle = Path(told.splitlines()[0])

    def unpack(layer: Path) -> None:
        with bundle.open("rb") as tar:
            layers.unpack_shifted(tar, layers.make_folders(layer, "opt", "certagent"))

    return layers.ensure(bundle.name, "unpacking certagent's dependencies (once)", unpack)


def install() -> None:
    """Install or upgrade: first the collector, which knows the tokens, then the agents."""
    with step("installing certagent in four nodes"):
        _install(_COLLECTOR, "collector", _configuration(_COLLECTOR, "collector"))
        with ThreadPoolExecutor() as pool:
            # The collector's own agent first: everybody waits for the certificate that it fetches.
            agents = sorted((node for node in FLEET if node.agent), key=lambda node: not node.collector)
            jobs = [pool.submit(_install_agent, node) for node in agents]
            jobs.append(pool.submit(_ensure_token, OPERATOR, "operator", "operator"))
            for job in jobs:
                job.result()


def read_readme(path: str) -> str:
    """The configuration that the README prints for that path: the block of TOML that begins with its name.

    Raises:
        Failed: there is no such block, or more than one.
    """
    return _read_block("README.md", f"# {path}\n")


def read_recipe_sources() -> str:
    """The section of the collector's configuration that leads it to the provisioning code, as the recipe prints it.
    Raises what `read_readme` raises."""
    return _read_block("docs/recipes.md", "# also in /etc/certagent/collector.toml\n[sources]\n")


def _read_block(page: str, beginning: str) -> str:
    blocks = re.findall(r"^```toml\n(.*?)^```$", (places.TREE / page).read_text(), re.MULTILINE | re.DOTALL)
    found: list[str] = [block for block in blocks if block.startswith(beginning)]
    if len(found) != 1:
        raise Failed(f"{page} has {len(found)} blocks that begin with {beginning!r}, not one")
    return found[0]


def _install_agent(node: Node) -> None:
    token = places.SECRETS / node.name
    _ensure_token(token, node.name, node.speaks_as)
    _install(node, "agent", _configuration(node, "agent"), "--token", str(token))


def _install(node: Node, role: str, configuration: Path, *more: str) -> None:
    way = ("--transport", "lxc-attach", "--lxcpath", str(places.CONTAINERS), "--from", str(places.TREE))
    run([sys.executable, _INSTALLER, node.name, "--role", role, "--config", configuration, *way, *more])


def _configuration(node: Node, role: str) -> Path:
    """What that service of the node is configured with: its file in `nodes`, else what the README prints."""
    own = places.LAB / "nodes" / node.name / "etc" / "certagent" / f"{role}.toml"
    if own.exists():
        return own
    copy = places.SECRETS / f"{node.name}-{role}.toml"
    sources = f"\n{read_recipe_sources()}" if role == "collector" else ""
    copy.write_text(read_readme(f"/etc/certagent/{role}.toml") + sources)
    return copy


def _ensure_token(path: Path, name: str, role: str | None) -> None:
    """Have a token made at the collector, once; the file is the only copy outside the node that uses it."""
    if path.exists():
        return
    as_role = ("--role", role) if role else ()
    told = run_inside(_COLLECTOR, *_AS_COLLECTOR, "certagent", "token", "add", name, *as_role, "--json")
    path.touch(mode=0o600)
    path.write_text(json.loads(told)["token"] + "\n")
