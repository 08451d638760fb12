"""axe-core, which judges a page's accessibility in the browser: fetched once, pinned by its digest, kept in the cache.

PyPI's `axe-playwright-python` carries it; nothing else of that package is used.
"""

import shutil
import sys
from pathlib import Path

from deploy.lab import layers
from deploy.lab.processes import Failed, run

VERSION = "4.12.1"
_CARRIER = (
    "axe-playwright-python==0.1.8 --hash=sha256:fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8\n"
)


def read_axe() -> str:
    """The script."""
    layer = layers.ensure(f"axe-core-{VERSION}", f"fetching axe-core {VERSION} (once)", _fetch)
    return (layer / "axe.min.js").read_text(encoding="utf-8")


def _fetch(layer: Path) -> None:
    work, wanted = layer.parent / "wheel", layer.parent / "requirements.txt"
    wanted.write_text(_CARRIER)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    run([*pip, "--target", work, "-r", wanted])
    script = work / "axe_playwright_python" / "axe.min.js"
    if not script.read_text(encoding="utf-8").startswith(f"/*! axe v{VERSION}\n"):
        raise Failed(f"axe-playwright-python does not hold axe-core {VERSION}")
    shutil.copyfile(script, layer / script.name)
