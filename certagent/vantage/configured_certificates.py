"""What the web servers of this node are configured with: certificates that they name, Traefik's own resolvers.

Observations, for `certagent.domain.diagnosis.drift`; what cannot be read is left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from certagent.domain.certificates import CertificateFacts, read_leaf
from certagent.domain.diagnosis.drift import CertResolver, ConfiguredPair
from certagent.vantage.nginx_config import NGINX, find_nginx
from certagent.vantage.traefik_config import TRAEFIK, find_traefik, load_yaml, place_of, table_of


class ConfiguredCertificates:
    """nginx's and Traefik's files. Reads them anew each time."""

    def __init__(self, nginx: Path = NGINX, traefik: tuple[Path, ...] = TRAEFIK) -> None:
        self._nginx = nginx
        self._traefik = traefik

    def pairs(self) -> list[ConfiguredPair]:
        """Every certificate that nginx or Traefik's file provider names, but for the YAML that certagent writes."""
        found = [
            ConfiguredPair(
                server="nginx", certificate=str(one.certificate), names=one.names, facts=_facts(one.certificate)
            )
            for one in find_nginx(self._nginx)
        ]
        provider = find_traefik(self._traefik)
        if provider is not None:
            for file in sorted(provider.dynamic.glob("**/*.y*ml")):
                found += _named_in(file) if not file.name.startswith("certagent-") else ()
        return found

    def resolvers(self) -> list[CertResolver]:
        """Traefik's own certificate resolvers, each at the line that names its CA (else its own)."""
        static = next((path for path in self._traefik if path.is_file()), None)
        if static is None:
            return []
        document = load_yaml(static)
        resolvers = table_of(document, "certificatesResolvers")
        return [_resolver(static, resolvers, str(name)) for name in resolvers if table_of(resolvers[name], "acme")]


def _resolver(file: Path, resolvers: Any, name: str) -> CertResolver:
    acme = table_of(resolvers[name], "acme")
    place = place_of(file, acme, "caServer") if "caServer" in acme else place_of(file, resolvers, name)
    hours = acme.get("certificatesDuration")
    return CertResolver(
        name=name,
        file=str(file),
        line=place.line or 1,
        text=place.text,
        directory=str(acme["caServer"]) if "caServer" in acme else None,
        hours=hours if isinstance(hours, int) else None,
    )


def _named_in(file: Path) -> Iterator[ConfiguredPair]:
    certificates = table_of(load_yaml(file), "tls").get("certificates")
    for one in certificates if isinstance(certificates, list) else ():
        path = one.get("certFile") if isinstance(one, dict) else None
        if isinstance(path, str) and path.startswith("/"):
            facts = _facts(Path(path))
            names = facts.identifiers if facts is not None else ()
            yield ConfiguredPair(server="Traefik", certificate=path, names=names, facts=facts)


def _facts(path: Path) -> CertificateFacts | None:
    try:
        return read_leaf(path.read_bytes())
    except (OSError, ValueError):
        return None
