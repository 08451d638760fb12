"""Alembic's migrations of the collector's database, from the first schema on. Run by `collector.sql.database`."""
