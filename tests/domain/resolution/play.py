"""Plays made-up worlds to the real Go and to the model, inside namespaces of its own. Not a test: run by one.

    unshare -m -n -u python -m tests.domain.resolution.play BINARY SEED COUNT [CASE...]

Prints one JSON document: how many were played, and every disagreement. `/etc` is an empty one, made for this.
"""

import json
import socket
import subprocess
import sys
from pathlib import Path

from certagent.domain.resolution.files import parse_files
from certagent.domain.resolution.go import Lookup, look_up
from certagent.vantage.ca_resolver import in_order
from tests.domain.resolution.nameservers import said, serving
from tests.domain.resolution.triples import Triple, generate

HOSTNAME = "node.lan.test"
_NETWORK = (
    "ip link set lo up",
    "ip link add link0 type veth peer name link1",
    "ip link set link0 up",
    "ip link set link1 up",
    "ip address add 10.0.0.10/24 dev link0",
    "ip -6 address add fd00:1::10/64 dev link0 nodad",
    "ip -6 address add 2001:db8::10/64 dev link0 nodad",
    "ip route add default dev link0",
    "ip -6 route add default dev link0",
    "mount -t tmpfs none /etc",
    f"hostname {HOSTNAME}",
)


def main(binary: str, seed: str, count: str, *cases: str) -> None:
    """Play the kept cases, then `count` worlds from the seed."""
    for command in _NETWORK:
        subprocess.run(command.split(), check=True)
    kept = [Triple.from_json(json.loads(Path(case).read_text())) for case in cases]
    disagreements = []
    worlds = [*kept, *generate(int(seed), int(count))]
    with serving():
        for world in worlds:
            real, modelled = _ask_go(binary, world), _ask_model(world)
            if real != modelled:
                disagreements.append({"world": world.to_json(), "go": real, "model": modelled})
    print(json.dumps({"played": len(worlds), "disagreements": disagreements}))


def _ask_go(binary: str, world: Triple) -> dict[str, object]:
    for name in ("hosts", "resolv_conf", "nsswitch"):
        path = Path("/etc") / {"resolv_conf": "resolv.conf", "nsswitch": "nsswitch.conf"}.get(name, name)
        content = getattr(world, name)
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
    finished = subprocess.run([binary, world.name], check=True, capture_output=True, timeout=60)
    answer = json.loads(finished.stdout)
    return {"addresses": answer["addresses"], "not_found": answer["not_found"]}


def _ask_model(world: Triple) -> dict[str, object]:
    files = parse_files(world.hosts, world.resolv_conf, world.nsswitch, socket.gethostname())
    machine = look_up(world.name, files)
    try:
        questions = next(machine)
        while True:
            questions = machine.send(tuple(said(one.nameserver, one.name, one.record) for one in questions))
    except StopIteration as end:
        lookup: Lookup = in_order(end.value)
    addresses = [found.address for found in lookup.addresses]
    return {"addresses": addresses, "not_found": lookup.error in ("nxdomain", "nodata")}


if __name__ == "__main__":
    main(*sys.argv[1:])
