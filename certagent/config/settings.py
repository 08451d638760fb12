"""The settings as frozen values; their names are the keys that the README prints. Nothing here reads a file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

import msgspec

from certagent.config.targets import DeployTarget
from certagent.domain.spans import Duration


class ConfigurationError(Exception):
    """A configuration that cannot be used: one clear message, with the file and, where there is one, the line.

    `status`: the program's exit status.
    """

    status = 2

    def __init__(self, path: Path, message: str, line: int | None = None) -> None:
        super().__init__(f"{path}: {message}" if line is None else f"{path}:{line}: {message}")
        self.path, self.message, self.line = path, message, line


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen; an unknown key is an error."""


class AgentSection(_Settings, frozen=True):
    """Who this agent is, and where it keeps its state.

    `name`: the name in its token. `state`: the folder of its account, pairs and spool; only root may be able to change
    it, and no other agent may use it. `policy`: a file that overrides the default policy. `role`: what the node is, in
    any word (`gateway`, `authority`); it is shown next to the node's addresses, and grants no rights (the token does).
    `socket`: where `check`, `renew` and `status` reach the running agent.
    """

    name: str
    state: Path = Path("/var/lib/certagent")
    policy: Path | None = None
    role: str | None = None
    socket: Path = Path("/run/certagent/agent.sock")


class BindingSection(_Settings, frozen=True):
    """External account binding (RFC 8555 section 7.3.4): `key_id` is the key's name, `key_file` the file with its
    secret in base64url; refused if others can read it."""

    key_id: str
    key_file: Path


class RootPaths(tuple[Path, ...]):
    """The files of the pinned roots: written as one path, or as an array of paths."""

    __slots__ = ()

    def __new__(cls, written: str | Path | Iterable[str | Path]) -> Self:
        """Raises TypeError for anything else."""
        return super().__new__(cls, map(Path, (written,) if isinstance(written, str | Path) else written))


class AuthoritySection(_Settings, frozen=True):
    """The CA: the URL of its ACME `directory`, its `addresses` for when DNS is broken, and its `root` (pinned); several
    while the root changes: every root in these files is trusted. `binding`: for external account binding."""

    directory: str
    root: RootPaths = RootPaths("/etc/certagent/root_ca.crt")
    addresses: tuple[str, ...] = ()
    binding: BindingSection | None = None


class WebhookSection(_Settings, frozen=True):
    """`url` is where a message is posted to; `headers` are sent with it, and it is signed with the content of
    `secret_file`."""

    url: str
    headers: dict[str, str] = {}
    secret_file: Path | None = None


class CollectorSection(_Settings, frozen=True):
    """The collector: reports go to its `url`, else to its `addresses` in turn (each may carry a port: ADDRESS:PORT).

    `token_file`: the token that identifies this agent; refused if others can read it. `root`: the root that verifies
    the collector's certificate; default: the authority's.

    `certificate` and `key`: a pair of this node that is presented instead of the token; reread whenever it changes.
    `webhook`: where this agent itself reports that the collector is gone.
    """

    url: str
    addresses: tuple[str, ...] = ()
    token_file: Path = Path("/etc/certagent/token")
    root: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    webhook: WebhookSection | None = None


class DnsSection(_Settings, frozen=True):
    """`nameservers` are queried in addition to those in resolv.conf; `zones` are the fleet's own."""

    nameservers: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()


class VantageSection(_Settings, frozen=True):
    """Only beside the CA. `allow`: which names may be rehearsed (`*` is one or more labels). `process` finds the CA
    among the node's processes."""

    allow: tuple[str, ...]
    process: str = "step-ca"


class ListenerSolver(_Settings, frozen=True, tag="listener", tag_field="kind"):
    """The agent answers challenges itself on `listen` (address:port)."""

    listen: str


class Rfc2136Solver(_Settings, frozen=True, tag="rfc2136", tag_field="kind"):
    """The agent writes the record itself by dynamic update (RFC 2136, over TCP), signed with a TSIG key (RFC 8945).

    `server` is the zone's primary (an IP address), asked on `port`; `key_name` and `key_algorithm` are the key's.
    `zone`: found by an SOA query, unless given. `key_file` contains only the key's secret in base64; refused if others
    can read it.
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
    """A web server answers every token with the account's thumbprint. `snippet`: the file on this node with the lines
    that `certagent account` prints; certagent only reads it."""

    snippet: Path | None = None


class HookSolver(_Settings, frozen=True, tag="exec", tag_field="kind"):
    """A program (`command`) presents the record and cleans it up: `command... present|cleanup NAME TEXT`, without a
    shell, run as `user` (default: the agent's own), for `timeout` seconds at most. It returns when the record is
    visible, and adds to what is there."""

    command: tuple[str, ...]
    user: str | None = None
    timeout: float = 60.0


Solver = ListenerSolver | WebrootSolver | StatelessSolver | Rfc2136Solver | HookSolver


Challenge = Literal["http-01", "tls-alpn-01", "dns-01"]


class CertificateSection(_Settings, frozen=True):
    """One certificate. `manage = false`: another program renews it; certagent watches it, rehearses, proves and alerts.

    `name`: its name in commands and on pages. `identifiers`: DNS names, wildcards and addresses. `challenge`: how they
    are proven; `solver`: which program answers. `key`: the kind of key. `deploy`: the services that serve it.
    `reuse_key`: renewals keep the private key. `lifetime`: requested from the CA instead of its default. `profile`:
    likewise, if the directory offers it. `root`: for a watched certificate, an additional root next to those that the
    system and this agent trust; a managed one is verified with the CA's.
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
    """`agent.toml`: the sections `agent`, `authority`, `collector` (optional), `dns`, `vantage` (only beside the CA),
    and one `certificate` for each."""

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
    """`listen`: where the collector listens (address:port). Without `certificate` and `key` it may only be loopback.

    `client_root`: agents may present a certificate issued by it instead of a token (`certagent token add NAME
    --certificate`); `name`: this collector's among several (default: the host's). `proxy_protocol_from`: the IP
    addresses of the load balancers whose connections begin with a PROXY protocol header (version 2), which names the
    client.
    """

    listen: str
    certificate: Path | None = None
    key: Path | None = None
    client_root: Path | None = None
    name: str | None = None
    proxy_protocol_from: tuple[str, ...] = ()


class StoreSection(_Settings, frozen=True):
    """`url` is the database: `sqlite:////PATH` or, with `certagent[postgres]`, `postgresql://USER@HOST/NAME?passfile=PATH`.
    Of several servers: `postgresql://USER@HOST:PORT,HOST:PORT/NAME?target_session_attrs=read-write`."""

    url: str = "sqlite:////var/lib/certagent/collector.db"


class ChannelSection(_Settings, frozen=True):
    """A notification channel. `name`: its name in the policy's rules and in `certagent channel test`; `kind`: the kind
    of receiver.

    `url`: where a webhook is posted to, where an Alertmanager listens, or an Apprise URL. `headers` are sent with each
    message (an ntfy token, for one). `secret_file`: a webhook's messages are signed with its content (HMAC-SHA256).
    """

    name: str
    kind: Literal["webhook", "alertmanager", "apprise"]
    url: str
    headers: dict[str, str] = {}
    secret_file: Path | None = None


class HeartbeatSection(_Settings, frozen=True):
    """A service that raises an alarm when the collector is gone: `url` is requested regularly, with these `headers`, as
    long as the collector works.

    `kind = "alertmanager"`: an alert `CertagentAlive` that always fires, and ends when it is not renewed.
    """

    url: str
    kind: Literal["ping", "alertmanager"] = "ping"
    headers: dict[str, str] = {}


class SourcesSection(_Settings, frozen=True):
    """`path`: a git checkout of the provisioning code on this node. It is only read; git itself is never run on it."""

    path: Path


class CollectorSettings(_Settings, frozen=True):
    """`collector.toml`: the sections `server`, `store`, `channel` (one for each), `heartbeat` and `sources` (optional).

    `policy`: a file that overrides the default policy. `url`: where agents and people reach the collector, in messages
    and enrolments (default: derived from `listen`).
    """

    server: ServerSection
    store: StoreSection = StoreSection()
    channel: tuple[ChannelSection, ...] = ()
    heartbeat: HeartbeatSection | None = None
    sources: SourcesSection | None = None
    policy: Path | None = None
    url: str | None = None
