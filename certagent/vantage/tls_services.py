"""What this node serves TLS with, as its configuration says: nginx through crossplane, Traefik through its files."""

import re
from pathlib import Path
from typing import Any

import msgspec

NGINX = Path("/etc/nginx/nginx.conf")
LARGEST_FILE = 1024 * 1024
_CHALLENGES = {"httpChallenge": "http-01", "tlsChallenge": "tls-alpn-01", "dnsChallenge": "dns-01"}
TRAEFIK = (Path("/etc/traefik/traefik.yml"), Path("/etc/traefik/traefik.yaml"))

_HOST_RULE = re.compile(r"Host\(([^)]*)\)")
_QUOTED = re.compile(r"[`\"']([^`\"']+)[`\"']")
_NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


class NginxPair(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of files that nginx serves, and the names it serves it for."""

    certificate: Path
    key: Path
    names: tuple[str, ...]


class TraefikProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Traefik's file provider: its folder, and the hosts that its routers name."""

    dynamic: Path
    names: tuple[str, ...]
    has_own_acme: bool
    challenge: str = "http-01"  # by which its own ACME proves the names; http-01 also where its resolvers differ


def find_nginx(configuration: Path = NGINX) -> list[NginxPair]:
    """The pairs in use, names merged by pair, in the order of the configuration; empty without nginx."""
    if not configuration.is_file():
        return []
    import crossplane

    parsed = crossplane.parse(str(configuration), combine=True, catch_errors=True)
    merged: dict[tuple[Path, Path], list[str]] = {}
    for server in _servers([block for file in parsed["config"] for block in file["parsed"]]):
        files = {line["directive"]: line["args"] for line in server}
        if "ssl_certificate" in files and "ssl_certificate_key" in files:
            pair = (
                _beside(configuration, files["ssl_certificate"]),
                _beside(configuration, files["ssl_certificate_key"]),
            )
            merged.setdefault(pair, []).extend(name for name in files.get("server_name", []) if _NAME.fullmatch(name))
    return [
        NginxPair(certificate=certificate, key=key, names=tuple(dict.fromkeys(names)))
        for (certificate, key), names in merged.items()
    ]


def find_traefik(configurations: tuple[Path, ...] = TRAEFIK) -> TraefikProvider | None:
    """The file provider of the first configuration there is; None without one."""
    for path in configurations:
        static = load_yaml(path)
        directory = static.get("providers", {}).get("file", {}).get("directory")
        if directory:
            folder = Path(directory)
            return TraefikProvider(
                dynamic=folder,
                names=tuple(dict.fromkeys(name for file in sorted(folder.glob("*.y*ml")) for name in _hosts(file))),
                has_own_acme="certificatesResolvers" in static,
                challenge=_challenge(static.get("certificatesResolvers")),
            )
    return None


def _challenge(resolvers: Any) -> str:
    tables = list(resolvers.values()) if isinstance(resolvers, dict) else []
    acme = [table.get("acme") for table in tables if isinstance(table, dict)]
    used = {_CHALLENGES[key] for table in acme if isinstance(table, dict) for key in _CHALLENGES if key in table}
    return used.pop() if len(used) == 1 else "http-01"


def _servers(blocks: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    for block in blocks:
        inner = block.get("block", [])
        found += [inner] if block["directive"] == "server" else _servers(inner)
    return found


def _beside(configuration: Path, arguments: list[str]) -> Path:
    return configuration.parent / arguments[0]


def _hosts(path: Path) -> list[str]:
    routers = (load_yaml(path).get("http") or {}).get("routers") or {}
    rules = [str(router.get("rule", "")) for router in routers.values()]
    return [name for rule in rules for names in _HOST_RULE.findall(rule) for name in _QUOTED.findall(names)]


def load_yaml(path: Path) -> Any:
    """The document with its lines; an empty one where it cannot be read: Traefik cannot read it either."""
    if not path.is_file():
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        if path.stat().st_size > LARGEST_FILE:
            return {}
        document = YAML(typ="rt").load(path)
    except (OSError, YAMLError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
