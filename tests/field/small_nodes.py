"""Nodes of a few files, and what certagent says of them."""

import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.certificates import Authority
from tests.field.expectations import Seen, SeenHop
from tests.field.tree import Tree

ADDRESS = "10.0.0.12"
BASE = {
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    "etc/resolv.conf": "nameserver 10.0.0.153\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
NGINX = "events {}\nhttp {\n    include conf.d/*.conf;\n}\n"
TRAEFIK = """entryPoints:
  web:
    address: ":80"
  websecure:
    address: ":443"
providers:
  file:
    directory: /etc/traefik/d
"""
SERVICE = "  services:\n    s:\n      loadBalancer:\n        servers:\n          - url: http://10.0.0.9\n"
Pair = tuple[str, str, Sequence[str]]


def node(folder: Path, files: Mapping[str, str | bytes], pairs: Sequence[Pair] = (), *addresses: str) -> Tree:
    """A node with these files and pairs (certificate, key, names); `-> TARGET` is a link."""
    for name, content in {**BASE, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    for certificate, key, names in pairs:
        pair = Authority().issue(*names)
        for name, pem in ((certificate, pair.chain_pem), (key, pair.key_pem)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(pem)
    (folder / "etc/certagent").mkdir(parents=True)
    Authority().write_root(folder / "etc/certagent/root_ca.crt")
    return Tree(folder, addresses or (ADDRESS,))


def site(name: str, pair: str, listen: str = "listen 443 ssl;") -> str:
    """A server with a pair of /etc/nginx/ssl."""
    lines = (listen, f"server_name {name};", f"ssl_certificate ssl/{pair}.crt;", f"ssl_certificate_key ssl/{pair}.key;")
    return "server {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def pair_of(name: str, *names: str) -> Pair:
    """Below /etc/nginx/ssl."""
    return f"etc/nginx/ssl/{name}.crt", f"etc/nginx/ssl/{name}.key", names


def initialised(tree: Tree, *more: str) -> tuple[list[dict[str, Any]], list[str]]:
    """(the certificates that `init --write` wrote, what is left to a person); the agent's loader has taken the file."""
    directory = "https://ca.home.test:9000/acme/acme/directory"
    words = ["--directory", directory, "--root", "/etc/certagent/root_ca.crt", "--write", *more]
    document = tree.document("init", *words)
    path = "/etc/certagent/agent.toml"
    load = f"from pathlib import Path; from certagent.config import load_agent; load_agent(Path({path!r}))"
    done = tree.run([sys.executable, "-c", load])
    assert (done.returncode, done.stderr) == (0, "")
    written = tomllib.loads((tree.root / path.lstrip("/")).read_text())
    return written.get("certificate", []), document["by_hand"]


def certificates(tree: Tree) -> dict[str, dict[str, Any]]:
    """Each of them by its first name."""
    return {one["identifiers"][0]: one for one in initialised(tree)[0]}


def linted(tree: Tree) -> list[str]:
    """`CODE FILE:LINE` of each finding."""
    return [
        f"{one['code']} {one['culprit']['file']}:{one['culprit']['line']}" for one in tree.document("lint")["findings"]
    ]


def blamed(tree: Tree, *seen: tuple[str, Sequence[int]]) -> list[str | None]:
    """The first line that the diagnosis names (`FILE:LINE`) when the CA asked for that name and saw these answers; a
    redirect leads to 443."""
    answers = [
        Seen(
            identifier=name,
            hops=tuple(
                SeenHop(address=ADDRESS, status=status, port=443 if number else 80)
                for number, status in enumerate(statuses)
            ),
        )
        for name, statuses in seen
    ]
    return [_first_line(findings) for findings in tree.diagnoses(answers)]


def _first_line(findings: Sequence[Mapping[str, Any]]) -> str | None:
    culprits = [finding["culprit"] or {} for finding in findings]
    return next((f"{one['file']}:{one['line']}" for one in culprits if one.get("file")), None)
