"""Run in a tree: what the diagnosis says when the CA saw these answers. Arguments: the identifier, the node's addresses
and the hops (`SeenHop`), both as JSON. Prints the findings, worst first."""

import sys

import msgspec

from certagent.config import load_policy
from certagent.domain.diagnosis import conclude
from certagent.domain.rehearsals import Hop, Resolution
from certagent.vantage.web_server_config import WebServerConfigs
from tests.evidence import by_dns, make_evidence
from tests.field.expectations import SeenHop


def main() -> None:
    """One diagnosis."""
    identifier, addresses, seen = sys.argv[1:]
    hops = [_hop(identifier, hop) for hop in msgspec.json.decode(seen, type=list[SeenHop])]
    evidence = make_evidence(
        Resolution(name=identifier, addresses=(by_dns(hops[0].address or "", f"{identifier}."),)),
        *hops,
        identifier=identifier,
        addresses=tuple(msgspec.json.decode(addresses)),
        owners={},
        gateways=WebServerConfigs().observe(identifier, hops[0].address),
    )
    findings = [load_policy(None).grade(finding) for finding in conclude(evidence)]
    sys.stdout.buffer.write(msgspec.json.encode(findings))


def _hop(identifier: str, seen: SeenHop) -> Hop:
    scheme = "https" if seen.port == 443 else "http"
    return Hop(
        url=f"{scheme}://{identifier}/",
        name=identifier,
        address=seen.address,
        port=seen.port,
        status=seen.status,
        server=seen.server or "nginx",
        location=seen.location,
    )


if __name__ == "__main__":
    main()
