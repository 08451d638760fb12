"""What a rehearsal may do: it must not act as a proxy (decision 9). Pure."""

import ipaddress
import re
from collections.abc import Callable

import msgspec

from certagent.domain.rehearsals import REHEARSAL_MARK, RehearsalRequest, digest_for
from certagent.domain.resolution.file_formats import leads_to_itself

CHALLENGES = ("http-01", "tls-alpn-01", "dns-01")
CHALLENGE_PORTS = frozenset({80, 443})

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")  # RFC 8555 section 8.3: base64url
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_on_the_network(address: str) -> bool:
    """Return whether a rehearsal may connect to the address: not if it is this node itself, link-local or a
    multicast group."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    is_special = parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified
    return not is_special and str(parsed) != "255.255.255.255"


def is_this_node_or_on_the_network(address: str) -> bool:
    """The same for an agent that rehearses for itself: its own names may lead to itself."""
    return is_on_the_network(address) or leads_to_itself(address)


class RehearsalLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`allow`: the names that may be requested; `*` stands for one or more labels. `ports`: the ports that redirects
    may lead to.

    `may_connect` judges the address that a connection really reaches.
    """

    allow: tuple[str, ...]
    ports: frozenset[int] = CHALLENGE_PORTS
    may_connect: Callable[[str], bool] = is_on_the_network

    def allows(self, name: str) -> bool:
        """Return whether the name is on the allow-list."""
        bare = name.lower().removesuffix(".")
        return any(_pattern(allowed).fullmatch(bare) for allowed in self.allow)

    def objection(self, request: RehearsalRequest) -> str | None:
        """Return why the request is refused; None when it is valid."""
        if request.challenge not in CHALLENGES:
            return f"challenge {request.challenge!r} cannot be rehearsed"
        wildcard = "*." if request.challenge == "dns-01" else ""
        if not self.allows(request.identifier.removeprefix(wildcard)):
            return f"{request.identifier!r} is not on the allow-list of this node"
        if not _TOKEN.fullmatch(request.token):
            return "the token is malformed"
        if not _DIGEST.fullmatch(request.digest):
            return "the digest is malformed"
        # This keeps the location of key authorizations secret: a rehearsal's token is one that no CA issues, with any
        # digest, since only the node that planted the body knows it, and a stateless responder answers in their form.
        is_marked = request.token.startswith(REHEARSAL_MARK)
        if request.digest != digest_for(request.token) and not is_marked:
            return "the digest does not match a rehearsal's body for this token"
        return None


def _pattern(allowed: str) -> re.Pattern[str]:
    labels = (r"[^.]+(?:\.[^.]+)*" if label == "*" else re.escape(label) for label in allowed.lower().split("."))
    return re.compile(r"\.".join(labels))
