"""Builds what a release consists of: wheel, source archive, Debian packages, offline bundle, SBOMs, checksums."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "lxc"))  # the installer's modules import each other by name
