"""Pebble v2, Let's Encrypt's CA for tests: it offers ARI, profiles and account binding, which step-ca does not.

No node of the lab runs it; the tests start it on loopback.
"""

from pathlib import Path

from deploy.lab import places
from deploy.lab.parts import golang

VERSION = "2.10.1"


def ensure() -> Path:
    """The layer that holds it."""
    return golang.ensure(
        "pebble",
        VERSION,
        "github.com/letsencrypt/pebble/v2/cmd/pebble",
        places.LAB / "parts" / "pebble",
        f"building Pebble {VERSION} (once)",
    )
