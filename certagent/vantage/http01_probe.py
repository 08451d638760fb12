"""The fetch of an http-01 challenge as the CA makes it with Go's HTTP client. No body leaves this module, only its
digest.

Like the CA, it tries all addresses in turn with GET and the name as Host, makes up to ten requests along redirects,
does not verify TLS on the way, accepts a status below 400, and trims the body (docs/facts.md; the CA's
acme/challenge.go). Unlike the CA, it keeps no connection open, bounds everything, and does not follow redirects that
decision 9 forbids.
"""

import asyncio
import errno
import hashlib
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import msgspec

from certagent.domain.certificates import read_shown
from certagent.domain.rehearsals import ACME_TLS_PORT, CHALLENGE_PATH, Attempt, Hop, RehearsalRequest
from certagent.domain.resolution.go import Lookup
from certagent.system import http
from certagent.vantage.dialer import Dialer, Trial, kind_of
from certagent.vantage.proxy import proxy_for
from certagent.vantage.rehearsal_limits import RehearsalLimits

FETCHING_FOR = timedelta(
    seconds=30
)  # the whole chain, as the CA's HTTP client has it: a slow but correct server must not be blocked
MOST_REQUESTS = 10
USER_AGENT = "Go-http-client/1.1"  # the CA sets no own value; a gateway may filter by it

_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SAFE_IN_TARGET = "/?:@!$&'()*+,;=-._~%[]"

_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")  # urljoin would repair `http:x`; Go does not

LookUp = Callable[[str], Awaitable[Lookup]]


class FetchOptions(msgspec.Struct, frozen=True):
    """How this CA makes its requests: the ports in its flags, and whether it writes names with a final dot."""

    http_port: int = 80
    strict_fqdn: bool = False
    tls_port: int = ACME_TLS_PORT


class Http01Probe:
    """The fetch of one rehearsal, within `fetching_for` from now. `look_up` resolves the name of each hop as the CA
    would.

    `environment` is the CA's: the proxy that it names is dialled wherever it is, because it is the CA's own setting and
    not the requester's. A redirect to https is not followed through a proxy, because that would be a tunnel.
    """

    def __init__(
        self,
        look_up: LookUp,
        limits: RehearsalLimits,
        dialer: Dialer,
        fetching_for: timedelta = FETCHING_FOR,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = environment or {}
        self._proxy_dialer = Dialer(lambda _address: True)
        self._look_up = look_up
        self._limits = limits
        self._dialer = dialer
        self._ends_at = asyncio.get_running_loop().time() + fetching_for.total_seconds()

    async def attempts(self, request: RehearsalRequest, lookup: Lookup, options: FetchOptions) -> tuple[Attempt, ...]:
        """Return one attempt per address tried; the last one decides."""
        start = _challenge_url(request, options)
        failed, hop, reply = await self._get(start, lookup)
        before = tuple(Attempt(hops=(tried,)) for tried in failed)
        if hop is None:
            return before
        hops = [hop]
        while reply is not None and (target := _redirection(hops[-1].url, reply)) is not None:
            objection = self._objection(target, len(hops))
            if objection is not None:
                hops[-1] = msgspec.structs.replace(hops[-1], error=objection)
                if objection == "redirect_offsite" and (missing := await self._missing(target)) is not None:
                    hops.append(missing)
                return (*before, Attempt(hops=tuple(hops)))
            hop, reply = await self._follow(target)
            hops.append(hop)
        return (*before, Attempt(hops=tuple(hops), matched=reply is not None and _matches(reply, request.digest)))

    async def _follow(self, url: str) -> tuple[Hop, http.Reply | None]:
        """Make the next request of the chain; of the addresses that fail, the last one is shown."""
        lookup = await self._look_up(urlsplit(url).hostname or "")
        failed, hop, reply = await self._get(url, lookup)
        if hop is not None:
            return hop, reply
        return (failed[-1] if failed else _hop(url, error="unresolved", errno=lookup.error)), None

    def _objection(self, url: str, requests: int) -> str | None:
        parts = _split(url)
        if parts is None or parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return "protocol"
        if not self._limits.allows(parts.hostname) or _port(parts) not in self._limits.ports:
            return "redirect_offsite"
        if requests >= MOST_REQUESTS:
            return "redirect_loop"
        return "redirect_proxied" if parts.scheme == "https" and self._proxy(parts) is not None else None

    async def _missing(self, url: str) -> Hop | None:
        """Return the hop that ends at a name without an address: the CA cannot get past it either, except through a
        proxy."""
        if self._proxy(urlsplit(url)) is not None:
            return None
        lookup = await self._look_up(_name(url))
        return None if lookup.addresses else _hop(url, error="unresolved", errno=lookup.error)

    def _proxy(self, parts: SplitResult) -> str | None:
        return proxy_for(self._environment, parts.hostname or "", _port(parts), parts.scheme)

    async def _get(self, url: str, lookup: Lookup) -> tuple[list[Hop], Hop | None, http.Reply | None]:
        """Return the addresses that failed, the hop of the address that was connected, and its reply."""
        parts = urlsplit(url)
        proxy = self._proxy(parts)
        through = urlsplit(proxy) if proxy is not None else None
        if through is not None:
            lookup = await self._look_up(through.hostname or "")
        addresses = [found.address for found in lookup.addresses]
        if not addresses:
            return [], None if through is None else _hop(url, error="unresolved", errno=lookup.error), None
        dialer = self._dialer if through is None else self._proxy_dialer
        try:
            async with asyncio.timeout_at(self._ends_at):
                dialled = await dialer.dial(addresses, _port(through or parts))
        except TimeoutError:
            return [_hop(url, addresses[0], "timeout")], None, None
        failed = [_failed(url, trial) for trial in dialled.trials if trial.error is not None]
        if dialled.connection is None:
            return failed, None, None
        used = next(trial for trial in dialled.trials if trial.error is None)
        began_at = asyncio.get_running_loop().time()
        target = _target(parts) if through is None else f"http://{_host(parts)}{_target(parts)}"
        reply, error, name = await self._exchange(dialled.connection, parts, target)
        took_ms = used.took_ms + round((asyncio.get_running_loop().time() - began_at) * 1000)
        return failed, _answered(_hop(url, used.address, error, name, took_ms), reply), reply

    async def _exchange(
        self, connection: socket.socket, parts: SplitResult, target: str
    ) -> tuple[http.Reply | None, str | None, str | None]:
        tls_name = parts.hostname if parts.scheme == "https" else None
        try:
            async with asyncio.timeout_at(self._ends_at):
                return await http.fetch(connection, _host(parts), target, USER_AGENT, tls_name), None, None
        except http.FetchError as error:
            return None, error.kind, str(error)
        except OSError as error:
            return None, kind_of(error), errno.errorcode.get(error.errno or 0)


def _challenge_url(request: RehearsalRequest, options: FetchOptions) -> str:
    name = request.identifier + ("." if options.strict_fqdn and not request.identifier.endswith(".") else "")
    port = "" if options.http_port == _DEFAULT_PORTS["http"] else f":{options.http_port}"
    return f"http://{name}{port}{CHALLENGE_PATH}{request.token}"


def _name(url: str) -> str:
    return urlsplit(url).hostname or ""


def _redirection(url: str, reply: http.Reply) -> str | None:
    """Return where Go would go next: only for these statuses, and only with a Location header."""
    location = reply.headers.get("location", "")
    if reply.status not in _REDIRECTS or not location:
        return None
    if _HAS_SCHEME.match(location):
        return location
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def _matches(reply: http.Reply, digest: str) -> bool:
    is_good = reply.status < 400 and reply.is_whole
    return is_good and hashlib.sha256(reply.body.strip()).hexdigest() == digest


def _failed(url: str, trial: Trial) -> Hop:
    hop = _hop(url, trial.address, trial.error, trial.errno, trial.took_ms)
    return msgspec.structs.replace(hop, is_local=trial.is_local)


def _answered(hop: Hop, reply: http.Reply | None) -> Hop:
    if reply is None:
        return hop
    return msgspec.structs.replace(
        hop,
        status=reply.status,
        server=reply.headers.get("server"),
        location=reply.headers.get("location"),
        content_type=reply.headers.get("content-type"),
        certificate_names=_names(reply.certificate),
    )


def _names(certificate: bytes | None) -> tuple[str, ...]:
    return read_shown(certificate).identifiers if certificate is not None else ()


def _hop(
    url: str, address: str | None = None, error: str | None = None, errno: str | None = None, took_ms: int = 0
) -> Hop:
    parts = urlsplit(url)
    name = parts.hostname or ""
    return Hop(url=url, name=name, address=address, port=_port(parts), error=error, errno=errno, took_ms=took_ms)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _port(parts)
    except ValueError:
        return None
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _host(parts: SplitResult) -> str:
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return name if _port(parts) == _DEFAULT_PORTS[parts.scheme] else f"{name}:{parts.port}"


def _target(parts: SplitResult) -> str:
    """Return path and query without any character that could end the request line."""
    return quote(parts.path or "/", safe=_SAFE_IN_TARGET) + (
        f"?{quote(parts.query, safe=_SAFE_IN_TARGET)}" if parts.query else ""
    )
