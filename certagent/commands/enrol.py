"""`certagent enrol NAME`: on the collector's node, one line to paste into a container, for `certagent join` there."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.collector.enrolments import add_enrolment
from certagent.commands.store_errors import store_of_owner
from certagent.config import AgentSettings, CollectorSettings, split_endpoint
from certagent.domain.enrolment import MOST_ADDRESSES, MOST_ROOTS, Enrolment, EnrolmentLine, is_collector_url
from certagent.domain.server_address import split_address
from certagent.system.procfs import ProcFs
from certagent.system.regular_files import read_bytes

IS_VERBATIM = True
"""What it shows is copied, or piped on."""

_HTTPS = 443
_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


class EnrolRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the person said. `agent`: the configuration of the agent beside the collector, from which the CA's facts are
    taken that are not given."""

    name: str
    role: str = "agent"
    url: str | None = None
    addresses: tuple[str, ...] = ()
    directory: str | None = None
    roots: tuple[Path, ...] = ()
    agent: AgentSettings | None = None


def enrol(settings: CollectorSettings, request: EnrolRequest) -> dict[str, Any]:
    """`{"name", "role", "line", "expires_at"}`: the only time that the line is shown.

    Raises ValueError for a name that can have no (further) token of that role, and for what the line needs and nothing
    says, `UnableError` for a store that cannot be used.
    """
    url = request.url or settings.url
    if url is None or not is_collector_url(url):
        raise ValueError(
            'the URL at which agents reach this collector is unknown: set url = "https://HOST:PORT" in its '
            "configuration, or give --url"
        )
    if settings.server.certificate is None:
        raise ValueError("this collector has no certificate, so agents could not verify that it is the right one")
    for address in request.addresses:
        split_address(address)
    certificate = _certificates(settings.server.certificate)[:1]
    enrolment = _enrolment_for(request)
    roots = [x509.load_pem_x509_certificate(pem) for pem in _split(enrolment.roots)]
    with store_of_owner(settings.store.url):
        secret, expires_at = add_enrolment(settings.store.url, enrolment, datetime.now(UTC))
    line = EnrolmentLine(
        name=request.name,
        url=url.rstrip("/"),
        addresses=(request.addresses or _addresses(settings, url))[:MOST_ADDRESSES],
        certificate=_sha256(certificate[0]),
        roots=tuple(map(_sha256, roots)),
        secret=secret,
    )
    until = expires_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"name": request.name, "role": request.role, "line": line.written(), "expires_at": until}


def render(document: dict[str, Any]) -> str:
    """The line alone, so that it can be piped into `certagent join`."""
    return str(document["line"])


def hint(document: dict[str, Any], *, is_piped: bool) -> str:
    """What to do with it, for standard error; where it is piped, that is known."""
    told = f"For {document['name']} only, once, until {document['expires_at']}. Keep it secret."
    if is_piped:
        return told
    return (
        f"{told} In the container, run `certagent join` and paste it there; or pipe it: pct exec COLLECTOR -- certagent"
        f" enrol {document['name']} | pct exec NODE -- certagent join"
    )


def _enrolment_for(request: EnrolRequest) -> Enrolment:
    authority = request.agent.authority if request.agent is not None else None
    files = request.roots or (tuple(authority.root) if authority is not None else ())
    directory = request.directory or (authority.directory if authority is not None else None)
    if not files or directory is None:
        raise ValueError(
            "the CA is unknown on this node: give --directory and --root-ca, or configure its agent first "
            "(certagent init --collector --directory URL)"
        )
    found = [certificate for file in files for certificate in _certificates(file)]
    if len(found) > MOST_ROOTS:
        raise ValueError(f"there are {len(found)} roots in {', '.join(map(str, files))}: no more than {MOST_ROOTS}")
    return Enrolment(
        name=request.name,
        role=request.role,
        roots="".join(one.public_bytes(Encoding.PEM).decode() for one in found),
        directory=directory,
        ca_addresses=authority.addresses if authority is not None else (),
        zones=request.agent.dns.zones if request.agent is not None else (),
    )


def _addresses(settings: CollectorSettings, url: str) -> tuple[str, ...]:
    """This node's; with the port that is listened on, where the URL leads to another one."""
    host, port = split_endpoint(settings.server.listen)
    hosts = ProcFs().addresses() if host in _UNSPECIFIED else (host,)
    if port == (urlsplit(url).port or _HTTPS):
        return hosts
    return tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts)


def _certificates(file: Path) -> list[x509.Certificate]:
    """Raises ValueError, with the file."""
    try:
        return x509.load_pem_x509_certificates(read_bytes(file))
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{file} contains no certificate") from error


def _split(pem: str) -> list[bytes]:
    return [one.public_bytes(Encoding.PEM) for one in x509.load_pem_x509_certificates(pem.encode())]


def _sha256(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()
