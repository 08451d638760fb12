"""Packages of this tree, as it lies there, under a version that the test says."""

from pathlib import Path

from deploy.lab.places import TREE
from deploy.release.__main__ import build
from deploy.release.revision import Revision
from deploy.release.targets import TARGETS

_EPOCH = 1790000000


def build_package(target: str, version: str, folder: Path) -> Path:
    """The file of the Debian package."""
    list(build(Revision(version, _EPOCH, None, None), TREE, [TARGETS[target]], folder, bundles=False))
    (package,) = folder.glob("*.deb")
    return package
