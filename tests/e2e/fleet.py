"""What the end-to-end tests see and do: the lab's own command, and what a person could look at."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from deploy.lab import faults
from deploy.lab.containers import is_running
from deploy.lab.fleet import FLEET
from deploy.lab.up import is_complete
from deploy.story import witness

TRAEFIK = "traefik.internal.thinkheads.ai"
SEED = "hosts-shadow-authority"
IDENTIFIERS = {
    "lxc101": ["nginx.internal.thinkheads.ai", "portainer.phoenix.thinkheads.ai"],
    "lxc102": [TRAEFIK],
    "lxc104": ["collector.internal.thinkheads.ai"],
}

_Seen = TypeVar("_Seen")


def until(what: str, seconds: float, look: Callable[[], _Seen | None]) -> _Seen:
    """What `look` sees, once it is something; fails after `seconds`."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"within {seconds} s it was not so that {what}"
        time.sleep(pause)  # longer each time: a look costs a process or two, and other labs want the processors, too
        pause = min(1.2 * pause, 0.3)


def restart_agent(node: str) -> None:
    """A new process, that answers."""
    witness.inside(node, "systemctl", "restart", "certagent-agent")
    until("the agent answers", 30, lambda: witness.inside(node, "certagent", "status", check=False).returncode != 1)


def restart_ca() -> None:
    """By its unit as it is now, however often it was started lately. It answers afterwards, by whatever root."""
    for words in (("daemon-reload",), ("reset-failed", "step-ca"), ("restart", "step-ca")):
        witness.inside("lxc103", "systemctl", *words)
    ask = ("curl", "-skf", "https://ca.internal.thinkheads.ai:9000/health")
    until("the CA answers", 30, lambda: witness.inside("lxc103", *ask, check=False).stdout)


def check(node: str, *identifiers: str) -> dict[str, Any]:
    """`certagent check --json` on a node."""
    return witness.certagent(node, "check", *identifiers)[1]


def check_one(node: str, identifier: str) -> dict[str, Any]:
    """The judgement of one identifier."""
    (judgement,) = check(node, identifier)["identifiers"]
    return dict(judgement)


def codes(judgement: dict[str, Any]) -> list[str]:
    """The findings' codes, worst first."""
    return [finding["code"] for finding in judgement["findings"]]


def break_with(name: str) -> None:
    """Put a fault in."""
    witness.lab("fault", name)


def heal(name: str) -> None:
    """Take a fault out."""
    witness.lab("heal", name)


def heal_all() -> None:
    """Take out whatever is in."""
    for name in faults.find_in():
        heal(name)


def bring_up(*, show: bool = True) -> None:
    """The lab, with a collector that holds no news back and sums none up: here the same file is broken again and again
    within the hour, and by its default policy the fourth time would be flapping. `show`: its progress goes to the
    person, else into the error. Raises `witness.Unseen`."""
    witness.lab("up", show=show)
    witness.inside(
        "lxc104",
        "sh",
        "-euc",
        "printf '[collector]\\nflapping_hold = \"0s\"\\nmessages_per_node = 1000\\n' >/etc/certagent/policy.toml;"
        " sed -i '1i policy = \"/etc/certagent/policy.toml\"' /etc/certagent/collector.toml;"
        " systemctl restart certagent-collector",
    )


def is_up() -> bool:
    """Whether the lab runs."""
    return is_complete() and all(is_running(node) for node in FLEET)


def is_green() -> bool:
    """Every certificate served as it lies on disk, nothing spooled, no open incident."""
    certificates = witness.items("/v1/certificates")
    served = [one for one in certificates if one["on_disk"] and _is_served(one)]
    return len(served) == len(certificates) >= 3 and not witness.open_incidents()


def wait_until_green(seconds: float) -> None:
    """Bounded; says what is in the way."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if is_green():
                return
            trouble = json.dumps({"incidents": witness.open_incidents(), "seen": witness.items("/v1/certificates")})
        except witness.Unseen as unseen:
            trouble = str(unseen)
        assert time.monotonic() < deadline, f"the lab is not green after {seconds} s: {trouble}"
        time.sleep(0.2)


def authority_pid() -> str:
    """The CA's process, to show that nobody restarted it."""
    return witness.inside("lxc103", "systemctl", "show", "-p", "MainPID", "--value", "step-ca").stdout.strip()


def held_by_authority(address: str) -> list[str]:
    """The CA's open connections to that box's challenge port."""
    words = ("ss", "-Htnp", "state", "established", "dst", f"{address}:80")
    return [line for line in witness.inside("lxc103", *words).stdout.splitlines() if "step-ca" in line]


def sent_messages(since: int) -> list[dict[str, Any]]:
    """The webhook's messages after the first `since`."""
    return witness.messages()[since:]


def openings(messages: Sequence[dict[str, Any]]) -> list[str]:
    """The titles of those messages that tell of a new incident, or of one that came back."""
    opening = [one["headers"] for one in messages if "rotating_light" in one["headers"]["Tags"]]
    return [headers["Title"] for headers in opening if not headers["Title"].startswith("Still: ")]


def _is_served(certificate: dict[str, Any]) -> bool:
    served = certificate["served"].values()
    return bool(served) and all(one == certificate["on_disk"]["fingerprint"] for one in served)
