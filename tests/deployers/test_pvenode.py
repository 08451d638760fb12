"""The recipe for Proxmox VE's proxy (docs/recipes.md), against a `pvenode` that writes down what it is called with:
there is no Proxmox VE here. It copies the pair to a place of its own and restarts the service, as the real one does."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from certagent.domain.deployments import DeploymentOutcome
from certagent.domain.diagnosis.order_result import fault_found
from tests.deployers.dies_at import deploy
from tests.deployers.place import Place, open_folder, open_place

RECIPES = Path(__file__).parents[2] / "docs" / "recipes.md"
_PVENODE = """#!/bin/sh
echo "$*" >>{folder}/called
[ "$1 $2" = "cert set" ] || exit 2
[ ! -e {folder}/refuses ] || {{ echo "unable to set certificate: quorum?" >&2; exit 25; }}
cp "$3" {folder}/etc-pve/pveproxy-ssl.pem
cp "$4" {folder}/etc-pve/pveproxy-ssl.key
kill -HUP {pid}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """See `open_folder`."""
    with open_folder() as found:
        yield found


@pytest.fixture
async def node(folder: Path) -> AsyncIterator[Place]:
    """A proxy that reads only its own copy of the pair, and the program that puts it there."""
    (folder / "etc-pve").mkdir()
    program = folder / "pvenode"
    program.write_text(_PVENODE.format(folder=folder, pid=os.getpid()))
    program.chmod(0o755)
    async with open_place(folder) as place:

        def restart() -> None:
            place.server.serve_files(folder / "etc-pve/pveproxy-ssl.pem", folder / "etc-pve/pveproxy-ssl.key")

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, restart)
        yield place


def _command(place: Place) -> tuple[str, ...]:
    """The recipe's, with this node's program and files."""
    written = re.search(r'command = \["pvenode", (.*)\]', RECIPES.read_text())
    assert written is not None
    here = {
        "/etc/certagent/pve/node.crt": str(place.certificate),
        "/etc/certagent/pve/node.key": str(place.key),
    }
    words = [word.strip().strip('"') for word in written[1].split(",")]
    return (str(place.folder / "pvenode"), *(here.get(word, word) for word in words))


async def test_the_recipes_command_sets_the_pair_and_it_is_proven(node: Place) -> None:
    """Called once, with the chain before the key; what is proven is what the proxy serves from its own copy."""
    job = node.job(command=_command(node))
    deployment = await deploy(job)
    assert deployment.outcome is DeploymentOutcome.PROVEN
    (called,) = (node.folder / "called").read_text().splitlines()
    assert called == f"cert set {node.certificate} {node.key} --force --restart"
    assert (node.folder / "etc-pve" / "pveproxy-ssl.pem").read_bytes() == job.generation.chain_pem


async def test_a_pvenode_that_refuses_is_told_in_its_words_and_taken_back(node: Place) -> None:
    """The old pair is in its files again, and is what is served."""
    (node.folder / "refuses").touch()
    deployment = await deploy(node.job(command=_command(node), within=0.0))
    assert deployment.outcome is not DeploymentOutcome.PROVEN
    assert node.certificate.read_bytes() == node.old.chain_pem
    said = " ".join(str(fault_found("lxc101", fault).explanation) for fault in deployment.faults)
    assert "quorum?" in said
