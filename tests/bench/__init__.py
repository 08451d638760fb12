"""Measurements: run by hand on a quiet machine, never timed tests. Each prints what it saw as one JSON document."""
