"""What is killed, stopped or cut off: nothing is lost, and the next start ends in a proven state."""

from typing import Any

import pytest

from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.fleet import TRAEFIK, until

pytestmark = pytest.mark.lab


def test_reports_of_an_outage_arrive_once_and_in_order(green: None) -> None:
    """The collector is away while lxc102 works; when it is back, every report is there, once, by its number."""
    before = max(one["sequence"] for one in _reports("lxc102"))
    witness.inside("lxc104", "systemctl", "stop", "certagent-collector")
    try:
        for _ in range(2):
            status, document = witness.certagent("lxc102", "renew", "traefik", "--force")
            assert document["certificates"][0]["outcome"] in ("done", "found"), document
            assert status == 3  # no rehearsal was to be had, and it says so
        waiting = witness.certagent("lxc102", "status")[1]["reports_waiting"]
        assert waiting >= 4
    finally:
        witness.inside("lxc104", "systemctl", "start", "certagent-collector")
    until("the spool is empty", 60, lambda: witness.certagent("lxc102", "status")[1]["reports_waiting"] == 0)
    arrived = [one for one in _reports("lxc102") if one["sequence"] > before]
    numbers = [one["sequence"] for one in reversed(arrived)]  # the collector lists the latest arrival first
    assert numbers == list(range(before + 1, before + 1 + len(numbers)))
    assert len(numbers) >= waiting


@pytest.mark.parametrize("moment", ["order", "deploy"])
def test_killed_in_the_middle_the_next_start_ends_proven(green: None, moment: str) -> None:
    """kill -9 while the journal says that step; the pair stays valid, the next start proves what it has."""
    witness.inside("lxc102", "sh", "-c", _KILL_AT, "sh", moment, timeout=60)
    fleet.wait_until_green(60)
    until("what lies on disk is proven and served", 30, _is_served)
    interrupted = [one for one in _reports("lxc102") if one["outcome"] == "interrupted"]
    assert interrupted, "the killed run was not reported"
    until("a check proceeds", 30, lambda: witness.certagent("lxc102", "check")[0] == 0)


@pytest.mark.parametrize("node", ["lxc102", "lxc103"])
def test_a_container_that_is_stopped_and_started_comes_back_by_itself(green: None, node: str) -> None:
    """Services, agent, channel, certificate: as before, and a rehearsal passes again."""
    witness.lab("stop", node)
    witness.lab("start", node)
    fleet.wait_until_green(60)
    until("a check proceeds", 60, lambda: witness.inside("lxc102", "certagent", "check", check=False).returncode == 0)


def _is_served() -> bool:
    status, document = witness.certagent("lxc102", "status")
    (traefik,) = document["certificates"]
    return status == 0 and traefik["on_disk"]["fingerprint"] == witness.served("10.0.0.12", TRAEFIK)


def _reports(node: str) -> list[dict[str, Any]]:
    return [one for one in witness.items("/v1/reports") if one["agent"] == node]


_KILL_AT = """
journal=/var/lib/certagent/certificates/traefik/run.json
pid=$(systemctl show -p MainPID --value certagent-agent)
certagent renew traefik --force >/dev/null 2>&1 &
tries=0
until grep -q '"step":"'"$1"'"' "$journal" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 4000 ] || { echo "the run never came to $1" >&2; exit 1; }
done
kill -9 "$pid"
wait
tries=0
until [ "$(systemctl show -p MainPID --value certagent-agent)" != "$pid" ] && systemctl -q is-active certagent-agent; do
    tries=$((tries + 1))
    [ "$tries" -lt 400 ] || { echo "systemd did not start it again" >&2; exit 1; }
    sleep 0.05
done
"""
