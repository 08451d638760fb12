"""Files that change in every way there is, in real containers from inside: reported with the lines, and taken back."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from certagent.agent.resolver_changes import INOTIFY_LIMIT
from deploy.lab import containers, places
from deploy.lab.fleet import find
from deploy.story import witness
from tests.e2e.fleet import TRAEFIK, until, wait_until_green

pytestmark = pytest.mark.lab

NODE = "lxc103"
LINE = f"10.0.0.153 {TRAEFIK}"
NAMESERVER = "nameserver 10.0.0.153"

WAYS = {
    "written in place": (f"echo '{LINE}' >>/etc/hosts", "cat /root/good >/etc/hosts"),
    "renamed over": (
        f"(cat /root/good; echo '{LINE}') >/etc/hosts.new; mv /etc/hosts.new /etc/hosts",
        "cp /root/good /etc/hosts.new; mv /etc/hosts.new /etc/hosts",
    ),
    "edited by sed": (f"sed -i '1i {LINE}' /etc/hosts", f"sed -i '/^{LINE}$/d' /etc/hosts"),
    "renamed away": (
        f"(cat /root/good; echo '{LINE}') >/etc/hosts.bad; mv /etc/hosts.bad /etc/hosts",
        "mv /etc/hosts /etc/hosts.bad",
    ),
    "renamed back": ("cp /etc/hosts /etc/hosts.bad; mv /etc/hosts /root/away; "
                     f"echo '{LINE}' >>/root/away; mv /root/away /etc/hosts", "mv /etc/hosts.bad /etc/hosts"),
    "deleted and made again": (
        f"rm /etc/hosts; (cat /root/good; echo '{LINE}') >/etc/hosts",
        "rm /etc/hosts; cat /root/good >/etc/hosts",
    ),
    "through a link": (
        "mkdir -p /run/names; cp /etc/hosts /run/names/hosts; ln -sf ../run/names/hosts /etc/hosts; "
        f"echo '{LINE}' >>/run/names/hosts",
        f"sed -i '/^{LINE}$/d' /run/names/hosts",
    ),
    "by a link that leads elsewhere": (
        f"mkdir -p /run/other; (cat /root/good; echo '{LINE}') >/run/other/hosts; "
        "ln -s ../run/other/hosts /etc/hosts.new; mv -T /etc/hosts.new /etc/hosts",
        "cp /root/good /etc/hosts.new; mv -T /etc/hosts.new /etc/hosts",
    ),
    "under a mount": (
        f"(cat /root/good; echo '{LINE}') >/root/bad; mount --bind /root/bad /etc/hosts",
        "umount /etc/hosts",
    ),
    "by 1,000 writes": (
        "i=0; while [ $i -lt 1000 ]; do echo \"10.0.0.153 name$i.internal.thinkheads.ai\" >/etc/hosts; i=$((i + 1)); "
        f"done; (cat /root/good; echo '{LINE}') >/etc/hosts",
        "i=0; while [ $i -lt 1000 ]; do cat /root/good >/etc/hosts; i=$((i + 1)); done",
    ),
}  # fmt: skip
"""How a line comes into the CA's hosts file, and how it goes; /root/good is the file as it was."""

MEND = """
umount /etc/hosts 2>/dev/null
[ -f /etc/hosts ] && [ ! -L /etc/hosts ] && cmp -s /root/good /etc/hosts && exit 0
cp /root/good /etc/hosts.new && mv -T /etc/hosts.new /etc/hosts
"""


@pytest.fixture
def hosts(green: None) -> Iterator[None]:
    """The CA's hosts file, put back as it was at the end, whatever became of it."""
    _shell("cat /etc/hosts >/root/good")
    yield
    _shell(MEND)
    until("no incident is open", 30, lambda: not witness.open_incidents())


@pytest.mark.parametrize("way", WAYS)
def test_a_line_is_an_incident_however_it_came_and_is_over_however_it_went(hosts: None, way: str) -> None:
    """With its text, by events alone: the slow comparison comes every 30 s."""
    begin, end = WAYS[way]
    before = _newest()
    _shell(begin)
    incident = until(f"the line is an incident, {way}", 10, _incident)
    assert [line["text"] for line in incident["lines"]] == [LINE]
    _shell(end)
    until(f"the incident is over, {way}", 10, lambda: not _incident())
    # the incident may be over before: a rehearsal that passes comes first now and then
    until(f"that it went is reported, {way}", 10, lambda: _is_told("removed", _file_runs(before)))
    runs = _file_runs(before)
    assert len(runs) < 60  # one for each quiet period, or for ten that were none
    assert _is_told("added", runs)


def test_a_resolv_conf_that_is_a_link_is_followed(green: None) -> None:
    """As systemd-resolved makes it: the target's folder is watched once the link is there, and when it is made anew."""
    before = _newest()
    _shell(
        "mkdir -p /run/systemd/resolve && cp /etc/resolv.conf /run/systemd/resolve/stub-resolv.conf && "
        "cp /etc/resolv.conf /root/resolv.conf && ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf"
    )
    try:
        _shell("sed -i '$a options timeout:1' /run/systemd/resolve/stub-resolv.conf")
        until("the line is reported", 10, lambda: _is_reported(before, "/etc/resolv.conf", "options timeout:1"))
        _shell("rm -r /run/systemd/resolve")
        until("it leads nowhere", 10, lambda: _incident("/etc/resolv.conf"))
        _shell("mkdir /run/systemd/resolve && cp /root/resolv.conf /run/systemd/resolve/stub-resolv.conf")
        until("it leads somewhere", 10, lambda: not _incident("/etc/resolv.conf"))
        _shell("sed -i '$a options attempts:1' /run/systemd/resolve/stub-resolv.conf")
        until("the next line is reported", 10, lambda: _is_reported(before, "/etc/resolv.conf", "options attempts:1"))
    finally:
        _shell("cp --remove-destination /root/resolv.conf /etc/resolv.conf")
    until("no incident is open", 30, lambda: not witness.open_incidents())


def test_what_changed_while_the_agent_was_down_is_said_at_the_start(hosts: None) -> None:
    """With the line, as information of its own; and what it does, as an incident."""
    before = _newest()
    _shell("systemctl stop certagent-agent")
    _shell(f"echo '{LINE}' >>/etc/hosts")
    _shell("systemctl start certagent-agent")
    _said_as_missed(before)


def test_a_section_that_proxmox_rewrote_before_the_start_is_said_too(hosts: None) -> None:
    """The container was stopped; its section of the hosts file is another one when it starts."""
    before = _newest()
    witness.lab("stop", NODE)
    try:
        file = containers.root(find(NODE)) / "etc/hosts"
        content = file.read_text().replace("# --- END PVE ---", f"{LINE}\n# --- END PVE ---")
        containers.put(find(NODE), "/etc/hosts", content.encode())
    finally:
        witness.lab("start", NODE)
    incident = _said_as_missed(before)
    assert "proxmox sets it" in incident["fix"]
    _shell(MEND)
    wait_until_green(60)


def test_only_the_identifiers_on_the_line_are_judged_again(green: None) -> None:
    """The gateway's node has two; a line for one of them (which agrees with DNS) is none of the other's business."""
    before = _newest("lxc101")
    _shell("echo '10.0.0.153 NGINX.internal.thinkheads.ai # probe' >>/etc/hosts", "lxc101")
    try:
        judged = until("somebody is judged again", 10, lambda: _judged(before))
        assert judged == [["identifier:nginx.internal.thinkheads.ai"]]
    finally:
        _shell("sed -i '/# probe$/d' /etc/hosts", "lxc101")


def test_without_inotify_it_compares_and_says_so(hosts: None) -> None:
    """The container's share is used up: a warning, changes are found all the same; at the next start it is over."""
    before = _newest()
    _limit_inotify(0)
    try:
        _shell("systemctl restart certagent-agent")
        until("it says so", 10, lambda: _said_of_inotify(before) == [["agent.watch_degraded"]])
        _shell(f"echo '{LINE}' >>/etc/hosts")
        until("the line is an incident", 10, _incident)
        _shell("cat /root/good >/etc/hosts")
        until("the incident is over", 10, lambda: not _incident())
    finally:
        _limit_inotify(2**31 - 1)
        _shell("systemctl restart certagent-agent")
    until("it says that this is over", 10, lambda: _said_of_inotify(before)[-1:] == [[]])


def test_look_ups_wake_nobody(green: None) -> None:
    """400 of them read the hosts file 400 times: the agent's threads are hardly scheduled, and burn no time."""
    asleep = until("the agent is at rest", 30, _at_rest)
    _shell(f"i=0; while [ $i -lt 400 ]; do getent hosts {TRAEFIK} >/dev/null; i=$((i + 1)); done")
    woken, ticks = _scheduled()
    assert woken - asleep[0] < 100
    assert ticks - asleep[1] <= 10


def _shell(script: str, node: str = NODE) -> str:
    return witness.inside(node, "sh", "-c", script).stdout


def _incident(file: str = "/etc/hosts") -> dict[str, Any] | None:
    found = (one for one in witness.open_incidents() if one["culprit"]["node"] == NODE)
    return next((one for one in found if one["culprit"]["file"] == file), None)


def _reports(node: str = NODE, since: int = 0) -> list[dict[str, Any]]:
    found = [one for one in witness.items("/v1/reports") if one["agent"] == node and one["sequence"] > since]
    return sorted(found, key=lambda one: int(one["sequence"]))


def _newest(node: str = NODE) -> int:
    return max((one["sequence"] for one in _reports(node)), default=0)


def _file_runs(since: int) -> list[dict[str, Any]]:
    return [one for one in _reports(since=since) if (one["kind"], one["trigger"]) == ("watch", "file")]


def _is_told(what: str, runs: list[dict[str, Any]]) -> bool:
    return any(LINE in change[what] for one in runs for change in one["changes"])


def _is_reported(since: int, file: str, line: str) -> bool:
    changes = [change for one in _file_runs(since) for change in one["changes"]]
    return any(change["file"] == file and line in change["added"] for change in changes)


def _codes(since: int) -> dict[str, dict[str, Any]]:
    return {finding["code"]: finding for one in _reports(since=since) for finding in one["findings"]}


def _said_as_missed(since: int) -> dict[str, Any]:
    finding = until("it is said", 30, lambda: _codes(since).get("agent.changed_while_down"))
    assert finding["severity"] == "info"
    assert finding["detail"] == {"added": [LINE], "removed": []}
    culprit = finding["culprit"]
    assert (culprit["node"], culprit["file"], culprit["text"]) == (NODE, "/etc/hosts", LINE)
    incident = until("the line is an incident", 30, _incident)
    assert [(line["line"], line["text"]) for line in incident["lines"]] == [(culprit["line"], LINE)]
    return incident


def _judged(since: int) -> list[list[str]]:
    return [one["scopes"] for one in _reports("lxc101", since) if one["trigger"] == "judge_again"]


def _said_of_inotify(since: int) -> list[list[str]]:
    about = [one for one in _reports(since=since) if one["scopes"] == [f"file:{INOTIFY_LIMIT}"]]
    return [[finding["code"] for finding in one["findings"]] for one in about]


def _limit_inotify(most: int) -> None:
    """How many instances may be had inside the node: a setting of its user namespace, and nobody else's."""
    told = subprocess.run(
        ["lxc-info", "-P", str(places.CONTAINERS), "-n", NODE, "-p", "-H"], capture_output=True, text=True, check=True
    )
    script = f"echo {most} >/proc/sys/user/max_inotify_instances"
    subprocess.run(["nsenter", "-t", told.stdout.strip(), "-U", "--", "sh", "-c", script], check=True)


def _scheduled() -> tuple[int, int]:
    """(how often the agent's threads went on after waiting, hundredths of a second that they ran)."""
    script = (
        "pid=$(systemctl show -p MainPID --value certagent-agent); "
        "cat /proc/$pid/task/*/status | awk '/^voluntary/ {sum += $2} END {print sum}'; "
        "awk '{print $14 + $15}' /proc/$pid/stat"
    )
    woken, ticks = _shell(script).split()
    return int(woken), int(ticks)


def _at_rest() -> tuple[int, int] | None:
    """What `_scheduled` says, once it says the same for a while."""
    before = _scheduled()
    _shell("sleep 0.5")
    after = _scheduled()
    return after if after[0] - before[0] < 5 and after[1] == before[1] else None
