"""What the web servers of this node are configured with: certificates that they name, Traefik's own resolvers.

Observations, for `certagent.domain.diagnosis.drift`; what cannot be read is left out, and noted.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from certagent.domain.certificates import UNREADABLE, CertificateFacts, read_leaf
from certagent.domain.diagnosis.drift import CertResolver, ConfiguredPair
from certagent.system.regular_files import is_there, read_bytes
from certagent.vantage.foreign_files import Notes, Reading, read_foreign, read_part
from certagent.vantage.nginx_config import NGINX, find_nginx, require_files
from certagent.vantage.traefik_config import TRAEFIK, dynamic_files, load_yaml, place_of, table_of


class ConfiguredCertificates:
    """nginx's and Traefik's files. Reads them anew each time."""

    def __init__(self, nginx: Path = NGINX, traefik: tuple[Path, ...] = TRAEFIK) -> None:
        self._nginx = nginx
        self._traefik = traefik

    def pairs(self) -> Reading[list[ConfiguredPair]]:
        """Every certificate that nginx or Traefik's file provider names, but for the YAML that certagent writes."""
        of_nginx: Reading[list[ConfiguredPair]] = read_foreign(self._nginx, self._nginx_pairs, [])
        static = next(filter(is_there, self._traefik), None)
        if static is None:
            return of_nginx
        of_traefik: Reading[list[ConfiguredPair]] = read_foreign(static, self._traefik_pairs, [])
        return Reading([*of_nginx.value, *of_traefik.value], (*of_nginx.unreadable, *of_traefik.unreadable))

    def resolvers(self) -> Reading[list[CertResolver]]:
        """Traefik's own certificate resolvers, each at the line that names its CA (else its own)."""
        static = next(filter(is_there, self._traefik), None)
        return read_foreign(static, lambda notes: list(_resolvers(static, notes)), []) if static else Reading([])

    def _nginx_pairs(self, notes: Notes) -> list[ConfiguredPair]:
        require_files(self._nginx)
        return [
            ConfiguredPair(
                server="nginx",
                certificate=str(pair.certificate),
                names=pair.names,
                facts=_facts(pair.certificate, notes),
            )
            for pair in find_nginx(self._nginx)
        ]

    def _traefik_pairs(self, notes: Notes) -> list[ConfiguredPair]:
        static = next(filter(is_there, self._traefik))
        found: list[ConfiguredPair] = []
        for file in dynamic_files(static):
            if not file.name.startswith("certagent-"):
                found += read_part(file, partial(_named_in, file, notes), [], notes)
        return found


def _resolvers(static: Path, notes: Notes) -> Iterator[CertResolver]:
    resolvers = table_of(load_yaml(static, notes), "certificatesResolvers")
    for name in resolvers:
        if table_of(resolvers[name], "acme"):
            resolver = read_part(static, partial(_resolver, static, resolvers, name), None, notes)
            if resolver is not None:
                yield resolver


def _resolver(file: Path, resolvers: Any, name: Any) -> CertResolver:
    acme = table_of(resolvers[name], "acme")
    place = place_of(file, acme, "caServer") if "caServer" in acme else place_of(file, resolvers, name)
    hours = acme.get("certificatesDuration")
    return CertResolver(
        name=str(name),
        file=str(file),
        line=place.line or 1,
        text=place.text,
        directory=str(acme["caServer"]) if "caServer" in acme else None,
        hours=hours if isinstance(hours, int) else None,
    )


def _named_in(file: Path, notes: Notes) -> list[ConfiguredPair]:
    found = []
    certificates = table_of(load_yaml(file, notes), "tls").get("certificates")
    for one in certificates if isinstance(certificates, list) else ():
        path = one.get("certFile") if isinstance(one, dict) else None
        if isinstance(path, str) and path.startswith("/"):
            facts = _facts(Path(path), notes)
            names = facts.identifiers if facts is not None else ()
            found.append(ConfiguredPair(server="Traefik", certificate=path, names=names, facts=facts))
    return found


def _facts(path: Path, notes: Notes) -> CertificateFacts | None:
    """Of a certificate that is half-saved, or something else, nothing is known; one that is missing is no mistake
    here."""
    try:
        return read_leaf(read_bytes(path))
    except UNREADABLE:
        notes.add(path, None, "it holds no certificate")
    except OSError as error:
        notes.add_error(path, error)
    return None
