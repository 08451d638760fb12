"""The tables, for any SQL database. Values only: nothing here opens a connection.

Documents are JSON text, instants are microseconds since the epoch in UTC; nothing depends on one database's dialect.
`collector/migrations` brings a database to exactly this.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

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
    Column("since", Instant),
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
    Column("since", Instant),
    Column("proven_at", Instant),
    Column("led_at", Instant),
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

# What only one of several collectors does: see `leases`.
leases = Table(
    "leases",
    metadata,
    Column("name", String(160), primary_key=True),
    Column("holder", String(32), nullable=False),
    Column("until", Instant, nullable=False),
)

# The collectors that work on this database; which agent is connected to which of them; what one asks an agent that is
# connected to another. Part of no backup.
collectors = Table(
    "collectors",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("version", String(32), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("policy", String(64), nullable=False, server_default=""),
)

links = Table(
    "links",
    metadata,
    Column("agent", String(128), primary_key=True),
    Column("collector", String(32), nullable=False, index=True),
    Column("role", String(16), nullable=False, index=True),
    Column("since", Instant, nullable=False),
)

relays = Table(
    "relays",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("collector", String(32), nullable=False, index=True),
    Column("asker", String(32), nullable=False),
    Column("agent", String(128), nullable=False),
    Column("at", Instant, nullable=False),
    Column("question", Text, nullable=False),
    Column("answer", Text),
)

# The policy that each collector, by its name, had when it started last; the one that was put in force last is in force.
policies = Table(
    "policies",
    metadata,
    Column("collector", String(128), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("in_force_since", Instant),
)

# When the last round over the whole fleet ended, and whose it was.
rounds = Table(
    "rounds",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("collector", String(128), nullable=False),
    Column("ended_at", Instant, nullable=False),
)

PASSING = frozenset({leases, collectors, links, relays, policies, rounds})
"""What is true only of the collectors that run now."""

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
