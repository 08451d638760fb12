"""The store's port: what the collector keeps, and what it asks of it. `collector.sql` implements it.

Every method that changes something returns when the change is on disk. Nothing that the collector holds in memory is
the only copy (DESIGN, rule 13).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from certagent.domain.findings import Finding
from certagent.domain.incidents import Fleet, Incident, KnownRehearsal, Sighting, TransitionKind
from certagent.domain.policy import Policy
from certagent.domain.rehearsals import AddressOwner, Rehearsal
from certagent.domain.reports import CertificateState, FileChange, Inventory, Report
from certagent.domain.survival import CertificateLife


class TokenRole(StrEnum):
    """What a token may do. `AUTHORITY`: an agent that may be asked to rehearse; `VIEWER` reads what operators read."""

    AGENT = "agent"
    AUTHORITY = "authority"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Caller(msgspec.Struct, frozen=True):
    """Whose token it is."""

    name: str
    role: TokenRole


class Acceptance(msgspec.Struct, frozen=True):
    """How many reports were new, and how many had been here before."""

    accepted: int
    duplicates: int


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What one commit changed. `judge_again`: agent -> its identifiers whose facts changed elsewhere."""

    incidents: tuple[Incident, ...] = ()
    agents: frozenset[str] = frozenset()
    judge_again: Mapping[str, frozenset[str]] = {}
    alerts: bool = False


class KnownAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent by its token's name; `inventory` is null before its first inventory report."""

    name: str
    token_role: TokenRole
    last_seen: datetime
    inventory: Inventory | None


class KnownCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate of one node's inventory."""

    node: str
    certificate: CertificateState


class FleetTotals(msgspec.Struct, frozen=True, kw_only=True):
    """How many nodes and certificates there are, whether anything lies on disk or not."""

    nodes: int
    certificates: int


class WatchedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a node's agent speaks for: when it looked last, and the latest change that is still kept."""

    file: str
    looked_at: datetime
    changed_at: datetime | None
    change: FileChange | None


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One node: its agent, its certificates, its files, and the findings by it and about its files, worst first."""

    agent: KnownAgent
    certificates: tuple[KnownCertificate, ...]
    files: tuple[WatchedFile, ...]
    sightings: tuple[Sighting, ...]


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an incident's state; `by` is whoever acknowledged it."""

    kind: TransitionKind
    at: datetime
    by: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message that has still to reach a channel: the incident as it was at the transition."""

    number: int
    channel: str
    kind: TransitionKind
    incident: Incident
    attempts: int
    due_at: datetime


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """`incidents`: (code, state) -> how many that are not resolved; `waiting`, `given_up`: messages by channel."""

    incidents: Mapping[tuple[str, str], int] = {}
    waiting: Mapping[str, int] = {}
    given_up: Mapping[str, int] = {}
    last_seen: Mapping[str, datetime] = {}


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret."""

    name: str
    role: TokenRole
    created_at: datetime
    revoked_at: datetime | None


class KnownUser(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may log in; `password` is what is kept of it."""

    name: str
    role: TokenRole
    password: str


class Page(msgspec.Struct, frozen=True):
    """Some of a list, and the cursor of the rest (null: that was all)."""

    items: Sequence[Any]
    next: str | None


class Overloaded(Exception):
    """Too much waits to be written; the caller should come again."""


class StoreFailed(Exception):
    """The database cannot do its work now: no space, no access, locked for too long. Nothing was changed."""


class Store(Protocol):
    """See the module. Cursors are opaque; a wrong one raises ValueError. Every method may raise `StoreFailed`."""

    def listen(self, listener: Callable[[Changes], None]) -> None:
        """Call `listener` in the event loop after each commit that changed something."""
        ...

    async def accept(self, caller: Caller, reports: Sequence[Report]) -> Acceptance:
        """Keep the new ones, let them replace their agent's earlier word, and follow the incidents.

        Raises `Overloaded`.
        """
        ...

    async def greet(self, caller: Caller) -> None:
        """The agent gave a sign of life without a report: it opened its channel."""
        ...

    async def record_rehearsal(self, rehearsal: Rehearsal) -> None:
        """Keep what a rehearsal that went through this collector came to; passed and failed ones count."""
        ...

    async def look(self, connected: Collection[str], policy: Policy, since: datetime) -> None:
        """Let what the whole fleet shows now replace what it showed before, as the collector's own findings.

        `connected` agents count as heard now; before `since` nobody was here to hear anybody.
        """
        ...

    async def remind(self) -> int:
        """Say again what nobody has acknowledged, as the rules say; answers of how many incidents."""
        ...

    async def prune(self, reports_before: datetime, incidents_before: datetime) -> int:
        """Forget reports that were received earlier, and incidents that were resolved earlier; answers how many."""
        ...

    async def acknowledge(self, incident: str, by: str) -> Incident | None:
        """Put a name on an open incident; None if there is no such incident."""
        ...

    async def callers(self) -> Mapping[str, Caller]:
        """Whose are all valid tokens, by their SHA-256."""
        ...

    async def caller(self, digest: str) -> Caller | None:
        """Whose valid token, certificate or session that is, by what is kept of it (`collector.tokens`)."""
        ...

    async def person(self, name: str) -> KnownUser | None:
        """Who has that name."""
        ...

    async def open_session(self, person: str, digest: str, expires_at: datetime) -> None:
        """Recognise the session until then; those that are over are forgotten."""
        ...

    async def end_session(self, digest: str) -> None:
        """Recognise it no more."""
        ...

    async def agents(self, after: str | None, limit: int, *, silent_first: bool = False) -> Page:
        """`KnownAgent`s by name, or the longest silent first. A cursor belongs to its order."""
        ...

    async def agent(self, name: str) -> KnownAgent | None:
        """One of them."""
        ...

    async def certificates(self, after: str | None, limit: int, *, soonest_first: bool = False) -> Page:
        """`KnownCertificate`s by node and name, or those that die first on top."""
        ...

    async def lives(self) -> Sequence[CertificateLife]:
        """Of every certificate on disk, how long it lives; one that has expired stays."""
        ...

    async def counts(self) -> Counts:
        """How much there is of what, for the metrics."""
        ...

    async def incidents(
        self, after: str | None, limit: int, *, party: str | None = None, states: Sequence[str] = ()
    ) -> Page:
        """`Incident`s, the latest opened first; only those in which `party` is culprit or victim, if given."""
        ...

    async def reports(self, after: str | None, limit: int, *, agent: str | None = None) -> Page:
        """Reports as `msgspec.Raw`, the latest received first."""
        ...

    async def incident(self, identity: str) -> tuple[Incident, Sequence[Transition], Sequence[Sighting]] | None:
        """One incident with its history and the findings that now speak for it."""
        ...

    async def stock(self) -> FleetTotals:
        """How much there is."""
        ...

    async def node(self, name: str) -> NodeFacts | None:
        """What is known of one node."""
        ...

    async def deeds(self, agent: str, certificate: str, names: Sequence[str], limit: int) -> Sequence[Report]:
        """The agent's latest reports about that certificate or those identifiers of it, the latest first."""
        ...

    async def identifiers_of(self, agent: str) -> frozenset[str]:
        """The identifiers of the agent's certificates, by its inventory."""
        ...

    async def owners(self, addresses: frozenset[str]) -> dict[str, AddressOwner]:
        """Whose addresses those are; unknown ones are left out."""
        ...

    async def testimony(self, identifier: str) -> tuple[Finding, ...]:
        """What agents hold against files of their own nodes that concerns the identifier; grave findings only."""
        ...

    async def path_facts(self, identifier: str) -> tuple[KnownRehearsal | None, Sequence[Sighting], Fleet]:
        """What is known about the way to one identifier."""
        ...

    async def stale_identifiers_of(self, agent: str) -> frozenset[str]:
        """Identifiers of the agent in incidents that are not resolved: to be judged again when it connects."""
        ...

    async def takes(self, duty: str) -> bool:
        """Whether this collector does that duty now: one does at a time, another only once this one is gone."""
        ...

    async def next_delivery(self, channel: str) -> Delivery | None:
        """The oldest message that waits for that channel."""
        ...

    async def standing(self, channel: str) -> Sequence[Incident]:
        """What the channel was told of and what is not resolved, as it is now."""
        ...

    async def settle_delivery(self, number: int, *, failure: str | None, retry_at: datetime | None) -> None:
        """Sent (no failure), to be tried again at `retry_at`, or given up."""
        ...
