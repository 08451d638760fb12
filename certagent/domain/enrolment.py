"""Enrolment: the one line that brings a new agent its name and the way to its collector. Pure values.

The line is a secret. It is good once, for a few minutes, for one name; what it names by fingerprint is checked before
anything is sent, and before anything that came is kept.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import msgspec

from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.server_address import split_address

ENROLLED_TWICE = "agent.enrolled_twice"
VALID_FOR = timedelta(minutes=15)
LONGEST_LINE = 4_000
"""Characters: less than a terminal takes in one line."""
MOST_ADDRESSES, MOST_ROOTS = 8, 4

_PREFIX = "certagent-enrol-1."
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


class EnrolmentLine(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """What the line says. `url`, `addresses`: where the collector is. `certificate`: the SHA-256 of the one that it
    serves now; `roots`: those of the CA's roots. `secret`: what the token is handed out for."""

    name: str
    url: str
    addresses: tuple[str, ...]
    certificate: str
    roots: tuple[str, ...]
    secret: str

    def __repr__(self) -> str:
        return f"EnrolmentLine(name={self.name!r}, url={self.url!r})"

    def written(self) -> str:
        """As it is pasted."""
        return _PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent gets for the line. `roots`: the CA's, in PEM; the rest is for its configuration."""

    name: str
    role: str
    token: str = ""
    roots: str
    directory: str
    ca_addresses: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()


class Reuse(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was used a second time, while the token of the first use is valid."""

    node: str
    used_from: str
    reused_from: str
    reused_at: datetime


def conclude_reuses(reuses: Iterable[Reuse]) -> Iterator[Finding]:
    """agent.enrolled_twice: one of each name, of the latest line."""
    latest = {reuse.node: reuse for reuse in sorted(reuses, key=lambda reuse: (reuse.node, reuse.reused_at))}
    for node, reuse in latest.items():
        yield catalogue.finding(
            ENROLLED_TWICE,
            vantage=Vantage.PEER,
            reporter="collector",
            culprit=Culprit(node=node, address=reuse.used_from),
            address=reuse.used_from,
            others=[reuse.reused_from],
            since=reuse.reused_at.strftime("%Y-%m-%d %H:%M UTC"),
        )


def read_line(text: str) -> EnrolmentLine:
    """The line as it was pasted. Raises ValueError, which never quotes it."""
    bare = "".join(text.split())  # a terminal may have wrapped it
    if len(text) > 2 * LONGEST_LINE or len(bare) > LONGEST_LINE or not bare.startswith(_PREFIX):
        raise ValueError("not a line from `certagent enrol`")
    try:
        packed = bare.removeprefix(_PREFIX).encode("ascii")
        document = base64.b64decode(packed + b"=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        line = msgspec.json.decode(document, type=EnrolmentLine)
    except (UnicodeError, binascii.Error, msgspec.DecodeError, RecursionError) as error:
        raise ValueError("the line from `certagent enrol` is damaged: it was not copied completely") from error
    if not _is_sound(line):
        raise ValueError("the line from `certagent enrol` contains unexpected data")
    return line


def _is_sound(line: EnrolmentLine) -> bool:
    fingerprints = (line.certificate, *line.roots)
    return (
        _NAME.fullmatch(line.name) is not None
        and _SECRET.fullmatch(line.secret) is not None
        and all(_FINGERPRINT.fullmatch(one) for one in fingerprints)
        and 0 < len(line.roots) <= MOST_ROOTS
        and len(line.addresses) <= MOST_ADDRESSES
        and all(map(_is_address, line.addresses))
        and is_collector_url(line.url)
    )


def is_collector_url(url: str) -> bool:
    """Whether it is https://HOST or https://HOST:PORT and nothing else."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.username, parts.password)
    return parts.scheme == "https" and bool(host) and not any(rest) and url.isascii() and url.isprintable()


def _is_address(text: str) -> bool:
    try:
        split_address(text)
    except ValueError:
        return False
    return "%" not in text
