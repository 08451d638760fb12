"""Run in a tree: what the diagnosis says when the CA saw these answers. Arguments: the node's addresses and what was
seen (`Seen`), both as JSON lists. Prints the findings of each, worst first."""

import sys
from collections.abc import Sequence

import msgspec

from certagent.config.policy_files import load_policy
from certagent.domain.diagnosis import conclude
from certagent.domain.findings import Finding
from certagent.domain.rehearsals import Hop, Resolution
from certagent.vantage.web_server_config import WebServerConfigs
from tests.evidence import by_dns, make_evidence
from tests.field.expectations import Seen, SeenHop


def main() -> None:
    """All diagnoses, by one reading of the files."""
    addresses, seen = sys.argv[1:]
    node = tuple(msgspec.json.decode(addresses, type=list[str]))
    web_servers = WebServerConfigs()
    found = [_diagnose(one, node, web_servers) for one in msgspec.json.decode(seen, type=list[Seen])]
    sys.stdout.buffer.write(msgspec.json.encode(found))


def _diagnose(seen: Seen, node: tuple[str, ...], web_servers: WebServerConfigs) -> Sequence[Finding]:
    name, address = seen.identifier, seen.hops[0].address
    evidence = make_evidence(
        Resolution(name=name, addresses=(by_dns(address, f"{name}."),)),
        *(_hop(name, hop) for hop in seen.hops),
        identifier=name,
        addresses=node,
        owners={},
        gateways=web_servers.observe(name, address),
    )
    return [load_policy(None).grade(finding) for finding in conclude(evidence)]


def _hop(name: str, seen: SeenHop) -> Hop:
    return Hop(
        url=f"{'https' if seen.port == 443 else 'http'}://{name}/",
        name=name,
        address=seen.address,
        port=seen.port,
        status=seen.status,
        server=seen.server,
        location=seen.location,
    )


if __name__ == "__main__":
    main()
