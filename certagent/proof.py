"""Proof: which certificate is served, by handshake on every endpoint under every name. Changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from certagent.config import split_endpoint
from certagent.domain.backoff import Backoff
from certagent.domain.deployments import EndpointProof, Proof, ServedAs
from certagent.domain.ports import Clock
from certagent.system import tls
from certagent.system.tls import Handshake

PROBE_SECONDS = 2.0
FIRST_PAUSE = timedelta(milliseconds=10)
LONGEST_PAUSE = timedelta(milliseconds=250)
STEADY_SECONDS = 0.15
STEADY_PAUSE_SECONDS = 0.07
MOST_AT_ONCE = 16
"""Certificates that are looked at, of however many. Each handshake takes some hundred KiB while it lasts."""

Probe = Callable[[str, int, str, Path, float], Awaitable[Handshake]]


class Prover:
    """Looks at endpoints (`address:port`) under the names of a certificate, trusting the pinned root."""

    def __init__(self, root: Path, clock: Clock, probe: Probe = tls.probe) -> None:
        self._root = root
        self._clock = clock
        self._probe = probe
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def prove(
        self, fingerprint: str, endpoints: Sequence[str], identifiers: Sequence[str], within: timedelta
    ) -> Proof:
        """Look until that certificate is served everywhere and stays so for a moment, or `within` is over.

        The moment: nginx's old workers go on accepting for 100 ms beside the new ones, so one good look is no proof.
        """
        started = self._clock.monotonic()
        deadline = started + within.total_seconds()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._prove_one(fingerprint, place, started, deadline), name=f"prove {place}")
                for place in _places(endpoints, identifiers)
            ]
        return Proof(fingerprint=fingerprint, endpoints=tuple(task.result() for task in tasks))

    async def served_now(
        self, fingerprint: str, endpoints: Sequence[str], identifiers: Sequence[str]
    ) -> tuple[EndpointProof, ...]:
        """One look at each endpoint under each name, measured by that certificate ("" where there is none).

        A few certificates at a time. A proof after a deployment waits for none: silent endpoints would eat its time up.
        """
        async with self._slots:
            return (await self.prove(fingerprint, endpoints, identifiers, timedelta())).endpoints

    async def _prove_one(
        self, fingerprint: str, place: tuple[str, str], started: float, deadline: float
    ) -> EndpointProof:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, factor=1.5)
        pause = backoff.next_pause().total_seconds()
        looks = 0
        good_since: float | None = None
        while True:
            seen = await self._probe_once(*place, deadline)
            looks += 1
            now = self._clock.monotonic()
            judged = _judge(seen, place[0], fingerprint)
            is_good = judged.served_as is ServedAs.PROVEN
            good_since = (now if good_since is None else good_since) if is_good else None
            is_steady = good_since is not None and now - good_since >= STEADY_SECONDS
            if is_steady or now + pause > deadline:
                return msgspec.structs.replace(judged, looks=looks, took=timedelta(seconds=now - started))
            await self._clock.sleep(STEADY_PAUSE_SECONDS if is_good else pause)
            pause = pause if is_good else backoff.next_pause().total_seconds()

    async def _probe_once(self, endpoint: str, name: str, deadline: float) -> Handshake:
        address, port = split_endpoint(endpoint)
        left = deadline - self._clock.monotonic()
        timeout = PROBE_SECONDS if left <= 0 else min(PROBE_SECONDS, max(left, PROBE_SECONDS / 4))
        return await self._probe(address, port, name, self._root, timeout)


def _places(endpoints: Sequence[str], identifiers: Sequence[str]) -> list[tuple[str, str]]:
    return [(endpoint, _asked_for(name)) for endpoint in endpoints for name in identifiers]


def _asked_for(identifier: str) -> str:
    """A name that a wildcard covers, as a client would ask for it."""
    return f"certagent-proof{identifier[1:]}" if identifier.startswith("*.") else identifier


def _judge(seen: Handshake, endpoint: str, fingerprint: str) -> EndpointProof:
    return EndpointProof(
        endpoint=endpoint,
        server_name=seen.server_name,
        served_as=_served_as(seen, fingerprint),
        fingerprint=seen.fingerprint,
        leaf=seen.leaf,
        error=seen.error,
        distrust=seen.distrust,
        detail=seen.detail,
    )


def _served_as(seen: Handshake, fingerprint: str) -> ServedAs:
    if seen.leaf is None:
        return ServedAs.NOTHING
    if seen.leaf.fingerprint == fingerprint:
        return ServedAs.PROVEN
    is_default = any(name.endswith(".traefik.default") for name in seen.leaf.identifiers)
    return ServedAs.DEFAULT if is_default else ServedAs.OTHER
