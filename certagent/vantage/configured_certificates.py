"""What the web servers of this node are configured with: the certificates they name, and Traefik's own certificate
resolvers.

Observations for `certagent.domain.diagnosis.drift`; what cannot be read is left out, and noted.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from certagent.domain.certificates import UNREADABLE, CertificateFacts, read_leaf
from certagent.domain.diagnosis.drift import CertResolver, ConfiguredPair
from certagent.system.regular_files import read_bytes
from certagent.vantage.config_nodes import ConfigNode
from certagent.vantage.foreign_files import Notes, Reading, read_foreign, read_part
from certagent.vantage.nginx_config import NGINX
from certagent.vantage.nginx_pairs import find_nginx
from certagent.vantage.traefik_files import TRAEFIK, DynamicFile, find_static, load_dynamic, load_static


class ConfiguredCertificates:
    """The certificates in the configurations of nginx and Traefik. Reads the files anew for each call."""

    def __init__(self, nginx: Path = NGINX, traefik: tuple[Path, ...] = TRAEFIK) -> None:
        self._nginx = nginx
        self._traefik = traefik

    def pairs(self) -> Reading[list[ConfiguredPair]]:
        """Return every certificate that nginx or Traefik's file provider names, except those in the YAML that
        certagent writes."""
        of_nginx: Reading[list[ConfiguredPair]] = read_foreign(self._nginx, self._nginx_pairs, [])
        static = find_static(self._traefik)
        if static is None:
            return of_nginx
        of_traefik: Reading[list[ConfiguredPair]] = read_foreign(static, partial(_traefik_pairs, static), [])
        return Reading([*of_nginx.value, *of_traefik.value], (*of_nginx.unreadable, *of_traefik.unreadable))

    def resolvers(self) -> Reading[list[CertResolver]]:
        """Return Traefik's own certificate resolvers, each at the line that names its CA, or else at its own line."""
        static = find_static(self._traefik)
        return read_foreign(static, lambda notes: list(_resolvers(static, notes)), []) if static else Reading([])

    def _nginx_pairs(self, notes: Notes) -> list[ConfiguredPair]:
        found = find_nginx(self._nginx)
        notes.extend(found.unreadable)
        return [
            ConfiguredPair(
                server="nginx",
                certificate=str(pair.certificate),
                names=pair.names,
                facts=_facts(pair.certificate, notes),
            )
            for pair in found.value.pairs
        ]


def _resolvers(static: Path, notes: Notes) -> Iterator[CertResolver]:
    for name, resolver in load_static(static, notes).get("certificatesResolvers").tables():
        acme = resolver.get("acme")
        if acme.is_set:
            server = acme.get("caServer")
            place = server.place if server.is_set else resolver.place
            yield CertResolver(
                name=name,
                file=place.file,
                line=place.line or 1,
                text=place.text,
                directory=server.text() or None,
                hours=acme.get("certificatesDuration").number(),
            )


def _traefik_pairs(static: Path, notes: Notes) -> list[ConfiguredPair]:
    found: list[ConfiguredPair] = []
    for file in load_dynamic(static, load_static(static, notes), notes):
        if not file.path.name.startswith("certagent-"):
            found += read_part(file.path, partial(_named_in, file, notes), [], notes)
    return found


def _named_in(file: DynamicFile, notes: Notes) -> list[ConfiguredPair]:
    found = []
    for named in _certificates(file.node.get("tls")):
        path = named.get("certFile").text()
        if path.startswith("/") and "{{" not in path:
            facts = _facts(Path(path), notes)
            names = facts.identifiers if facts is not None else ()
            found.append(ConfiguredPair(server="Traefik", certificate=path, names=names, facts=facts))
    return found


def _certificates(tls: ConfigNode) -> Iterator[ConfigNode]:
    yield from tls.get("certificates").items()
    yield from (store.get("defaultCertificate") for _, store in tls.get("stores").tables())


def _facts(path: Path, notes: Notes) -> CertificateFacts | None:
    """Return the certificate's facts; None for a file that is half-saved or not a certificate. A missing file is not
    noted here."""
    try:
        return read_leaf(read_bytes(path))
    except UNREADABLE:
        notes.add(path, None, "it contains no certificate")
    except OSError as error:
        notes.add_error(path, error)
    return None
