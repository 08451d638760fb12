"""Proof: which certificate is served, and would a client accept it? By handshake, on every endpoint under every name.
Changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import msgspec

from certagent.config import Endpoint, ProofEndpoint, endpoint_of, split_endpoint
from certagent.domain.backoff import Backoff
from certagent.domain.certificates import KEY_KINDS
from certagent.domain.deployments import EndpointProof, Proof, ServedAs
from certagent.domain.ports import Clock
from certagent.system import handshake
from certagent.system.handshake import Handshake, LookOptions
from certagent.system.tls import RootFiles

PROBE_SECONDS = 2.0
FIRST_PAUSE = timedelta(milliseconds=10)
LONGEST_PAUSE = timedelta(milliseconds=250)
STEADY_SECONDS = 0.15
STEADY_PAUSE_SECONDS = 0.07
MOST_AT_ONCE = 16
"""Certificates that are looked at, of however many. Each handshake takes some hundred KiB while it lasts."""

Probe = Callable[..., Awaitable[Handshake]]
"""As `certagent.system.handshake.probe`; without options unless they differ from the usual ones."""


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What a chain is verified with. `root` None: the pinned one. `is_watched`: somebody else renews it, so the
    system's trust counts as well, and that neither trusts the chain is said but is no failure. Not `is_needed`:
    nothing that is wrong with the chain is a failure."""

    root: RootFiles | None = None
    is_watched: bool = False
    is_needed: bool = True


MANAGED = Trust()


class _Place(msgspec.Struct, frozen=True):
    """One endpoint under one name."""

    endpoint: ProofEndpoint
    server_name: str


class _Wanted(msgspec.Struct, frozen=True):
    """What should be seen there."""

    fingerprint: str
    key: str | None
    trust: Trust
    steady_seconds: float


class Prover:
    """Looks at endpoints (`address:port`) under the names of a certificate, trusting the pinned root."""

    def __init__(self, root: RootFiles, clock: Clock, probe: Probe = handshake.probe) -> None:
        self._root = root
        self._clock = clock
        self._probe = probe
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def prove(
        self,
        fingerprint: str,
        endpoints: Sequence[Endpoint],
        identifiers: Sequence[str],
        within: timedelta,
        *,
        key: str | None = None,
        trust: Trust = MANAGED,
        may_flicker: bool = True,
    ) -> Proof:
        """Look until that certificate is served everywhere and stays so for a moment, or `within` is over.

        The moment: nginx's old workers go on accepting for 100 ms beside the new ones, so one good look is no proof;
        it is one where it was seen that they do not any more (not `may_flicker`).
        `key`: what kind its key is, where that is known; a server may have a pair of another kind beside it.
        """
        started = self._clock.monotonic()
        deadline = started + within.total_seconds()
        wanted = _Wanted(fingerprint, key, trust, STEADY_SECONDS if may_flicker else 0.0)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._prove_one(wanted, place, started, deadline), name=f"prove {place}")
                for place in _places(endpoints, identifiers)
            ]
        return Proof(fingerprint=fingerprint, endpoints=tuple(task.result() for task in tasks))

    async def served_now(
        self,
        fingerprint: str,
        endpoints: Sequence[Endpoint],
        identifiers: Sequence[str],
        *,
        key: str | None = None,
        trust: Trust = MANAGED,
    ) -> tuple[EndpointProof, ...]:
        """One look at each endpoint under each name, measured by that certificate ("" where there is none).

        A few certificates at a time. A proof after a deployment waits for none: silent endpoints would eat its time up.
        """
        async with self._slots:
            return (await self.prove(fingerprint, endpoints, identifiers, timedelta(), key=key, trust=trust)).endpoints

    async def _prove_one(self, wanted: _Wanted, place: _Place, started: float, deadline: float) -> EndpointProof:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, factor=1.5)
        pause = backoff.next_pause().total_seconds()
        looks = 0
        good_since: float | None = None
        while True:
            seen = await self._look(wanted, place, deadline)
            looks += 1
            now = self._clock.monotonic()
            judged = _judge(seen, place, wanted)
            is_good = judged.served_as is ServedAs.PROVEN
            good_since = (now if good_since is None else good_since) if is_good else None
            is_steady = good_since is not None and now - good_since >= wanted.steady_seconds
            if is_steady or now + pause > deadline:
                return msgspec.structs.replace(judged, looks=looks, took=timedelta(seconds=now - started))
            await self._clock.sleep(STEADY_PAUSE_SECONDS if is_good else pause)
            pause = pause if is_good else backoff.next_pause().total_seconds()

    async def _look(self, wanted: _Wanted, place: _Place, deadline: float) -> Handshake:
        """As an ordinary client; where that is shown a key of another kind, as clients that can use no other."""
        options = LookOptions(
            and_systems=wanted.trust.is_watched,
            proxy_protocol=place.endpoint.proxy_protocol,
            starttls=place.endpoint.starttls,
        )
        seen = await self._probe_once(wanted, place, deadline, options)
        if seen.leaf is None or not wanted.fingerprint or seen.fingerprint == wanted.fingerprint:
            return seen
        for key in _other_keys(seen.leaf.key, wanted):
            beside = await self._probe_once(wanted, place, deadline, msgspec.structs.replace(options, key=key))
            if beside.leaf is not None and beside.leaf.key == key:
                return beside
        return seen

    async def _probe_once(self, wanted: _Wanted, place: _Place, deadline: float, options: LookOptions) -> Handshake:
        address, port = split_endpoint(place.endpoint.address)
        left = deadline - self._clock.monotonic()
        timeout = PROBE_SECONDS if left <= 0 else min(PROBE_SECONDS, max(left, PROBE_SECONDS / 4))
        unusual = (options,) if options != handshake.PLAIN else ()
        return await self._probe(address, port, place.server_name, wanted.trust.root or self._root, timeout, *unusual)


def _places(endpoints: Sequence[Endpoint], identifiers: Sequence[str]) -> list[_Place]:
    return [_Place(endpoint_of(endpoint), _asked_for(name)) for endpoint in endpoints for name in identifiers]


def _asked_for(identifier: str) -> str:
    """A name that a wildcard covers, as a client would ask for it."""
    return f"certagent-proof{identifier[1:]}" if identifier.startswith("*.") else identifier


def _other_keys(shown: str | None, wanted: _Wanted) -> list[str]:
    """The kinds of key to look for beside the one that is shown; any, for what was there before certagent."""
    if shown is None or (wanted.key is None and wanted.trust.is_needed):
        return []
    kinds = [wanted.key] if wanted.key is not None else list(dict.fromkeys(KEY_KINDS.values()))
    return [kind for kind in kinds if kind != shown]


def _judge(seen: Handshake, place: _Place, wanted: _Wanted) -> EndpointProof:
    return EndpointProof(
        endpoint=place.endpoint.address,
        server_name=seen.server_name,
        served_as=_served_as(seen, wanted),
        fingerprint=seen.fingerprint,
        leaf=seen.leaf,
        error=seen.error,
        distrust=seen.distrust,
        detail=seen.detail,
    )


def _served_as(seen: Handshake, wanted: _Wanted) -> ServedAs:
    if seen.leaf is None:
        return ServedAs.NOTHING
    if seen.leaf.fingerprint == wanted.fingerprint:
        return ServedAs.PROVEN if _is_acceptable(seen, wanted.trust) else ServedAs.REFUSED
    is_default = any(name.endswith(".traefik.default") for name in seen.leaf.identifiers)
    return ServedAs.DEFAULT if is_default else ServedAs.OTHER


def _is_acceptable(seen: Handshake, trust: Trust) -> bool:
    """Whether a client would go on. Whom others trust, nobody here knows: what else can be checked of a watched one is
    its name."""
    if not trust.is_needed:
        return True
    if seen.distrust == "untrusted" and trust.is_watched:
        return seen.leaf is not None and seen.leaf.is_for(seen.server_name)
    return seen.distrust is None
