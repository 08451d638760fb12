"""The tables of what is true only of the collectors that run now. Values only; `schema` has all others."""

from sqlalchemy import Column, MetaData, String, Table, Text

from certagent.collector.sql.statements import Instant

metadata = MetaData()

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

# What was done how often lately, over all collectors: see `limit_queries`.
limits = Table(
    "limits",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("until", Instant, nullable=False),
)

PASSING = frozenset({leases, collectors, links, relays, policies, rounds, limits})
"""What is true only of the collectors that run now."""
