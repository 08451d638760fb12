"""The story fails when what it tells does not happen, and cleans up after itself."""

import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from deploy.lab import places
from deploy.story import witness
from tests.e2e import fleet

pytestmark = pytest.mark.lab

QUICKSTART = Path(__file__).parents[2] / "deploy" / "quickstart"
SCRIPT = QUICKSTART.parent / "lab" / "provisioning" / "lxc103.sh"

BLIND = """
for file in $(find -L /opt/certagent -path '*certagent/watch.py'); do  # of each release that is there
cat >>"$file" <<'EOF'


async def _never(self, known):
    await asyncio.Event().wait()
    yield ()


Watch.changes = _never
EOF
done
systemctl restart certagent-agent
"""


def _all_proceed() -> bool:
    return all(fleet.check(node)["verdict"] == "proceed" for node in fleet.IDENTIFIERS)


@pytest.mark.timeout(400)
def test_without_the_watch_the_story_is_not_seen(green: None) -> None:
    """Between the edit and the incident the story only reads: without the watch beside the CA nothing opens one. That
    nobody looks again at a path that has just come back, the victims' agents are started anew."""
    witness.lab("up")  # so that the story's own finds nothing to install
    witness.inside("lxc103", "sh", "-eu", "-c", BLIND)
    for node in fleet.IDENTIFIERS:
        witness.inside(node, "systemctl", "restart", "certagent-agent")
    fleet.until("all is well", 60, lambda: _all_proceed() and not witness.open_incidents())
    done = subprocess.run(
        [str(QUICKSTART), "--once"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT SEEN: within 20 s it was not so that an incident names the line" in done.stdout, done.stdout


@pytest.mark.timeout(400)
def test_it_stays_until_it_is_interrupted_and_leaves_nothing(lab: None) -> None:
    """The page's address ends the story; Ctrl-C takes the lab down. The script that wrote the line was named before."""
    told: list[str] = []
    with subprocess.Popen([str(QUICKSTART)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as story:
        assert story.stdout is not None
        for line in story.stdout:
            told.append(line)
            if "Ctrl-C takes the lab down" in line:
                assert urllib.request.urlopen(line.split()[0], timeout=5).status == 200  # noqa: S310 -- loopback
                story.send_signal(signal.SIGINT)
    assert story.returncode == 130, "".join(told)
    assert "All of it was seen" in "".join(told)
    number = 1 + SCRIPT.read_text().splitlines().index("$GATEWAY traefik.$ZONE")
    place = rf"written by lxc103\.sh:{number} \(commit [0-9a-f]{{12}}, \d{{4}}-\d\d-\d\d\)"
    assert re.search(rf"^ +{place}: the next run writes it again$", "".join(told), re.MULTILINE), "".join(told)
    assert re.search(rf"^ +`certagent fix` on lxc103: {place}, so it will come back", "".join(told), re.MULTILINE)
    assert "the script ran once more: the line does not come back, and no incident is open" in "".join(told)
    assert not fleet.is_up()
    assert not places.RUNTIME.exists()
