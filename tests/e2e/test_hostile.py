"""A hostile agent and somebody without any credential, at full rate beside the fleet: for the others nothing changes.

The same faults are put in and taken out before and meanwhile. Each is told as soon, and each incident and each message
about the fleet is one of theirs.
"""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.lab.containers import run_inside
from deploy.lab.fleet import find
from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.fleet import TRAEFIK, until
from tests.e2e.hostile.attacker import ME
from tests.soak import ground
from tests.tiers import Tiers

pytestmark = pytest.mark.lab

ATTACKER = Path(__file__).with_name("hostile") / "attacker.py"
COLLECTOR = ("10.0.0.104", "8843", "collector.internal.thinkheads.ai")
AS_COLLECTOR = ("runuser", "-u", "certagent-collector", "--")
FAULTS = {
    "hosts-shadow-authority": ("lxc102", TRAEFIK),
    "nginx-return-404": ("lxc101", "nginx.internal.thinkheads.ai"),
    "traefik-stale-port": ("lxc102", TRAEFIK),
}
"""Of the lab's; each with who notices it, at the latest when asked."""
_LATE = 45.0  # seconds: the attacker takes the processors, too, that the fleet runs on
_SETTLED_WITHIN = 60.0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the write until a person was told, and from the other write until told that it is over; when it was
    in."""

    fault: str
    begun_at: float
    ended_at: float
    told: float
    over: float
    incident: str


@pytest.fixture
def token(green: None) -> Iterator[str]:
    """Of an ordinary agent. Afterwards the lab goes with all that was said by it."""
    made = witness.inside("lxc104", *AS_COLLECTOR, "certagent", "token", "add", ME, "--json")
    try:
        yield json.loads(made.stdout)["token"]
    finally:
        witness.lab("down", show=True)


@pytest.mark.timeout(1500)
def test_for_the_others_nothing_changes(token: str, tiers: Tiers) -> None:
    """No report, incident or message is lost, made up or late; the collector stays small and says little."""
    seconds = tiers.amount("tests/e2e/test_hostile.py")
    before = [_round(fault) for fault in FAULTS]
    began, numbered, told = time.time(), ground.spools(), len(witness.messages())
    with ThreadPoolExecutor(1) as pool:
        attack = pool.submit(_attack, token, seconds)
        during = list(_rounds(began + seconds))
        made = attack.result(seconds + 120)
    print(json.dumps({"attacks": made, "before": msgspec.to_builtins(before), "during": msgspec.to_builtins(during)}))
    _all_attacks_got_through(made)
    assert [one for one in during if max(one.told, one.over) > _LATE] == []
    ours = {one.incident for one in during}
    strangers = _strangers(told, ours)
    print(*(f"{title}\n{incident}" for title, incident in strangers), sep="\n")
    assert not strangers
    assert _made_up(ours, began, during) == []
    until("nothing waits to be reported", _SETTLED_WITHIN, ground.nothing_waits)
    assert _lost(numbered) == {}
    _the_collector_is_well(began)


def _rounds(until_then: float) -> Iterator[Round]:
    time.sleep(3)  # it has begun
    number = 0
    while number < len(FAULTS) or time.time() < until_then - 20:
        yield _round(list(FAULTS)[number % len(FAULTS)])
        number += 1


def _round(fault: str) -> Round:
    """Put it in, see it told, judge by it, take it out, see that told."""
    node, identifier = FAULTS[fault]
    told = len(witness.messages())
    fleet.break_with(fault)
    written = time.time()
    judged = fleet.check_one(node, identifier)
    opened = until(f"{fault} is told", 90, lambda: _message(told, "open"))
    incident = opened["headers"]["X-Certagent-Incident"]
    fleet.heal(fault)
    mended = time.time()
    until("the renewal may go on", 60, lambda: fleet.check_one(node, identifier)["verdict"] == "proceed")
    resolved = until(f"{fault} is told to be over", 90, lambda: _message(told, "resolved", incident))
    assert (judged["verdict"], judged["rehearsal"]["outcome"]) == ("block", "failed"), judged
    span = {"begun_at": written, "ended_at": time.time()}
    return Round(fault=fault, **span, told=_at(opened) - written, over=_at(resolved) - mended, incident=incident)


def _message(since: int, state: str, incident: str | None = None) -> dict[str, Any] | None:
    """The first message about the fleet in that state, of that incident."""
    for message in fleet.sent_messages(since):
        headers = message["headers"]
        is_right = headers.get("X-Certagent-State") == state and not _is_about_the_attacker(message)
        if is_right and incident in (None, headers.get("X-Certagent-Incident")):
            return message
    return None


def _is_about_the_attacker(message: dict[str, Any]) -> bool:
    incident = witness.collector(_incident_of(message))
    return (incident["culprit"] or {}).get("node") == ME


def _incident_of(message: dict[str, Any]) -> str:
    return f"/v1/incidents/{message['headers']['X-Certagent-Incident']}"


def _attack(token: str, seconds: float) -> dict[str, int]:
    script = ATTACKER.read_text()
    run_inside(find("client"), "sh", "-c", "cat >/run/attacker.py", text=script)
    done = run_inside(
        find("client"), "python3", "/run/attacker.py", *COLLECTOR, str(seconds), text=token, timeout=seconds + 90
    )
    return dict(json.loads(done))


def _all_attacks_got_through(made: dict[str, int]) -> None:
    """Those of strangers may be cut off, but were made; those of an agent were answered, if only by a refusal."""
    for name in ("bombs", "cut_off", "logins", "garbage", "idle"):
        assert made.get(name, 0) + made.get(f"{name}: cut off", 0) > 3, (name, made)
    for name in ("accuse", "babble", "acquit", "claim", "bury", "rehearse", "read"):
        assert made.get(name, 0) > 3, (name, made)
    assert made.get("POST /v1/reports 200", 0) > 20, made


def _made_up(ours: set[str], began: float, rounds: Sequence[Round]) -> list[Any]:
    """Incidents that opened meanwhile and blame a node of the fleet while no fault was in. (What is only kept as
    somebody's word is none; and whose name fails suspects somebody for the moment until the CA's node has spoken.)"""
    return [
        (item["code"], item["culprit"], item["state"])
        for item in witness.items("/v1/incidents")
        if item["id"] not in ours and item["confirmed"] and item["culprit"]["node"] != ME
        if (at := _instant(item["opened_at"])) >= began
        and not any(one.begun_at <= at <= one.ended_at for one in rounds)
    ]


def _strangers(told: int, ours: set[str]) -> list[tuple[str, str]]:
    """Title and incident of messages that are about neither a fault that was in nor the attacker itself."""
    return [
        (message["headers"]["Title"], json.dumps(witness.collector(_incident_of(message)), indent=1))
        for message in fleet.sent_messages(told)
        if message["headers"]["X-Certagent-Incident"] not in ours and not _is_about_the_attacker(message)
    ]


def _lost(before: dict[str, tuple[int, int]]) -> dict[str, list[int]]:
    """By agent of the fleet: the numbers of reports made since then that the collector does not have."""
    stored: dict[str, set[int]] = {}
    for report in witness.items("/v1/reports"):
        stored.setdefault(report["agent"], set()).add(report["sequence"])
    after = ground.spools()
    missing = {
        agent: sorted(set(range(first + 1, after[agent][0] + 1)) - stored.get(agent, set()))
        for agent, (first, _) in before.items()
    }
    return {agent: numbers for agent, numbers in missing.items() if numbers}


def _the_collector_is_well(since: float) -> None:
    """Never restarted, small, no traceback, and it did not write a line for each thing that a stranger did."""
    unit = "certagent-collector.service"
    shown = witness.inside("lxc104", "systemctl", "show", unit, "-p", "MainPID", "-p", "NRestarts").stdout.split()
    values = dict(line.split("=", 1) for line in shown)
    assert values["NRestarts"] == "0"
    status = witness.inside("lxc104", "cat", f"/proc/{values['MainPID']}/status").stdout
    resident = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    journal = witness.inside("lxc104", "journalctl", "-u", unit, "-o", "cat", f"--since=@{since:.0f}").stdout
    assert "Traceback" not in journal
    assert len(journal.splitlines()) < 2_000
    print(f"the collector holds {resident:.0f} MiB and wrote {len(journal.splitlines())} lines")
    assert resident < 256


def _at(message: dict[str, Any]) -> float:
    return _instant(message["time"])


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
