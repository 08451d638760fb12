"""The settings of the services that certificates are deployed to, and of where that is proven. Reads no file."""

from pathlib import Path
from typing import Literal

import msgspec


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen; an unknown key is an error."""


Starttls = Literal[
    "smtp", "lmtp", "imap", "pop3", "sieve", "ftp", "nntp", "ldap", "postgres", "mysql", "xmpp", "xmpp-server"
]
"""As `openssl s_client -starttls` calls them."""


class ProofEndpoint(_Settings, frozen=True):
    """Where a proof looks: `address` is `address:port`; `proxy_protocol`: the service expects the PROXY protocol
    there; `starttls`: the protocol whose STARTTLS command begins TLS, if a connection begins without it."""

    address: str
    proxy_protocol: bool = False
    starttls: Starttls | None = None


Endpoint = str | ProofEndpoint
"""An endpoint as it is written in `prove`: in short, or with how it is spoken to."""


def endpoint_of(written: Endpoint) -> ProofEndpoint:
    """The long form of either."""
    return ProofEndpoint(address=written) if isinstance(written, str) else written


class NginxTarget(_Settings, frozen=True, tag="nginx", tag_field="kind"):
    """A pair of files that nginx reads (`certificate`, with the chain, and `key`); promoted, tested, reloaded, proven.

    Of all kinds: `prove` are the endpoints (`address:port`) where the new pair must be served; `owner` and `group` are
    the files'; `mode` is the key's (default: 0o600, and 0o640 for a group that is not root's); `reader` is the user
    that the service reads the pair as, if that is neither root nor the `owner`.
    """

    certificate: Path
    key: Path
    owner: str = "root"
    group: str = "root"
    mode: int | None = None
    reader: str | None = None
    prove: tuple[Endpoint, ...] = ()


class TraefikTarget(_Settings, frozen=True, tag="traefik", tag_field="kind"):
    """Traefik's file provider: `dynamic` is its directory, `certificates` where the pairs are kept (default:
    `certagent` next to `dynamic`), `api` where its API answers (`http://127.0.0.1:8080`): evidence of what it has
    loaded."""

    dynamic: Path
    certificates: Path | None = None
    api: str | None = None
    owner: str = "root"
    group: str = "root"
    mode: int | None = None
    reader: str | None = None
    prove: tuple[Endpoint, ...] = ()


class CommandTarget(_Settings, frozen=True, tag="command", tag_field="kind"):
    """Any other service: a pair of files (`certificate`, `key`) and an argument list (`command`) that makes the service
    read them (no shell), run as `user` (default: the agent's own), for `timeout` seconds at most."""

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


class HaproxyTarget(_Settings, frozen=True, tag="haproxy", tag_field="kind"):
    """One file that HAProxy reads (`certificate`: key and chain together, as a `crt` names it, or in a `crt` folder);
    promoted, tested, reloaded, proven. `configuration`: the file or folder that HAProxy is started with. `socket`: its
    stats socket with `level admin`; the certificate is then replaced by the runtime API, without a reload."""

    certificate: Path
    configuration: Path = Path("/etc/haproxy/haproxy.cfg")
    socket: Path | None = None
    owner: str = "root"
    group: str = "root"
    mode: int | None = None
    reader: str | None = None
    prove: tuple[Endpoint, ...] = ()


DeployTarget = NginxTarget | TraefikTarget | HaproxyTarget | CommandTarget
