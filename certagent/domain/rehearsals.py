"""Rehearsals as values: what is asked of the agent beside the CA, and what it saw; whose addresses it met. No body ever
travels.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from certagent.domain.dns01_record import TxtLookup
from certagent.domain.findings import Finding
from certagent.domain.open_enum import OpenEnum
from certagent.domain.probe_errors import ProbeError

ACME_TLS = "acme-tls/1"
ACME_TLS_PORT = 443
CHALLENGE_PATH = "/.well-known/acme-challenge/"
BODY_SUFFIX = ".certagent-rehearsal"
REHEARSAL_MARK = "certagent-rehearsal-"
"""What a rehearsal's token begins with, and none that a CA gives out."""
LONGEST_PLANTING_SECONDS = 60
MOST_PER_CALLER = 2
"""Rehearsals of one caller that may be under way at once."""
BUSY = "busy"
"""What the reason of a rehearsal begins with that was refused only for now: too many are under way."""


class ChallengeType(StrEnum):
    """How the CA may ask (RFC 8555 section 8, RFC 8737)."""

    HTTP01 = "http-01"
    TLS_ALPN01 = "tls-alpn-01"
    DNS01 = "dns-01"


class RehearsalOutcome(OpenEnum):
    """Whether the planted token came back, did not, or could not be asked for."""

    PASSED = "passed"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


class RehearsalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent: `digest` is the SHA-256 (hexadecimal) of the body that the client's own agent planted. Not
    `planted`: somebody else answers the challenges, and only how far the way leads is asked."""

    identifier: str
    challenge: str = ChallengeType.HTTP01
    token: str
    digest: str
    planted: bool = True


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where one answer came from: a line of a hosts file, or a nameserver."""

    source: str  # "hosts" | "dns" | "literal"; of a setting: "resolv.conf" | "nsswitch" | "unit"
    file: str | None = None
    line: int | None = None
    text: str | None = None
    nameserver: str | None = None
    asked: str | None = None  # the absolute name that the nameserver was asked for
    managed_by: str | None = None  # who rewrites that line: "proxmox", "cloud-init", "docker", ...


class ResolvedAddress(msgspec.Struct, frozen=True, kw_only=True):
    """One address that the CA would try, in its order, and where it came from."""

    address: str
    origin: Origin


class LibcAnswer(msgspec.Struct, frozen=True):
    """What a node's own libc says of a name. `error`: its words, or "timeout"."""

    name: str
    addresses: tuple[str, ...] = ()
    error: str | None = None


class DnsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one nameserver said to one question. `status`: "ok" (then `addresses` may be empty: NODATA),
    "nxdomain", "servfail", "refused", "timeout", "unreachable", "tcp_blocked"."""

    nameserver: str
    name: str
    record: str  # "A" | "AAAA"
    status: str
    addresses: tuple[str, ...] = ()


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """One name as the CA resolves it: Go's order of sources, hosts and DNS side by side.

    `nameservers` are the lines that say whom to ask, `switch` the line that decides on the order of sources.
    `addresses` is what the CA uses. `hosts` is every matching hosts line whether it decides or not, `dns` what
    the nameservers say whether they are asked or not: so a reader sees both sides of a disagreement.
    """

    name: str
    order: tuple[str, ...] = ("files", "dns")
    addresses: tuple[ResolvedAddress, ...] = ()
    hosts: tuple[ResolvedAddress, ...] = ()
    dns: tuple[DnsAnswer, ...] = ()
    nameservers: tuple[Origin, ...] = ()
    switch: Origin | None = None
    error: str | None = None  # "nxdomain", "nodata", "servfail", "refused", "timeout", "unreachable", "no_nameserver"


class AlpnAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one handshake that was to negotiate `acme-tls/1`. `protocol`: what was negotiated, null for none.

    `is_alone`: the certificate's SAN is the identifier and nothing else. `extension` (the acmeIdentifier): "absent",
    "obsolete", "not_critical", "malformed", "other" (of another challenge) or "ours".
    """

    protocol: str | None = None
    is_alone: bool = False
    extension: str = "absent"

    @property
    def is_good(self) -> bool:
        """Whether the CA would take it."""
        return self.protocol == ACME_TLS and self.is_alone and self.extension == "ours"


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One fetch of the chain. `error` is null, or one of: "refused", "timeout", "no_route", "reset", "tls",
    "protocol", "redirect_offsite", "redirect_proxied" (the CA goes on through its HTTPS_PROXY), "redirect_loop",
    "unresolved", "no_protocol" (tls-alpn-01: the handshake was ended because of the protocol); `errno` its symbolic
    name where there is one. `is_local`: the node that asks keeps its own packets back, by a route or by a filter."""

    url: str
    name: str
    address: str | None = None
    port: int = 80
    status: int | None = None
    server: str | None = None
    location: str | None = None
    content_type: str | None = None
    certificate_names: tuple[str, ...] = ()  # of the TLS certificate met on a redirect to 443
    error: str | None = None
    errno: str | None = None
    took_ms: int = 0
    is_local: bool = False
    alpn: AlpnAnswer | None = None  # of a tls-alpn-01 challenge: a handshake that came about

    @property
    def is_answered(self) -> bool:
        """Whether somebody answered in the protocol of the challenge: HTTP, or TLS for tls-alpn-01."""
        return self.status is not None or self.alpn is not None or self.error == ProbeError.NO_PROTOCOL


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """The fetch from one address of the identifier, with every redirect followed from there."""

    hops: tuple[Hop, ...]
    matched: bool = False


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """An open connection of the CA's process to a challenge port: it may be used in place of a fresh one."""

    address: str
    port: int


class AddressOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose address that is, by the fleet's inventory."""

    node: str
    role: str | None = None


class Provisioner(msgspec.Struct, frozen=True, kw_only=True):
    """The CA's configuration, as far as it decides on orders of our directory. `lines`: where each word stands.

    `is_loaded`: the file has not changed since the CA's process began, so this is what it goes by. `exists`: an ACME
    provisioner of the directory's name is there. Empty `challenges` means all, empty `allowed` everything.
    `chain_file`: the intermediate that it issues with, and `chain_ends_at` when that ends (None: not known).
    """

    file: str
    is_loaded: bool = True
    exists: bool = True
    names: tuple[str, ...] = ()  # dnsNames: of the CA's own certificate
    challenges: tuple[str, ...] = ()
    requires_eab: bool = False
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    lines: dict[str, int] = {}
    chain_file: str | None = None
    chain_ends_at: datetime | None = None

    def denies(self, identifier: str) -> bool:
        """Whether a line of its policy denies the identifier."""
        return _matches(identifier, self.denied)

    def allows(self, identifier: str) -> bool:
        """Whether its policy lets the identifier through."""
        return not self.denies(identifier) and (not self.allowed or _matches(identifier, self.allowed))

    def refuses(self, code: str, identifier: str, challenge: str) -> bool:
        """Whether an order is refused for the reason that the code names."""
        is_offered = not self.challenges or challenge in self.challenges
        reasons = {
            "ca.provisioner_missing": not self.exists,
            "ca.challenge_not_offered": not is_offered,
            "ca.policy_denies": not self.allows(identifier),
        }
        return self.is_loaded and reasons.get(code, False)


def _matches(identifier: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern of Step-CA's policy matches: an exact name, or `*.zone` for one more label."""
    name = identifier.lower().removeprefix("*.")
    _, _, zone = name.partition(".")
    return any(pattern.lower() in (name, f"*.{zone}") for pattern in patterns)


class LastWords(msgspec.Struct, frozen=True, kw_only=True):
    """The line of the CA's journal that says most about how it ended, without secrets; or why there is none."""

    unit: str
    said: str | None = None
    missing: str | None = None


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent beside the CA saw. `node` is that agent's; `reason` says why an outcome is unavailable.

    The Go resolver tries all addresses in turn, so `attempts` holds one entry per address tried; the outcome is
    that of the first one that answered at all. `direct`: the same without the CA's proxy, where it failed through it
    (the proxy is not to blame for what fails either way). `settles_at`: until then the CA may still use what it read
    before (hosts cache of 5 s). `stale`: connections of the CA to addresses that the name no longer leads to.
    `unseen_file`: a file that says something else of the name than before although neither its size nor its time
    moved: the CA keeps what it had read of it. `unreadable`: resolver files that the CA's user may not read.
    `last_words`: of a CA that does not run, or that listens nowhere.
    `owners` is filled in by the collector, whose inventory knows the whole fleet, and so is `testimony`: what agents
    found in files of their own nodes and said of this identifier. Not `planted`: it cannot pass, and it has failed only
    where nobody answered at all.
    """

    identifier: str
    challenge: str = ChallengeType.HTTP01
    outcome: RehearsalOutcome
    at: datetime
    planted: bool = True
    node: str | None = None
    reason: str | None = None
    resolution: Resolution | None = None
    attempts: tuple[Attempt, ...] = ()
    direct: tuple[Attempt, ...] = ()
    stale: tuple[Connection, ...] = ()
    txt: TxtLookup | None = None  # of a dns-01 challenge, in place of `attempts`
    settles_at: datetime | None = None
    libc: LibcAnswer | None = None  # what libc on the CA's node says, where Go found nothing
    authority_flags: tuple[str, ...] = ()  # of the CA's command line, what moves the goalposts
    proxy: str | None = None  # the CA's HTTP_PROXY, credentials stripped
    started_by: tuple[tuple[str, Origin], ...] = ()  # a flag or variable of the CA, and the line of its unit
    provisioner: Provisioner | None = None
    unseen_file: str | None = None
    unreadable: tuple[str, ...] = ()
    last_words: LastWords | None = None
    owners: dict[str, AddressOwner] = {}
    testimony: tuple[Finding, ...] = ()

    def shows_chain(self, node: str | None, file: str | None, ends_at: object) -> bool:
        """Whether the agent beside the CA says, too, that the intermediate in that file ends then (RFC 3339)."""
        ca = self.provisioner
        if ca is None or ca.chain_file is None or ca.chain_ends_at is None:
            return False
        return (node, file, ends_at) == (self.node, ca.chain_file, ca.chain_ends_at.isoformat())

    def shows_refusal(self, code: str, node: str | None, file: str | None) -> bool:
        """Whether the agent beside the CA says, too, that the CA's file refuses the order for that reason."""
        ca = self.provisioner
        is_there = ca is not None and (node, file) == (self.node, ca.file)
        return is_there and ca is not None and ca.refuses(code, self.identifier, self.challenge)

    @property
    def is_busy(self) -> bool:
        """Whether it was refused only for now, so that it is worth asking again."""
        return self.outcome is RehearsalOutcome.UNAVAILABLE and (self.reason or "").startswith(BUSY)


def body_for(token: str, secret: str) -> str:
    """What is planted: a form that no key authorization has (those are `token.thumbprint`, RFC 8555 section 8.1).

    `secret` is random and known to the node that plants the body alone: whoever is led to by a wrong line knows the
    token, and cannot answer it."""
    return f"{token}{BODY_SUFFIX}.{secret}"


def digest_for(token: str) -> str:
    """The only digest with which a token without the mark may be asked for, as agents before 0.2.0 do where nothing is
    planted: of no body that is planted, and of no key authorization."""
    import hashlib  # OpenSSL with it, for whoever asks alone

    return hashlib.sha256((token + BODY_SUFFIX).encode()).hexdigest()


def deciding(attempts: Sequence[Attempt]) -> Attempt | None:
    """The attempt that decided: the one that matched, else the first in which somebody answered, else the first that
    met silence (the CA's time runs out over it), else the first."""
    matched = (one for one in attempts if one.matched)
    answered = (one for one in attempts if one.hops and one.hops[0].status is not None)
    silent = (one for one in attempts if one.hops and one.hops[0].error == ProbeError.TIMEOUT)
    return next(iter((*matched, *answered, *silent, *attempts)), None)


def describe_owner(owner: AddressOwner) -> str:
    """`lxc101, gateway`, or the node alone."""
    return f"{owner.node}, {owner.role}" if owner.role else owner.node


def addresses_in_dns(resolution: Resolution) -> set[str]:
    """Every address that any nameserver gives for the name."""
    return {address for reply in resolution.dns for address in reply.addresses}
