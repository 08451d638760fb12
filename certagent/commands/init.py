"""`certagent init`: look at this container, and write a commented configuration for a person to read.

Changes nothing but the one file that it is told to write.
"""

import socket
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.vantage.observe import NodeVantage
from certagent.vantage.services import find_nginx, find_traefik

_HEAD = """\
# /etc/certagent/agent.toml, as `certagent init` found this container. Read it, complete it, then:
#   systemctl restart certagent-agent && certagent check
[agent]
name = "{name}"

[authority]
directory = "{directory}"
root = "{root}"{fingerprint}
addresses = []                                 # the CA's address, for when DNS is broken

# [collector]                                  # where reports go, and who brokers rehearsals
# url = "https://collector.example:8843"
# addresses = ["10.0.0.104"]
# token_file = "/etc/certagent/token"          # from `certagent token add {name}` on the collector's node

[dns]
nameservers = [{nameservers}]
zones = []                                     # the zones that are the fleet's own
"""

_CERTIFICATE = """
[[certificate]]
name = "{name}"
identifiers = [{identifiers}]{remark}
manage = {manage}
challenge = "http-01"
solver = {{ kind = "listener", listen = "127.0.0.1:5002" }}   # {snippet} leads the challenge's path there

[[certificate.deploy]]
{target}
prove = [{prove}]
"""


def init(root: Path, directory: str, write: Path | None) -> dict[str, Any]:
    """`{"found": [...], "configuration": str, "written": path | null}`. A file that exists is never overwritten.

    Raises FileExistsError when `write` exists already.
    """
    sections, found = [_head(root, directory)], []
    for index, pair in enumerate(find_nginx()):
        name = "nginx" if index == 0 else f"nginx-{index + 1}"
        found.append(f"nginx serves {pair.certificate} for {', '.join(pair.names) or 'no name'}")
        target = f'kind = "nginx"\ncertificate = "{pair.certificate}"\nkey = "{pair.key}"'
        sections.append(_section(name, pair.names, target, "deploy/nginx", manage=True))
    traefik = find_traefik()
    if traefik is not None:
        found.append(f"Traefik's file provider reads {traefik.dynamic}, its routers name {', '.join(traefik.names)}")
        target = f'kind = "traefik"\ndynamic = "{traefik.dynamic}"'
        sections.append(_section("traefik", traefik.names, target, "deploy/traefik", manage=not traefik.has_own_acme))
    document = "".join(sections)
    if write is not None:
        with write.open("x", encoding="utf-8") as file:
            file.write(document)
    return {"found": found, "configuration": document, "written": str(write) if write else None}


def render(document: dict[str, Any]) -> str:
    """The configuration, or where it was written; what was found as comments above."""
    found = "".join(f"# found: {one}\n" for one in document["found"]) or "# found: neither nginx nor Traefik\n"
    return found + (f"# written: {document['written']}" if document["written"] else document["configuration"])


def _head(root: Path, directory: str) -> str:
    servers = ", ".join(f'"{one}"' for one in _nameservers())
    return _HEAD.format(
        name=socket.gethostname(),
        directory=directory,
        root=root,
        fingerprint=_fingerprint(root),
        nameservers=servers,
    )


def _section(name: str, names: tuple[str, ...], target: str, snippet: str, *, manage: bool) -> str:
    return _CERTIFICATE.format(
        name=name,
        identifiers=", ".join(f'"{one}"' for one in names),
        remark="" if names else "                               # no name was found",
        manage="true" if manage else "false                                 # its own ACME renews it: watched only",
        snippet=snippet,
        target=target,
        prove=", ".join(f'"{address}:443"' for address in _addresses()),
    )


def _fingerprint(root: Path) -> str:
    """The root's SHA-256 as a comment, for a person to compare with the CA's."""
    try:
        certificate = x509.load_pem_x509_certificate(root.read_bytes())
    except OSError:
        return "        # not there yet: copy the CA's root certificate to this path"
    return f"\n# compare with the CA's own: sha256 {certificate.fingerprint(hashes.SHA256()).hex()}"


def _nameservers() -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [words[1] for words in (line.split() for line in lines) if len(words) > 1 and words[0] == "nameserver"]


def _addresses() -> list[str]:
    return [address for address in NodeVantage().addresses() if ":" not in address]
