"""The tables, for any SQL database. Values only: nothing here opens a connection.

Documents are JSON text, instants are microseconds since the epoch in UTC; nothing depends on one database's dialect.
`collector/migrations` brings a database to exactly this.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from certagent.collector.sql.statements import Instant

_Serial = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts by itself there

metadata = MetaData()

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
)

# What the inventories say, once more by what is asked for: whose address is it, who has a certificate for that name?
addresses = Table(
    "addresses",
    metadata,
    Column("address", String(64), primary_key=True),
    Column("agent", String(128), primary_key=True, index=True),
)

certificates = Table(
    "certificates",
    metadata,
    Column("agent", String(128), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("expires_at", Instant),
    Column("document", Text, nullable=False),
    Column("issued_at", Instant),
)

identifiers = Table(
    "identifiers",
    metadata,
    Column("identifier", String(256), primary_key=True),
    Column("agent", String(128), primary_key=True, index=True),
    Column("certificate", String(256), primary_key=True),
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
    Index("ix_findings_agent_scope", "agent", "scope"),
)

rehearsals = Table(
    "rehearsals",
    metadata,
    Column("identifier", String(256), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("brokered", Boolean, nullable=False),
    Column("document", Text, nullable=False),
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

# One row per transition and channel: recorded with the transition, taken off when delivered.
outbox = Table(
    "outbox",
    metadata,
    Column("number", _Serial, primary_key=True),
    Column("transition", BigInteger, nullable=False, index=True),
    Column("channel", String(128), nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("failure", Text),
    Column("given_up", Boolean, nullable=False),
)
