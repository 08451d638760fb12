"""Brings the lab up, and answers what state it is in. Reads from top to bottom."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.lab import agents, containers, layers, leftovers, machine, network, page, places, ready, rootfs
from deploy.lab.fleet import FLEET, Node
from deploy.lab.parts import files, keys, step_ca, traefik
from deploy.lab.progress import say, step


def bring_up(bare: bool) -> None:
    """Have the fleet running and answering; harmless when it already is. `bare`: without certagent."""
    was_complete = is_complete()
    if not was_complete:
        if leftovers.found():
            say("clearing what an unfinished lab left")
            leftovers.take_down()
        _build(bare)
    _boot()
    if not bare:
        agents.install()
        page.start()
        with step("waiting until certificates are issued and served"):
            ready.wait_until_certified()
        if not was_complete:  # one that was up may have been broken on purpose
            with step("waiting until every certificate rehearses"):
                ready.wait_until_rehearsed()
    places.COMPLETE.write_text(_boot_id())


def is_complete() -> bool:
    """Whether an `up` of this boot has come to its end, and no `down` since."""
    try:
        return places.COMPLETE.read_text() == _boot_id()
    except FileNotFoundError:
        return False


def _build(bare: bool) -> None:
    """Everything up to the first start: the layers, the network, the keys, each node's files."""
    if (changed := machine.raise_limit()) is not None:
        say(changed)
    stacks = _make_layers(bare)
    with step("preparing six nodes"):
        places.RUNTIME.mkdir(mode=0o755)
        for folder in (places.CONTAINERS, places.NODES):
            folder.mkdir()
        places.SECRETS.mkdir(mode=0o700)
        network.make()
        authority = keys.make_authority()
        places.ROOT.write_bytes(authority.root.certificate_pem)
        with ThreadPoolExecutor() as pool:
            jobs = [pool.submit(_prepare, node, stacks[node.name], authority) for node in FLEET]
            for job in jobs:
                job.result()


def _make_layers(bare: bool) -> dict[str, list[Path]]:
    """What each node lies on, the uppermost layer first; made where the cache has none."""
    with ThreadPoolExecutor() as pool:
        debian, ca, proxy = (pool.submit(part.ensure) for part in (rootfs, step_ca, traefik))
        dependencies = None if bare else pool.submit(agents.ensure_dependencies)
    stacks = {node.name: [debian.result()] for node in FLEET}
    stacks["lxc103"].insert(0, ca.result())
    stacks["lxc102"].insert(0, proxy.result())
    for node in FLEET:
        if dependencies and node.agent:
            stacks[node.name].insert(0, dependencies.result())
    layers.prune()
    return stacks


def _prepare(node: Node, stack: Sequence[Path], authority: keys.Authority) -> None:
    containers.make(node, stack)
    for tree in ("all", node.name):
        containers.put_tree(node, places.LAB / "nodes" / tree)
    files.put_minted(node, authority)
    for service in node.services:
        containers.enable(node, f"{service}.service")


def _boot() -> None:
    with step("starting six containers"), ThreadPoolExecutor() as pool:
        list(pool.map(containers.start, FLEET))
    with step("waiting until their services answer"):
        ready.wait_until_ready()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()
