"""The story fails when what it tells does not happen."""

import subprocess
from pathlib import Path

import pytest

from deploy.story import witness

pytestmark = pytest.mark.lab

QUICKSTART = Path(__file__).parents[2] / "deploy" / "quickstart"

BLIND = """
file=$(find -L /opt/certagent -path '*certagent/watch.py' | head -n 1)
cat >>"$file" <<'EOF'


async def _never(self, known):
    await asyncio.Event().wait()
    yield ()


Watch.changes = _never
EOF
systemctl restart certagent-agent
"""


@pytest.mark.timeout(400)
def test_without_the_watch_the_story_is_not_seen(green: None) -> None:
    """Between the edit and the incident the story only reads: without the watch beside the CA nothing opens one."""
    witness.inside("lxc103", "sh", "-eu", "-c", BLIND)
    done = subprocess.run(
        [str(QUICKSTART), "--once"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT SEEN: within 20 s it was not so that an incident names the line" in done.stdout
