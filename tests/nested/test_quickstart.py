"""The quickstart on a machine on which nobody has installed anything yet."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.story import witness
from tests.nested import traces
from tests.nested.bare import Bare, bare_debian

pytestmark = pytest.mark.nested

TOLD = (
    r"the client's request for https://portainer\.phoenix\.thinkheads\.ai/ goes gateway, Traefik, application: 200$",
    r"culprit   lxc103:/etc/hosts, line \d+: 10\.0\.0\.153 traefik\.internal\.thinkheads\.ai$",
    r"address   10\.0\.0\.153, role gateway$",
    r"victims   .*traefik\.internal\.thinkheads\.ai on lxc102",
    r"webhook   \S",
    r"`certagent renew traefik --force` on lxc102: blocked, exit status 4; the CA's log has no new order$",
    r"the incident is resolved, by itself$",
    r"renewed; 10\.0\.0\.12 served ([0-9a-f]{16})…, and now serves (?!\1)[0-9a-f]{16}…$",
)
"""What makes it the main job, in the order in which it has to be told."""

QUICKSTART_SECONDS = 1500.0

IS_BARE = """
for program in python3 go lxc-start debootstrap nft ip nginx dnsmasq systemctl curl; do
    ! command -v $program || exit 1
done
[ ! -e "$HOME/.cache" ]
"""

BUSY = """
mount -t tmpfs none /mnt
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ ! -w "$hierarchy/cgroup.procs" ] || mkdir "$hierarchy/ours"
done
setsid sleep infinity &
"""


@pytest.fixture
def no_other_lab() -> Iterator[None]:
    """This machine's own lab is down, and its network the same afterwards."""
    witness.lab("down")
    links = traces.links()
    yield
    assert traces.links() == links


@pytest.mark.timeout(1800)
def test_a_bare_debian_becomes_a_machine_that_tells_the_whole_story(
    no_other_lab: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command, on a Debian without Python, Go or LXC: it installs, builds, tells all of it, and leaves nothing."""
    log = tmp_path / "quickstart.log"
    with capsys.disabled():
        print(f"\nthe quickstart in a bare Debian tells its story to {log}", flush=True)
    with bare_debian() as machine:
        assert machine.run("sh", "-c", IS_BARE, log=log, timeout=20) == 0, log.read_text()
        before = machine.inventory()
        _run_quickstart(machine, log)
        assert machine.inventory() == before
        assert not (machine.root / "var/lib/certagent-lab").exists()
        assert not (machine.root / "run/lxc").exists()
    assert traces.left_of(machine.folder) == []


@pytest.mark.timeout(300)
def test_nothing_stays_of_a_bare_debian_that_is_left_in_the_middle(tmp_path: Path) -> None:
    """An interrupt while processes, mounts and control groups of its own are in it: all of it goes with it."""
    seen: list[Bare] = []
    with pytest.raises(KeyboardInterrupt):
        _interrupt_in_the_middle(seen, tmp_path / "log")
    assert traces.left_of(seen[0].folder) == []


def _interrupt_in_the_middle(seen: list[Bare], log: Path) -> None:
    with bare_debian() as machine:
        seen.append(machine)
        before = machine.inventory()
        assert machine.run("sh", "-ec", BUSY, log=log, timeout=20) == 0, log.read_text()
        assert len(machine.inventory()) >= len(before) + 3
        raise KeyboardInterrupt


def _run_quickstart(machine: Bare, log: Path) -> None:
    try:
        status = machine.run("./deploy/quickstart", "--once", log=log, timeout=QUICKSTART_SECONDS)
    except subprocess.TimeoutExpired:
        status = None
    told = log.read_text()
    assert status == 0, f"exit status {status} (None: not done in time); the end of {log}:\n{told[-4000:]}"
    assert re.search(".*?".join(TOLD), told, re.DOTALL | re.MULTILINE), f"not all of it is told in {log}:\n{told}"
