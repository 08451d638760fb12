"""The tables, for any SQL database; `collector/migrations` brings a database to exactly this. Documents are
JSON text, instants microseconds since the epoch in UTC; nothing depends on one database's dialect."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
)

from certagent.collector.sql.passing_tables import metadata as metadata
from certagent.collector.sql.statements import Instant
from certagent.domain.incidents import IncidentState
from certagent.domain.speakers import Standing

_Serial = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts by itself there

tokens = Table(
    "tokens",
    metadata,
    Column("number", _Serial, primary_key=True),
    Column("name", String(128), nullable=False, index=True),
    Column("role", String(16), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

people = Table(
    "people",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password", String(256), nullable=False),
    Column("created_at", Instant, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("person", String(128), nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

agents = Table(
    "agents",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("token_role", String(16), nullable=False),
    Column("last_seen", Instant, nullable=False),
    Column("role", String(128)),
    Column("inventory", Text),
    Column("kept_until", Instant),
    Index("ix_agents_last_seen", "last_seen"),
    Index("ix_agents_role_name", "role", "name"),
    Index("ix_agents_token_role", "token_role"),
)

# What the inventories say, once more by what is asked for: whose address is it, who has a certificate for that name?
# `contested`: whether several nodes claim it, and null until a round has looked; `life`: see `class_of_life`.
addresses = Table(
    "addresses",
    metadata,
    Column("address", String(64), primary_key=True),
    Column("agent", String(128), primary_key=True, index=True),
    Column("since", Instant),
    Column("contested", Boolean),
)

certificates = Table(
    "certificates",
    metadata,
    Column("agent", String(128), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("expires_at", Instant),
    Column("document", Text, nullable=False),
    Column("issued_at", Instant),
    Column("life", Integer),
    Index("ix_certificates_life_expires_at", "life", "expires_at"),
)

identifiers = Table(
    "identifiers",
    metadata,
    Column("identifier", String(256), primary_key=True),
    Column("agent", String(128), primary_key=True, index=True),
    Column("certificate", String(256), primary_key=True),
    Column("since", Instant),
    Column("proven_at", Instant),
    Column("led_at", Instant),
    Column("contested", Boolean),
)

# What nodes no longer claim, for as long as it is remembered: what was away for a moment is as old as it was.
earlier_claims = Table(
    "earlier_claims",
    metadata,
    Column("identifier", String(256), primary_key=True),
    Column("agent", String(128), primary_key=True, index=True),
    Column("since", Instant),
    Column("proven_at", Instant),
    Column("led_at", Instant),
    Column("left_at", Instant, nullable=False, index=True),
)

# The processes that speak under an agent's name, where they say who they are: see `domain.speakers`.
speakers = Table(
    "speakers",
    metadata,
    Column("agent", String(128), primary_key=True),
    Column("instance", String(64), primary_key=True),
    Column("address", String(64), nullable=False, index=True),
    Column("standing", String(16), nullable=False),
    Column("since", Instant, nullable=False),
    Column("heard_at", Instant, nullable=False, index=True),
)

# The secrets that are exchanged for a token once: see `collector.enrolments`.
enrolments = Table(
    "enrolments",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String(128), nullable=False, index=True),
    Column("document", Text, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
    Column("used_from", String(64)),
    Column("reused_at", Instant),
    Column("reused_from", String(64)),
)

# What an operator has bound to nodes: nobody else's claim counts for it.
bindings = Table(
    "bindings",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("subject", String(256), primary_key=True),
    Column("agent", String(128), primary_key=True),
    Column("created_at", Instant, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("number", _Serial, primary_key=True),
    Column("agent", String(128), nullable=False),
    Column("id", String(128), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("received_at", Instant, nullable=False, index=True),
    Column("document", Text, nullable=False),
    UniqueConstraint("agent", "id"),
)

# What changed in the nodes' watched files: the change that preceded an incident is looked up here.
changes = Table(
    "changes",
    metadata,
    Column("number", _Serial, primary_key=True),
    Column("agent", String(128), nullable=False),
    Column("file", String(1024), nullable=False),
    Column("at", Instant, nullable=False),
    Column("document", Text, nullable=False),
    Index("ix_changes_agent_at", "agent", "at"),
    Index("ix_changes_at", "at"),
)

# What became of renewals, by day (`2026-11-29`) and zone; kept for years. `least_left`: seconds, of a certificate that
# was replaced; then `agent` and `certificate` say which. See `daily_sums`.
daily_sums = Table(
    "daily_sums",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("zone", String(256), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("cause", String(128), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("least_left", BigInteger),
    Column("agent", String(128)),
    Column("certificate", String(256)),
)

# The newest report of each agent on each scope: an older one that arrives late changes nothing.
scopes = Table(
    "scopes",
    metadata,
    Column("agent", String(128), primary_key=True),
    Column("scope", String(1024), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("number", _Serial, primary_key=True),
    Column("agent", String(128), nullable=False),
    Column("scope", String(1024), nullable=False),
    Column("identifier", String(256), index=True),
    Column("key", String(2048), nullable=False, index=True),
    Column("is_grave", Boolean, nullable=False),
    Column("at", Instant, nullable=False),
    Column("document", Text, nullable=False),
    Column("own_key", String(2048), index=True),
    Index("ix_findings_agent_scope", "agent", "scope"),
)

# The latest of each challenge by who asked for it.
rehearsals = Table(
    "rehearsals",
    metadata,
    Column("identifier", String(256), primary_key=True),
    Column("challenge", String(32), primary_key=True),
    Column("asker", String(128), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("brokered", Boolean, nullable=False),
    Column("document", Text, nullable=False),
    Index("ix_rehearsals_at", "at"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("key", String(2048), nullable=False, index=True),
    Column("state", String(16), nullable=False, index=True),
    Column("opened_at", Instant, nullable=False),
    Column("announced", Boolean, nullable=False),
    Column("document", Text, nullable=False),
    Index("ix_incidents_opened_at_id", "opened_at", "id"),
)

# The nodes that may read an incident: the culprit's and the victims'.
parties = Table(
    "parties",
    metadata,
    Column("agent", String(128), primary_key=True),
    Column("incident", String(32), primary_key=True, index=True),
)

transitions = Table(
    "transitions",
    metadata,
    Column("number", _Serial, primary_key=True),
    Column("incident", String(32), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("at", Instant, nullable=False),
    Column("by", String(128)),
    Column("document", Text, nullable=False),
)

# One row per transition and channel: recorded with the transition, taken off when delivered. `node`: the culprit's;
# `rank`: of the severity. `summed_in`: the number of the message that says in one sum what this one would; its own
# where it is that message. `claim`: of the collector that sends it, or did when it ended; others may after
# `claimed_until`.
outbox = Table(
    "outbox",
    metadata,
    Column("number", _Serial, primary_key=True),
    Column("transition", BigInteger, nullable=False, index=True),
    Column("channel", String(128), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("failure", Text),
    Column("given_up", Boolean, nullable=False),
    Column("node", String(128), nullable=False, server_default=""),
    Column("rank", Integer, nullable=False, server_default="1"),
    Column("summed_in", BigInteger, index=True),
    Column("claim", String(32)),
    Column("claimed_until", Instant),
    Index("ix_outbox_channel_sent_at", "channel", "sent_at"),
)

# What people and tokens did. Append-only: an entry is inserted, and deleted by age.
audit = Table(
    "audit",
    metadata,
    Column("number", _Serial, primary_key=True),
    Column("at", Instant, nullable=False, index=True),
    Column("action", String(64), nullable=False),
    Column("who", String(128), nullable=False),
    Column("origin", String(256), nullable=False),
    Column("subject", String(256)),
    Column("detail", Text, nullable=False),
    Index("ix_audit_action_at", "action", "at"),
)

# How often the same came again, where that is only counted.
audit_repeats = Table(
    "audit_repeats",
    metadata,
    Column("entry", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("last_at", Instant, nullable=False),
)


# --- the few rows that are asked for again and again -----------------------------------------------------------------
# A query finds them by index where it has the same condition, word for word. What a condition reads is always there: an
# older program writes it as well.


def is_pending(columns: object) -> ColumnElement[bool]:
    """Whether a row of the outbox has neither been sent nor given up."""
    return and_(columns.sent_at.is_(None), columns.given_up.is_(False))  # type: ignore[attr-defined]


IS_UNRESOLVED = incidents.c.state != literal_column(f"'{IncidentState.RESOLVED}'")
IS_CLONE = speakers.c.standing == literal_column(f"'{Standing.CLONE}'")
HAS_FAILED = rehearsals.c.document.like(literal_column('\'%"outcome":"failed"%\''))
HAS_DISAGREED = findings.c.key.like(literal_column("'%:preflight.disagreed:%'"))
MAY_BE_CONTESTED = {table: table.c.contested.is_not(False) for table in (addresses, identifiers)}


def _index_some(name: str, column: Column[Any], condition: ColumnElement[bool]) -> None:
    Index(name, column, sqlite_where=condition, postgresql_where=condition)


_index_some("ix_addresses_contested", addresses.c.address, MAY_BE_CONTESTED[addresses])
_index_some("ix_enrolments_reused", enrolments.c.reused_at, enrolments.c.reused_at.is_not(None))
_index_some("ix_findings_disagreed", findings.c.number, HAS_DISAGREED)
_index_some("ix_findings_grave", findings.c.number, findings.c.is_grave)
_index_some("ix_incidents_unresolved", incidents.c.opened_at, IS_UNRESOLVED)
_index_some("ix_identifiers_contested", identifiers.c.identifier, MAY_BE_CONTESTED[identifiers])
_index_some("ix_rehearsals_failed", rehearsals.c.identifier, HAS_FAILED)
_index_some("ix_speakers_clones", speakers.c.heard_at, IS_CLONE)
for _name, _condition in (
    ("pending", is_pending(outbox.c)),
    ("given_up", outbox.c.given_up),
    ("sums", outbox.c.summed_in == outbox.c.number),
):
    Index(f"ix_outbox_{_name}", outbox.c.channel, outbox.c.due_at, sqlite_where=_condition, postgresql_where=_condition)
