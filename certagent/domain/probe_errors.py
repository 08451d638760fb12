"""What may go wrong when somebody connects or asks a nameserver: the kinds, and the words for each. Values only."""

from collections.abc import Mapping
from enum import StrEnum


class ProbeError(StrEnum):
    """Why a connection, a handshake or a fetch came to nothing."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    NO_ROUTE = "no_route"
    RESET = "reset"
    UNRESOLVED = "unresolved"
    TLS = "tls"
    PROTOCOL = "protocol"
    NO_PROTOCOL = "no_protocol"  # tls-alpn-01: the handshake was ended because of the protocol
    UNTRUSTED = "untrusted"
    ROOT_CHANGED = "root_changed"
    EXPIRED = "expired"
    NAME_MISMATCH = "name_mismatch"
    HTTP_STATUS = "http_status"
    UNHEALTHY = "unhealthy"
    REDIRECT_LOOP = "redirect_loop"
    REDIRECT_OFFSITE = "redirect_offsite"
    REDIRECT_PROXIED = "redirect_proxied"  # the CA follows it through its HTTPS_PROXY
    FORBIDDEN = "forbidden"  # something may listen there, but a rehearsal must not find out


class DnsStatus(StrEnum):
    """What a nameserver's answer amounts to. A nameserver may also answer with another code, in lower case."""

    OK = "ok"
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"
    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    TCP_BLOCKED = "tcp_blocked"
    MALFORMED = "malformed"
    LAME = "lame"
    NO_NAMESERVER = "no_nameserver"


SILENT = frozenset({DnsStatus.TIMEOUT, DnsStatus.UNREACHABLE})
"""No answer at all."""

NOBODY_THERE: frozenset[str] = frozenset(
    {ProbeError.REFUSED, ProbeError.TIMEOUT, ProbeError.NO_ROUTE, ProbeError.RESET}
)
"""No connection, whatever would have been asked for."""

UNHEARD = frozenset({ProbeError.TIMEOUT, ProbeError.NO_ROUTE})
"""Nothing came back: packets are lost on the way there, or on the way back."""

PROBE_PHRASES: Mapping[str, str] = {
    ProbeError.REFUSED: "nothing listens there",
    ProbeError.TIMEOUT: "no answer came in time",
    ProbeError.NO_ROUTE: "there is no route to it",
    ProbeError.RESET: "the connection was reset",
    ProbeError.UNRESOLVED: "its name has no address here",
    ProbeError.TLS: "it does not complete a TLS handshake",
    ProbeError.PROTOCOL: "it does not speak the protocol",
    ProbeError.NO_PROTOCOL: "it rejects the protocol",
    ProbeError.UNTRUSTED: "its certificate does not chain to the pinned root",
    ProbeError.ROOT_CHANGED: "its root is no longer the pinned one",
    ProbeError.EXPIRED: "its own certificate has expired",
    ProbeError.NAME_MISMATCH: "its certificate is for another name",
    ProbeError.HTTP_STATUS: "it does not answer with a directory",
    ProbeError.UNHEALTHY: "it answers, but reports that it is failing",
}
"""A clause about the place that was connected to."""

HOP_LABELS: Mapping[str, str] = {
    ProbeError.REFUSED: "connection refused",
    ProbeError.TIMEOUT: "no answer: packets are dropped",
    ProbeError.NO_ROUTE: "no route",
    ProbeError.RESET: "connection cut",
    ProbeError.TLS: "speaks TLS, not HTTP",
    ProbeError.PROTOCOL: "does not speak HTTP",
    ProbeError.NO_PROTOCOL: "ends TLS itself, without acme-tls/1",
    ProbeError.UNRESOLVED: "redirects to a name without an address",
    ProbeError.FORBIDDEN: "leads to this node itself or its local network link: not contacted",
    ProbeError.REDIRECT_OFFSITE: "redirects outside the fleet: not followed",
    ProbeError.REDIRECT_PROXIED: "redirects to an address that the CA reaches through its HTTPS_PROXY: not followed",
    ProbeError.REDIRECT_LOOP: "redirects in a circle",
}
"""The same as a label of a hop in a path."""

DNS_PHRASES: Mapping[str, str] = {
    DnsStatus.OK: "knows the name but has no such record",
    DnsStatus.NXDOMAIN: "says that the name does not exist",
    DnsStatus.NODATA: "knows the name but has no such record",
    DnsStatus.SERVFAIL: "fails (SERVFAIL)",
    DnsStatus.REFUSED: "refuses to answer",
    DnsStatus.TIMEOUT: "does not answer",
    DnsStatus.UNREACHABLE: "cannot be reached",
    DnsStatus.TCP_BLOCKED: "does not answer over TCP",
    DnsStatus.MALFORMED: "sends a malformed answer",
    DnsStatus.LAME: "is not responsible for the zone",
}
"""What a nameserver does, as a verb phrase."""
