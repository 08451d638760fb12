"""Counts, on a lab of its own, the modules of certagent in which a function runs while a flow goes from end to end.

    tests/flows/run [--json]

The wiring of the processes that take part is counted too: whoever follows the flow has to open it. What runs beside the
flow, in other tasks and threads, is not (see `launcher.py`).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from certagent.domain.link_messages import INSTANCE_HEADER
from deploy.story import witness
from tests.e2e.fleet import bring_up, until, wait_until_green

LAUNCHER = Path(__file__).with_name("launcher.py")
WIRING = {"agent": "agent/app.py", "collector": "collector/app.py"}
MOST = {"hosts line": 45, "renewal": 40, "report": 16}
"""How many modules each flow may take."""

AGENT_LEGS = (("agent/resolver_changes.py", "_handle"), ("reporting.py", "_deliver"))
COLLECTOR_LEGS = (
    ("collector/intake.py", "post_reports"),
    ("collector/store.py", "_write"),
    ("collector/store.py", "_commit"),
)
ALERT_LEGS = (("collector/dispatch.py", "_note_changes"), ("collector/dispatch.py", "_deliver_next"))
RENEWAL_LEGS = (("agent/lifecycle.py", "_judge_and_renew"),)

_DUE = """
import datetime, ssl, sys
facts = ssl._ssl._test_decode_cert("/etc/nginx/ssl/gateway.crt")
begin, end = (ssl.cert_time_to_seconds(facts[key]) for key in ("notBefore", "notAfter"))
due_at = datetime.datetime.now().timestamp() + 15
print((due_at - begin) / (end - begin), due_at)
"""


def main() -> int:
    """Bring the lab up, follow the three flows, take it down; 1 when one takes more modules than it may."""
    parser = argparse.ArgumentParser(prog="tests/flows/run", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the modules of each flow as one document")
    arguments = parser.parse_args()
    bring_up()
    try:
        wait_until_green(120)
        flows = follow()
    finally:
        witness.lab("down", show=True)
    if arguments.json:
        print(json.dumps(flows, indent=2))
    else:
        print(*(f"{name}: {len(modules)} modules (at most {MOST[name]})" for name, modules in flows.items()), sep="\n")
    return int(any(len(modules) > MOST[name] for name, modules in flows.items()))


def follow() -> dict[str, list[str]]:
    """Each flow and its modules."""
    for node in ("lxc101", "lxc103", "lxc104"):
        _profile(node)
    for node in ("lxc101", "lxc102"):
        until(f"{node} proceeds", 60, partial(_proceeds, node))
    wait_until_green(120)
    return {"hosts line": _hosts_line(), "report": _report(), "renewal": _renewal()}


def _hosts_line() -> list[str]:
    """(a) A hosts line at the CA -> incident -> message."""
    _follow("lxc103", "agent", AGENT_LEGS)
    _follow("lxc104", "collector", (*COLLECTOR_LEGS, *ALERT_LEGS))
    told = len(witness.messages())
    witness.lab("fault", "hosts-shadow-authority")
    until("the webhook fired", 20, lambda: witness.messages()[told:])
    span = (witness.changed_at("lxc103", "/etc/hosts").timestamp(), _instant(witness.messages()[told]["time"]))
    seen = _modules(span, ("lxc103", "agent"), ("lxc104", "collector"))
    witness.lab("heal", "hosts-shadow-authority")
    wait_until_green(120)
    return seen


def _instant(told: str) -> float:
    return datetime.fromisoformat(told).timestamp()


def _renewal() -> list[str]:
    """(b) A certificate is due -> order -> nginx -> proof."""
    due_after, due_at = (float(word) for word in witness.inside("lxc101", "python3", "-c", _DUE).stdout.split())
    script = (
        f"printf '[renewal]\\ndue_after = {due_after}\\njitter = 0.0\\n' >/etc/certagent/policy.toml;"
        " sed -i '/^\\[agent\\]/a policy = \"/etc/certagent/policy.toml\"' /etc/certagent/agent.toml;"
        " systemctl restart certagent-agent"
    )
    served = witness.served("10.0.0.153", "nginx.internal.thinkheads.ai")
    witness.inside("lxc101", "sh", "-euc", script)
    until("lxc101 proceeds", 60, partial(_proceeds, "lxc101"))
    assert time.time() < due_at, "it was due before it could be followed"
    _follow("lxc101", "agent", RENEWAL_LEGS)
    until(
        "another certificate is served",
        60,
        lambda: witness.served("10.0.0.153", "nginx.internal.thinkheads.ai") != served,
    )
    return _modules((due_at, time.time()), ("lxc101", "agent"))


_POST = """
import json, ssl, sys, time, urllib.request
token = open("/etc/certagent/token").read().strip()
body = json.dumps([json.loads(sys.argv[1])]).encode()
context = ssl.create_default_context(cafile="/etc/certagent/root_ca.crt")
url = "https://collector.internal.thinkheads.ai:8843/v1/reports"
headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json", "HEADER": sys.argv[2]}
request = urllib.request.Request(url, body, headers)
begun_at = time.time()
urllib.request.urlopen(request, context=context, timeout=10).read()
print(begun_at, time.time())
""".replace("HEADER", INSTANCE_HEADER)
_SPEAKER = """
import sqlite3
query = "SELECT instance FROM speakers WHERE agent = 'lxc101' AND standing = 'speaker'"
print(sqlite3.connect("file:/var/lib/certagent/collector.db?mode=ro", uri=True).execute(query).fetchone()[0])
"""


def _report() -> list[str]:
    """(c) POST of reports -> incident."""
    finding = {
        "code": "deploy.validate_failed",
        "severity": "error",
        "identifier": "nginx.internal.thinkheads.ai",
        "vantage": "client",
        "reporter": "lxc101",
        "explanation": "nginx -t says no.",
        "culprit": {"node": "lxc101", "file": "/etc/nginx/nginx.conf", "line": 7, "text": "oops;"},
    }
    now = witness.inside("lxc101", "date", "-u", "+%Y-%m-%dT%H:%M:%SZ").stdout.strip()
    report = {
        "id": "f" * 32,
        "agent": "lxc101",
        "sequence": 1_000_000,
        "kind": "watch",
        "trigger": "file",
        "started_at": now,
        "finished_at": now,
        "outcome": "found",
        "scopes": ["file:/etc/nginx/nginx.conf"],
        "findings": [finding],
    }
    speaker = witness.inside("lxc104", "python3", "-c", _SPEAKER).stdout.strip()  # as the agent itself, not as a clone
    _follow("lxc104", "collector", COLLECTOR_LEGS)
    post = ("python3", "-c", _POST, json.dumps(report), speaker)
    begun_at, ended_at = witness.inside("lxc101", *post).stdout.split()
    return _modules((float(begun_at), float(ended_at)), ("lxc104", "collector"))


def _profile(node: str) -> None:
    put = "cat >/usr/local/bin/certagent"
    script = f"{put} && systemctl restart 'certagent-*'"
    subprocess.run([str(witness.LAB), "exec", node, "--", "sh", "-c", script], input=LAUNCHER.read_bytes(), check=True)


def _proceeds(node: str) -> bool:
    """The node's agent runs, and what it began with is over."""
    return witness.inside(node, "certagent", "check", check=False).returncode == 0


def _follow(node: str, service: str, legs: Sequence[tuple[str, str]]) -> None:
    """From now on that service notes what runs on those legs."""
    _tell(node, service, legs)


def _tell(node: str, service: str, legs: Sequence[tuple[str, str]] = ()) -> dict[str, list[float]]:
    script = (
        f"pid=$(systemctl show -p MainPID --value certagent-{service}); file=/proc/$pid/root/tmp/flow-$pid.json;"
        f"echo '{json.dumps(legs)}' >/proc/$pid/root/tmp/flow-legs.json; rm -f $file;"
        " kill -USR2 $pid; until [ -e $file ]; do sleep 0.02; done; cat $file"
    )
    return dict(json.loads(witness.inside(node, "sh", "-euc", script).stdout))


def _modules(span: tuple[float, float], *services: tuple[str, str]) -> list[str]:
    """What ran in them between the two instants, and what wires them."""
    seen = {WIRING[service] for _, service in services}
    for node, service in services:
        called = _tell(node, service)
        seen.update(module for module, times in called.items() if any(span[0] <= at <= span[1] for at in times))
    return sorted(seen)


sys.exit(main())
