"""The fast tier on the Pythons of Debian 12 and of Debian 13, on machines on which nobody has installed anything."""

import re
from pathlib import Path

import pytest

from deploy.lab.rootfs import BOOKWORM, TRIXIE, Release
from tests.nested import traces
from tests.nested.bare import bare_debian

pytestmark = pytest.mark.nested

SECONDS = 1200.0
NEEDED = "python3 python3-venv git iproute2 openssh-client"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("release", [BOOKWORM, TRIXIE], ids=["Python 3.11", "Python 3.13"])
def test_the_fast_tier_passes_on_this_python(release: Release, tmp_path: Path) -> None:
    """From the repository's files alone: it brings what it needs."""
    log = tmp_path / "fast.log"
    with bare_debian(release) as machine:
        script = f"set -e; apt-get -q update; apt-get -q -y install --no-install-recommends {NEEDED}"
        assert machine.run("sh", "-c", script, log=log, timeout=300) == 0, log.read_text()[-2000:]
        log.write_text("")
        assert machine.run("tests/run", "--fast", log=log, timeout=SECONDS) == 0, log.read_text()[-6000:]
    told = log.read_text()
    assert re.search(r"^\d{4,} passed", told, re.MULTILINE), told[-2000:]
    assert "the fast tier passed" in told
    assert traces.left_of(machine.folder) == []
