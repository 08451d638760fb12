"""What the collector keeps and answers, as values, and how the store fails. Does nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from certagent.domain.incidents import Incident, TransitionKind
from certagent.domain.reports import CertificateState, FileChange, Inventory
from certagent.domain.sightings import Fleet, KnownRehearsal, Sighting
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


class AuditAction(StrEnum):
    """What the audit keeps."""

    LOGIN = "login"
    LOGIN_FAILED = "login.failed"
    LOGOUT = "logout"
    TOKEN_ADDED = "token.added"  # noqa: S105 - a word
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    TOKEN_BOUND = "token.bound"  # noqa: S105
    TOKEN_UNBOUND = "token.unbound"  # noqa: S105
    ENROLMENT_ADDED = "enrolment.added"
    ENROLMENT_USED = "enrolment.used"
    ENROLMENT_REFUSED = "enrolment.refused"
    USER_ADDED = "user.added"
    USER_PASSWORD_CHANGED = "user.password_changed"  # noqa: S105
    USER_REMOVED = "user.removed"
    INCIDENT_ACKNOWLEDGED = "incident.acknowledged"
    CHANNEL_TESTED = "channel.tested"
    FIX_APPLIED = "fix.applied"
    FIX_UNDONE = "fix.undone"
    STORE_BACKED_UP = "store.backed_up"
    STORE_RESTORED = "store.restored"
    STORE_MIGRATED = "store.migrated"
    POLICY_IN_FORCE = "policy.in_force"


class Author(msgspec.Struct, frozen=True):
    """Who did something, and from where: an address, or the node on which a command ran."""

    name: str
    origin: str


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the audit. `who`: the name of a token or a user, empty for a stranger; `from`: an address, a node.

    `count`: how often, the last time at `last_at`, where more of the same is only counted.
    """

    at: datetime
    action: str
    who: str
    origin: str = msgspec.field(name="from")
    subject: str | None
    detail: dict[str, Any]
    count: int = 1
    last_at: datetime


class Acceptance(msgspec.Struct, frozen=True):
    """How many reports were new, and how many had been here before. `work`: how much the incidents had to follow, in
    findings that came or went. `kept_until`: when the agent may have as much stored at once as ever, over all
    collectors; None: now."""

    accepted: int
    duplicates: int
    work: int = 0
    kept_until: datetime | None = None


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
    """The whole fleet in numbers, counted in the database. `certificates`: with or without a file on disk; `incidents`:
    the unresolved ones that are confirmed; `at_risk`: (node, certificate) of all their victims; `unconfirmed`: those
    that nothing but an accusation supports. `expired_alone`: the expired ones that none of these incidents names.
    `first_expired` expired before all others, `next_at_risk` is the next of those at risk to expire, `next_to_expire`
    the next of all."""

    nodes: int
    has_authority: bool
    certificates: int
    incidents: int
    unconfirmed: int
    at_risk: frozenset[tuple[str, str]]
    expired: int
    expired_alone: int
    first_expired: CertificateLife | None = None
    next_at_risk: CertificateLife | None = None
    next_to_expire: CertificateLife | None = None

    @property
    def alarms(self) -> int:
        """What somebody has to act on, each thing once: an expired certificate counts with its incident."""
        return self.incidents + self.expired_alone


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


class MessageSum(msgspec.Struct, frozen=True, kw_only=True):
    """What one message says in place of many about incidents of one node: how many of those opened and how many are
    over, and the worst of the former."""

    node: str
    opened: int
    resolved: int
    worst: tuple[Incident, ...]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message that has not reached its channel: the incident as it was at the transition, which was at `made_at`.
    With a `sum` it stands for many; with a `claim` it is the claimant's to send, `claimed_until` then."""

    number: int
    channel: str
    kind: TransitionKind
    incident: Incident
    attempts: int
    made_at: datetime
    due_at: datetime
    sum: MessageSum | None = None
    claim: str | None = None
    claimed_until: datetime | None = None


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A collector among those on one database; `name` is its machine's, unless it is configured; `policy`: a digest."""

    id: str
    name: str
    version: str
    started_at: datetime
    policy: str = ""


class PolicyInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The policy by which rounds are done: whose it was when it was put in force, and whether a collector that lives
    has it."""

    digest: str
    since: datetime
    collector: str
    is_alive: bool


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Who does a round, and by which policy: what it writes counts only as long as both are still right."""

    holder: str
    digest: str


class TurnLost(Exception):
    """Another collector does the round, or another policy is in force. Nothing was changed."""


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some of what another collector's commit changed, by ids: see `Changes`. `judge_again`: (agent, identifier). An
    empty one stands for anything."""

    incidents: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    judge_again: tuple[tuple[str, str], ...] = ()
    alerts: bool = False


class RelayedQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What the collector `asker` asks the agent that is connected to the other one; `text`: as the agent reads it."""

    id: str
    collector: str
    asker: str
    agent: str
    text: str


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """`incidents`: (code, state) -> how many are not resolved; `waiting`, `given_up`: messages by channel;
    `last_seen` by agent."""

    incidents: Mapping[tuple[str, str], int] = {}
    waiting: Mapping[str, int] = {}
    given_up: Mapping[str, int] = {}
    last_seen: Mapping[str, datetime] = {}


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret. `kind`: "token", or "certificate" of an identifier, or one bound by "fingerprint"."""

    kind: str = "token"
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


class StoreUnusable(StoreFailed):
    """The database cannot be used until a person acts: it is damaged, or was written by a newer program."""

    def __init__(self, name: str, reason: str, advice: str) -> None:
        super().__init__(f"the database {name} {reason}: {advice}")
        self.reason = reason
