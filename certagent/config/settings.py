"""The settings as frozen values; their names are the keys that the README prints. Nothing here reads a file."""

from pathlib import Path
from typing import Literal

import msgspec

from certagent.domain.policy import Duration


class ConfigurationError(Exception):
    """A configuration that cannot be used: one clear message."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """`"10.0.0.12:443"` or `"[::1]:443"` as (host, port). Raises ValueError."""
    host, separator, port = endpoint.rpartition(":")
    is_number = port.isascii() and port.isdigit() and len(port) <= len("65535")
    if not separator or not host or not is_number or not 0 < int(port) < 65536:
        raise ValueError(f"{endpoint!r} is not address:port")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        hint = "" if "/" in host else " (an IPv6 address goes in brackets)"
        raise ValueError(f"{endpoint!r} is not address:port{hint}")
    return host.strip("[]"), int(port)


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen; an unknown key is an error."""


class AgentSection(_Settings, frozen=True):
    """Who this agent is, and where it keeps its state. `role` only describes the node; it grants nothing."""

    name: str
    state: Path = Path("/var/lib/certagent")
    policy: Path | None = None
    role: str | None = None
    socket: Path = Path("/run/certagent/agent.sock")


class BindingSection(_Settings, frozen=True):
    """External account binding (RFC 8555 section 7.3.4): the key's name, and the file with its secret in base64url;
    refused if others can read it."""

    key_id: str
    key_file: Path


class AuthoritySection(_Settings, frozen=True):
    """The CA: its ACME directory, its root (pinned), its addresses for when DNS is broken."""

    directory: str
    root: Path = Path("/etc/certagent/root_ca.crt")
    addresses: tuple[str, ...] = ()
    binding: BindingSection | None = None


class WebhookSection(_Settings, frozen=True):
    """Where a message is posted to; `headers` are sent with it, and it is signed with the content of `secret_file`."""

    url: str
    headers: dict[str, str] = {}
    secret_file: Path | None = None


class CollectorSection(_Settings, frozen=True):
    """The collector: reports go there. `root` is what its certificate is verified with; default the authority's.

    `certificate` and `key`: a pair of this node that is shown instead of the token, read again whenever it changes.
    `webhook`: where this agent itself says that the collector is gone.
    """

    url: str
    addresses: tuple[str, ...] = ()
    token_file: Path = Path("/etc/certagent/token")
    root: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    webhook: WebhookSection | None = None


class DnsSection(_Settings, frozen=True):
    """Who is asked on the wire beside resolv.conf's, and which zones are the fleet's own."""

    nameservers: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()


class VantageSection(_Settings, frozen=True):
    """Only beside the CA: which names may be rehearsed. `process` finds the CA among the node's processes."""

    allow: tuple[str, ...]
    process: str = "step-ca"


class ListenerSolver(_Settings, frozen=True, tag="listener", tag_field="kind"):
    """The agent answers challenges itself on `listen` (address:port)."""

    listen: str


class Rfc2136Solver(_Settings, frozen=True, tag="rfc2136", tag_field="kind"):
    """The agent writes the record itself by dynamic update (RFC 2136, over TCP), signed with a TSIG key (RFC 8945).

    `server` is the zone's primary (an IP address). `zone`: found by asking for its SOA, unless given. `key_file` holds
    the key's secret in base64 and nothing else; refused if others can read it.
    """

    server: str
    key_name: str
    key_file: Path
    key_algorithm: Literal["hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"] = "hmac-sha256"
    zone: str | None = None
    port: int = 53


class WebrootSolver(_Settings, frozen=True, tag="webroot", tag_field="kind"):
    """The agent writes the challenge's file below `path`, the folder that a web server serves for that name."""

    path: Path


class StatelessSolver(_Settings, frozen=True, tag="stateless", tag_field="kind"):
    """A web server answers every token with the account's thumbprint. `snippet`: where its lines are on this node, to
    be looked at; they are what `certagent account` prints."""

    snippet: Path | None = None


class HookSolver(_Settings, frozen=True, tag="exec", tag_field="kind"):
    """A program presents the record and cleans it up: `command... present|cleanup NAME TEXT`, without a shell, run as
    `user` (default: the agent's own), for `timeout` seconds at most."""

    command: tuple[str, ...]
    user: str | None = None
    timeout: float = 60.0


class ProofEndpoint(_Settings, frozen=True):
    """Where a proof looks: `address:port`; `proxy_protocol` where the service expects the PROXY protocol there."""

    address: str
    proxy_protocol: bool = False


Endpoint = str | ProofEndpoint
"""An endpoint as it is written in `prove`: in short, or with how it is spoken to."""


def endpoint_of(written: Endpoint) -> ProofEndpoint:
    """The long form of either."""
    return ProofEndpoint(address=written) if isinstance(written, str) else written


Solver = ListenerSolver | WebrootSolver | StatelessSolver | Rfc2136Solver | HookSolver


class NginxTarget(_Settings, frozen=True, tag="nginx", tag_field="kind"):
    """A pair of files that nginx reads; promoted, tested, reloaded, proven.

    Of all kinds: `mode` is the key's (default: 0o600, and 0o640 for a group that is not root's); `reader` is the user
    as whom the service reads the pair, where that is known to be another than root or the `owner`.
    """

    certificate: Path
    key: Path
    owner: str = "root"
    group: str = "root"
    mode: int | None = None
    reader: str | None = None
    prove: tuple[Endpoint, ...] = ()


class TraefikTarget(_Settings, frozen=True, tag="traefik", tag_field="kind"):
    """Traefik's file provider: `dynamic` is its directory, `certificates` where the generations lie
    (default: `certagent` beside `dynamic`), `api` where its API answers (`http://127.0.0.1:8080`): evidence of what it
    has loaded."""

    dynamic: Path
    certificates: Path | None = None
    api: str | None = None
    owner: str = "root"
    group: str = "root"
    mode: int | None = None
    reader: str | None = None
    prove: tuple[Endpoint, ...] = ()


class CommandTarget(_Settings, frozen=True, tag="command", tag_field="kind"):
    """Any other service: a pair of files and an argument list that makes the service read them (no shell), run as
    `user` (default: the agent's own), for `timeout` seconds at most."""

    certificate: Path
    key: Path
    owner: str = "root"
    group: str = "root"
    mode: int | None = None
    reader: str | None = None
    command: tuple[str, ...] = ()
    user: str | None = None
    timeout: float = 60.0
    prove: tuple[Endpoint, ...] = ()


DeployTarget = NginxTarget | TraefikTarget | CommandTarget


Challenge = Literal["http-01", "tls-alpn-01", "dns-01"]


class CertificateSection(_Settings, frozen=True):
    """One certificate. `manage = false`: somebody else renews it; it is watched, rehearsed, proven, alerted.

    `reuse_key`: renewals keep the private key. `lifetime`: asked of the CA instead of its default. `profile`: likewise,
    where the directory offers it. `root`: what a watched one is verified with beside what the system and this agent
    trust; a managed one has the CA's.
    """

    name: str
    identifiers: tuple[str, ...]
    manage: bool = True
    challenge: Challenge = "http-01"
    solver: Solver | None = None
    key: Literal["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-4096", "ed25519"] = "ecdsa-p256"
    reuse_key: bool = False
    lifetime: Duration | None = None
    profile: str | None = None
    deploy: tuple[DeployTarget, ...] = ()
    root: Path | None = None


class AgentSettings(_Settings, frozen=True):
    """`agent.toml`."""

    agent: AgentSection
    authority: AuthoritySection
    collector: CollectorSection | None = None
    dns: DnsSection = DnsSection()
    vantage: VantageSection | None = None
    certificate: tuple[CertificateSection, ...] = ()

    def challenge_of(self, name: str) -> Challenge | None:
        """By which challenge the name is proven; None when it is in no certificate of this node."""
        bare = name.lower().removesuffix(".")
        for certificate in self.certificate:
            if bare in map(str.lower, certificate.identifiers):
                return certificate.challenge
        return None


class ServerSection(_Settings, frozen=True):
    """Where the collector listens (address:port). Without certificate and key it may only be loopback.

    `client_root`: agents may show a certificate of it instead of a token (`certagent token add NAME --certificate`).
    """

    listen: str
    certificate: Path | None = None
    key: Path | None = None
    client_root: Path | None = None


class StoreSection(_Settings, frozen=True):
    """The database: `sqlite:////PATH` or, with `certagent[postgres]`, `postgresql://USER@HOST/NAME?passfile=PATH`."""

    url: str = "sqlite:////var/lib/certagent/collector.db"


class ChannelSection(_Settings, frozen=True):
    """One way to a person.

    `url`: where a webhook is posted to, where an Alertmanager listens, or an Apprise URL. `headers` are sent with each
    message (an ntfy token, for one). `secret_file`: a webhook's messages are signed with its content (HMAC-SHA256).
    """

    name: str
    kind: Literal["webhook", "alertmanager", "apprise"]
    url: str
    headers: dict[str, str] = {}
    secret_file: Path | None = None


class HeartbeatSection(_Settings, frozen=True):
    """Who raises the alarm when the collector is gone: `url` is fetched again and again, as long as all is well here.

    `kind = "alertmanager"`: an alert `CertagentAlive` that is always on, and ends by itself when it is not renewed.
    """

    url: str
    kind: Literal["ping", "alertmanager"] = "ping"
    headers: dict[str, str] = {}


class CollectorSettings(_Settings, frozen=True):
    """`collector.toml`. `url` is what people are pointed at in messages (default: made from `listen`)."""

    server: ServerSection
    store: StoreSection = StoreSection()
    channel: tuple[ChannelSection, ...] = ()
    heartbeat: HeartbeatSection | None = None
    policy: Path | None = None
    url: str | None = None
