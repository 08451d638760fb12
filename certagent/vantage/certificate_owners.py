"""Who else renews a certificate of this node: by its folder, by other clients' records, by their hooks and timers, by
their copies of it, and by its issuer. Reads only; what cannot be read shows nothing.
"""

import json
import os
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from certagent.domain.certificates import CertificateFacts, read_leaf
from certagent.system.client_folders import find_client
from certagent.system.regular_files import read_bytes

_LARGEST_FILE = 256 * 1024
_LARGEST_STORE = 16 * 1024 * 1024
_MOST_FILES = 2000

_HOMES = ("/root", "/home/*", "/var/lib/acme", "/opt", "/usr/local/share", "/etc", "/var/lib")
_ACME_SH = tuple(f"{home}/{folder}/*/*.conf" for home in _HOMES for folder in (".acme.sh", "acme.sh"))
_LETSENCRYPT = ("/etc/letsencrypt", "/config/etc/letsencrypt", "/usr/local/etc/letsencrypt", "/opt/letsencrypt")
_HOOKS = tuple(f"{home}/renewal-hooks/{kind}/*" for home in _LETSENCRYPT for kind in ("deploy", "post", "pre"))
_CERTMONGER = ("/var/lib/certmonger/requests/*",)
_TIMERS = (
    *("/etc/systemd/system/*.service", "/etc/systemd/system/*.service.d/*.conf", "/usr/lib/systemd/system/*.service"),
    *("/etc/crontab", "/etc/cron.d/*", "/etc/cron.daily/*", "/etc/cron.weekly/*", "/etc/cron.hourly/*"),
    *("/var/spool/cron/*", "/var/spool/cron/crontabs/*", "/etc/periodic/*/*", "/etc/dehydrated/hook*"),
)
_COPIED = (
    *((f"{home}/live/*/fullchain.pem", "certbot") for home in _LETSENCRYPT),
    *((f"{home}/{folder}/certificates/*.crt", "lego") for home in _HOMES for folder in (".lego", "lego")),
    *((f"{home}/{folder}/*/fullchain.cer", "acme.sh") for home in _HOMES for folder in (".acme.sh", "acme.sh")),
    *((f"{root}/certificates/*/*/*.crt", "Caddy") for root in ("/var/lib/caddy/.local/share/caddy", "/data/caddy")),
    ("/var/lib/dehydrated/certs/*/fullchain.pem", "dehydrated"),
    ("/etc/ssl/uacme/*/cert.pem", "uacme"),
)
_STORES = tuple(
    f"{folder}/acme*.json" for folder in ("/etc/traefik", "/etc/traefik/*", "/var/lib/traefik", "/letsencrypt")
)
_PROGRAMS = {
    "certbot": "certbot",
    "lego": "lego",
    "acme.sh": "acme.sh",
    "dehydrated": "dehydrated",
    "uacme": "uacme",
    "getssl": "getssl",
    "acme-tiny": "acme-tiny",
    "acme_tiny": "acme-tiny",
    "simp_le": "simp_le",
    "step ca renew": "step ca renew",
    "step-cli ca renew": "step ca renew",
    "tailscale cert": "tailscale",
}
_PUBLIC = ("Let's Encrypt", "ZeroSSL", "Google Trust Services", "Buypass", "SSL.com", "Actalis")
_ORGANIZATION = re.compile(r"(?:^|,)O=((?:[^,\\]|\\.)*)")


class CertificateOwner(msgspec.Struct, frozen=True):
    """Who renews it, as people call it, and the file or folder that shows that."""

    name: str
    evidence: Path


class CertificateOwners:
    """Other clients' records on this node, read once, when they are asked for first."""

    def owner_of(self, certificate: Path, key: Path, facts: CertificateFacts | None = None) -> CertificateOwner | None:
        """Who else renews that pair; `facts` are those of the certificate there. None: nobody is recognised."""
        for file in (certificate, key):
            client = find_client(file)
            if client is not None:
                return CertificateOwner(client.owner, client.evidence)
        return (
            self._installed(certificate, key)
            or self._mentioned(certificate, key)
            or (self._copies.get(facts.fingerprint) if facts is not None else None)
            or _public_issuer(certificate, facts)
        )

    def _installed(self, *files: Path) -> CertificateOwner | None:
        wanted = {name for file in files for name in (str(file), os.path.realpath(file))}
        return next((self._targets[name] for name in wanted if name in self._targets), None)

    def _mentioned(self, *files: Path) -> CertificateOwner | None:
        names = [re.compile(rf"(?<![\w./-]){re.escape(str(file))}(?![\w./-])") for file in files]
        for script, text in self._scripts:
            if any(str(file) in text for file in files) and any(name.search(text) for name in names):
                program = _program_in(script, text)
                if program is not None:
                    return CertificateOwner(program, script)
        return None

    @cached_property
    def _targets(self) -> dict[str, CertificateOwner]:
        """The paths that a client installs its pairs to, by its own record."""
        found: dict[str, CertificateOwner] = {}
        for owner, pattern, files in (
            ("acme.sh", r"(?m)^Le_Real(?:FullChain|Cert|Key)Path=['\"]?([^'\"\n]+)", _ACME_SH),
            ("certmonger", r"(?m)^(?:cert_file|key_file)=(.+)$", _CERTMONGER),
            (
                "certbot",
                r"(?m)^\s*(?:fullchain|cert|privkey)\s*=\s*(/\S+)",
                [f"{home}/renewal/*.conf" for home in _LETSENCRYPT],
            ),
        ):
            for file in _matching(files):
                for path in re.findall(pattern, _text(file)):
                    found.setdefault(path.strip(), CertificateOwner(owner, file))
        return found

    @cached_property
    def _scripts(self) -> list[tuple[Path, str]]:
        """Hooks, units and crontabs, and certbot's renewal files, which have hooks in them."""
        renewals = [f"{home}/renewal/*.conf" for home in _LETSENCRYPT]
        return [(file, _text(file)) for file in _matching((*_HOOKS, *renewals, *_TIMERS))]

    @cached_property
    def _copies(self) -> dict[str, CertificateOwner]:
        """The certificates in other clients' stores, by fingerprint."""
        found: dict[str, CertificateOwner] = {}
        stored = ((file, owner, _bytes(file)) for pattern, owner in _COPIED for file in _matching((pattern,)))
        of_traefik = ((file, "Traefik's own ACME", pem) for file in _matching(_STORES) for pem in _pems_in(file))
        for file, owner, pem in chain(stored, of_traefik):
            try:
                found.setdefault(read_leaf(pem).fingerprint, CertificateOwner(owner, file))
            except ValueError:
                continue
        return found


def _program_in(script: Path, text: str) -> str | None:
    if "renewal-hooks" in script.parts or script.parent.name == "renewal":
        return "certbot"
    words = (name for word, name in _PROGRAMS.items() if re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", text))
    return next(words, None)


def _public_issuer(certificate: Path, facts: CertificateFacts | None) -> CertificateOwner | None:
    """A public CA's certificate came by somebody else's order."""
    organization = _ORGANIZATION.search(facts.issuer) if facts is not None else None
    name = organization[1].replace("\\", "") if organization is not None else ""
    public = next((public for public in _PUBLIC if public in name), None)
    return CertificateOwner(f"the client that orders it from {public}", certificate) if public is not None else None


def _matching(patterns: Iterable[str]) -> Iterator[Path]:
    """Files of those absolute patterns, in their order."""
    found = (path for pattern in patterns for path in _glob(pattern))
    yield from islice(found, _MOST_FILES)


def _glob(pattern: str) -> list[Path]:
    try:
        return sorted(path for path in Path("/").glob(pattern.lstrip("/")) if path.is_file())
    except OSError:
        return []


def _bytes(file: Path, largest: int = _LARGEST_FILE) -> bytes:
    try:
        return read_bytes(file, largest)
    except OSError:
        return b""


def _text(file: Path) -> str:
    return _bytes(file).decode("utf-8", "replace")


def _pems_in(store: Path) -> Iterator[bytes]:
    """Certificates in Traefik's acme.json."""
    try:
        document: Any = json.loads(_bytes(store, _LARGEST_STORE))
    except (ValueError, RecursionError):
        return
    for resolver in document.values() if isinstance(document, dict) else ():
        certificates = resolver.get("Certificates") if isinstance(resolver, dict) else None
        for entry in certificates if isinstance(certificates, list) else ():
            try:
                yield b64decode(entry["certificate"])
            except (KeyError, TypeError, ValueError):
                continue
