"""Alembic's entry: runs the revisions on the connection that `collector.sql.database` hands over."""

from alembic import context

from certagent.collector.sql.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
