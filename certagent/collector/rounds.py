"""Which collector does the round over the whole fleet: one that works by the policy in force, and holds the lease."""

import logging
from hashlib import sha256

import msgspec
from prometheus_client import Gauge

from certagent.collector.records import PolicyInForce, Turn
from certagent.collector.sql.round_queries import ROUND, find_policy, note_policy, succeed_policy
from certagent.collector.store import Store
from certagent.domain.policy import Policy, policy_document
from certagent.domain.ports import Clock

log = logging.getLogger(__name__)

_SHOWN = 12  # characters of a digest


def policy_digest(policy: Policy) -> str:
    """SHA-256 in hex of what the policy says."""
    return sha256(msgspec.json.encode(policy_document(policy))).hexdigest()


class RoundDuty:
    """This collector's part in it. `collector`: its name; `digest`: of its policy."""

    def __init__(self, store: Store, collector: str, digest: str, clock: Clock) -> None:
        self.collector = collector
        self.turn = Turn(holder=store.identity, digest=digest)
        self.complaint: str | None = None
        self._store = store
        self._clock = clock
        self._is_noted = False
        self.metric = Gauge(
            "certagent_policy_in_force",
            "1 if this collector's policy is in force, so that it does rounds.",
            registry=None,
        )
        self.metric.set(1)

    async def take(self) -> bool:
        """Whether this collector does the round now. Raises `StoreFailed`, `Overloaded`."""
        digest = self.turn.digest
        if not self._is_noted:
            await self._store.write(note_policy, self.collector, digest)
            self._is_noted = True
        in_force = await self._store.read(find_policy, self._clock.now())
        if in_force is None or (in_force.digest != digest and not in_force.is_alive):
            await self._store.write(succeed_policy, self.collector, digest)
            in_force = await self._store.read(find_policy, self._clock.now())
        self._complain(in_force)
        if self.complaint is not None:
            await self.give_up()
            return False
        return await self._store.holds_lease(ROUND)

    async def give_up(self) -> None:
        """Let another collector do the round at once."""
        await self._store.give_up_lease(ROUND)

    def _complain(self, in_force: PolicyInForce | None) -> None:
        """Say it once, and when it is over."""
        complaint = None
        if in_force is not None and in_force.digest != self.turn.digest:
            complaint = (
                f"this collector does no rounds: its policy ({self.turn.digest[:_SHOWN]}) is not the one in force"
                f" ({in_force.digest[:_SHOWN]}, of {in_force.collector}, since {in_force.since:%Y-%m-%dT%H:%M:%SZ})."
                " Give all collectors the same policy file and restart those that have another one"
            )
        if complaint is not None and complaint != self.complaint:
            log.warning("%s", complaint)
        if complaint is None and self.complaint is not None:
            log.info("this collector's policy is in force")
        self.complaint = complaint
        self.metric.set(complaint is None)
