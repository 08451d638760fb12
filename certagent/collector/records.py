"""What the collector keeps and answers, as values, and how the store fails. Does nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from certagent.domain.incidents import Fleet, Incident, KnownRehearsal, Sighting, TransitionKind
from certagent.domain.reports import CertificateState, FileChange, Inventory


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
    """What one commit changed. `judge_again`: agent -> its identifiers about which another agent's findings changed.
    `alerts`: there are new messages in the outbox."""

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
    """How many nodes and certificates there are, with or without a file on disk."""

    nodes: int
    certificates: int


class WatchedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a node's agent watches: when it was checked last, and the latest change that is still kept."""

    file: str
    checked_at: datetime
    changed_at: datetime | None
    change: FileChange | None


class NodeDetail(msgspec.Struct, frozen=True, kw_only=True):
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


class IncidentDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One incident, its history, and the findings that it rests on now."""

    incident: Incident
    transitions: Sequence[Transition]
    sightings: Sequence[Sighting]


class PathEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the path to one identifier: its latest rehearsal, the findings about it, the fleet."""

    rehearsal: KnownRehearsal | None
    sightings: Sequence[Sighting]
    fleet: Fleet

    def is_empty(self) -> bool:
        """Whether nothing is known of the identifier."""
        return self.rehearsal is None and not self.sightings and not self.fleet.victims


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message that has not reached its channel: the incident as it was at the transition, which was at `made_at`."""

    number: int
    channel: str
    kind: TransitionKind
    incident: Incident
    attempts: int
    made_at: datetime
    due_at: datetime


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """`incidents`: (code, state) -> how many are not resolved; `waiting`, `given_up`: messages by channel;
    `last_seen` by agent."""

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
    """A user who may log in; `password` is its hash."""

    name: str
    role: TokenRole
    password: str


class Page(msgspec.Struct, frozen=True):
    """Some of a list, and the cursor of the rest (null: that was all)."""

    items: Sequence[Any]
    next: str | None


class Overloaded(Exception):
    """The write queue is full; try again later."""

    def __init__(self) -> None:
        super().__init__("the write queue is full")


class StoreFailed(Exception):
    """The database cannot do its work now: no space, no access, locked for too long. Nothing was changed."""
