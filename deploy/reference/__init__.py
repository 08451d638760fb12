"""The reference: pages in `docs/` and manual pages, made from what the code itself says. Writes files, runs nothing."""
