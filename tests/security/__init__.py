"""Attacks, one by one as docs/security.md lists them: what may not happen does not, and others are not disturbed."""
