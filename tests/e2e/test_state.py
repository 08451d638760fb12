"""The agent's state on a disk that is full or read-only, and two agents for one certificate: the served pair stays. The
collector's database under root's commands: it stays the service's."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e.fleet import until

pytestmark = pytest.mark.lab

NGINX = "nginx.internal.thinkheads.ai"
_STATE = "/var/lib/certagent"


def _sh(script: str) -> str:
    return witness.inside("lxc101", "sh", "-euc", script).stdout


def _served() -> str:
    return witness.served("10.0.0.153", NGINX)


def _renewed() -> tuple[str, str, str | None]:
    """(outcome, first code, its file) of a renewal that is asked for."""
    (one,) = witness.certagent("lxc101", "renew", "--force")[1]["certificates"]
    first: dict[str, Any] = next(iter(one["findings"]), {"code": "", "culprit": None})
    return one["outcome"], first["code"], (first["culprit"] or {}).get("file")


@pytest.fixture
def small_state(green: None) -> Iterator[None]:
    """The gateway's state on a small file system of its own."""
    mount = f"mount -t tmpfs -o size=4m,mode=0700 tmpfs {_STATE}"
    stop, start = "systemctl stop certagent-agent", "systemctl start certagent-agent"
    _sh(f"{stop}; cp -a {_STATE} /root/state; {mount}; cp -a /root/state/. {_STATE}/; {start}")
    yield
    _sh(f"{stop}; rm -r /root/state; cp -a {_STATE} /root/state; umount {_STATE}")
    _sh(f"rm -rf {_STATE}/*; cp -a /root/state/. {_STATE}/; rm -r /root/state; {start}")


def _is_renewed(before: str) -> bool:
    return _served() != before and witness.certagent("lxc101", "status")[0] == 0


_FILL = f"dd if=/dev/zero of={_STATE}/filler bs=4k oflag=append conv=notrunc 2>/dev/null || true"
"""Twice: the first report takes the room that is reserved for it, and leaves some over."""


@pytest.mark.parametrize(
    ("code", "spoil", "mend"),
    [
        ("deploy.disk_full", f"{_FILL}; certagent check >/dev/null || true; {_FILL}", f"rm {_STATE}/filler"),
        (
            "deploy.unwritable",
            f"mount -t tmpfs -o remount,ro tmpfs {_STATE}",
            f"mount -t tmpfs -o remount,rw tmpfs {_STATE}",
        ),
    ],
    ids=["full", "read-only"],
)
def test_a_state_that_cannot_be_written(small_state: None, code: str, spoil: str, mend: str) -> None:
    """The agent stays up and says which folder it is; nothing is ordered, the pair stays served. Mended, it renews, and
    what it had to say arrives."""
    before = _served()
    pid = _sh("systemctl show -p MainPID --value certagent-agent")
    _sh(spoil)
    try:
        outcome, found, file = _renewed()
        assert (outcome, found) == ("failed", code)
        assert file is None or file.startswith(_STATE)
        assert _served() == before
    finally:
        _sh(mend)
    until("it can renew again", 30, lambda: _renewed()[0] in ("done", "found"))
    assert _is_renewed(before)
    assert _sh("systemctl show -p MainPID --value certagent-agent") == pid
    told = [report for report in witness.items("/v1/reports") if code in json.dumps(report)]
    assert told, "the failed run was never reported"


def test_two_agents_for_one_certificate(green: None) -> None:
    """Another state, another socket, the same files: the second one says who was first, and changes nothing."""
    before = _served()
    _sh(
        'sed \'s|^state.*|state = "/root/second"\\nsocket = "/root/second.sock"|; s|127.0.0.1:5002|127.0.0.1:5003|;'
        " /^.collector/,/^token_file/d' /etc/certagent/agent.toml > /root/second.toml",
    )
    _sh("systemd-run -q --unit=second certagent agent --config /root/second.toml")
    try:
        journal = "journalctl -u second -o cat --no-pager"
        until("the second one says so", 30, lambda: "cert.two_owners: the agent lxc101, process" in _sh(journal))
        assert _served() == before
        assert not _sh("ls /root/second/certificates/gateway/generations")
    finally:
        _sh("systemctl stop second; rm -rf /root/second*")
    assert witness.certagent("lxc101", "status")[0] == 0


def test_what_root_does_to_the_database_is_done_as_the_service(green: None) -> None:
    """While the collector runs: a token, and a backup into root's own folder."""
    script = """
    cd "$(dirname "$(find /var/lib -name collector.db)")"
    certagent token add lxc199 >/dev/null
    certagent token revoke lxc199 >/dev/null
    certagent store backup /root/kept.db >/dev/null
    stat -c '%U %a %n' /root/kept.db
    rm /root/kept.db
    stat -c %U collector.db* | sort -u
    """
    told = witness.inside("lxc104", "sh", "-euc", script).stdout.splitlines()
    assert told[0] == "root 600 /root/kept.db"
    assert told[1:] == ["certagent-collector"]
