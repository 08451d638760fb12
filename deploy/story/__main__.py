"""The story, step by step. Exit status 0 only if every step was seen."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from deploy.story import witness
from deploy.story.witness import Unseen

TRAEFIK, GATEWAY = "10.0.0.12", "10.0.0.153"
NAME = "traefik.internal.thinkheads.ai"
SITE = "https://portainer.phoenix.thinkheads.ai/"
SEED = "hosts-shadow-authority"
CERTIFICATES = {"traefik", "gateway", "collector"}

_Seen = TypeVar("_Seen")


def main() -> int:
    """Tell the story; take the lab down at its end with --once, or when it is interrupted."""
    parser = argparse.ArgumentParser(prog="deploy/quickstart", description="The founding failure, on real parts.")
    parser.add_argument("--once", action="store_true", help="end by itself, and take the lab down")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        tell()
        if not arguments.once:
            stay()
    except Unseen as unseen:
        say(f"NOT SEEN: {unseen}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        witness.lab("down", check=False, show=True)
    return 0


def tell() -> None:
    """Every step, in order; raises `Unseen` at the first that was not seen."""
    begun = time.monotonic()
    title("A fleet of six containers")
    witness.lab("up", show=True)
    before = healthy()
    orders = witness.orders()
    broken()
    withheld(orders)
    healed(before)
    title(f"All of it was seen, in {time.monotonic() - begun:.0f} s")


def healthy() -> str:
    """Certificates are issued, deployed, proven, and used. Returns Traefik's fingerprint."""
    title("Certificates served and proven")
    for one in until("all certificates are served as they lie on disk", 90, _all_served):
        say(
            f"{one['name']} on {one['node']}: {one['on_disk']['fingerprint'][:16]}… until {one['on_disk']['not_after']}"
        )
    fingerprint = witness.served(TRAEFIK, NAME)
    say(f"a handshake from the client with {TRAEFIK} shows {fingerprint[:16]}…")
    status = until("the client's request succeeds", 20, lambda: witness.request(SITE) == 200 and 200)
    say(f"the client's request for {SITE} goes gateway, Traefik, application: {status}")
    nothing_open = until("no incident is open", 30, lambda: not witness.open_incidents())
    say("the collector has no open incident" if nothing_open else "")
    return fingerprint


def broken() -> None:
    """The seed's line is written; the incident names it, and a person is told. Between the two, only reading."""
    title("One line, in one container's hosts file")
    told_before = len(witness.messages())
    witness.lab("fault", SEED)
    say(f"lxc103, /etc/hosts, where the CA runs: {GATEWAY} {NAME}")
    incident = until("an incident names the line", 20, _names_the_line)
    culprit = incident["culprit"]
    after = datetime.fromisoformat(incident["opened_at"]) - witness.changed_at("lxc103", "/etc/hosts")
    say(f"{after.total_seconds():.2f} s after the write the collector opened an incident: {incident['code']}")
    say(f"culprit   {culprit['node']}:{culprit['file']}, line {culprit['line']}: {culprit['text']}")
    say(f"address   {culprit['address']}, role {culprit['role']}")
    say(f"victims   {', '.join(one['identifier'] + ' on ' + one['node'] for one in incident['victims'])}")
    message = until("the webhook fired", 20, lambda: witness.messages()[told_before:])[0]
    say(f"webhook   {message['headers'].get('Title', '')}")
    for line in message["body"].splitlines():
        say(f"          {line}")


def withheld(orders: int) -> None:
    """A renewal is asked for, and none reaches the CA."""
    title("A renewal withheld before any order")
    status, document = witness.certagent("lxc102", "renew", "traefik", "--force")
    outcome = document["certificates"][0]["outcome"]
    _must(status == 4 and outcome == "blocked", f"`certagent renew traefik --force` was {outcome}, exit {status}")
    _must(witness.orders() == orders, "the CA was asked for an order all the same")
    first = document["certificates"][0]["findings"][0]
    say(f"`certagent renew traefik --force` on lxc102: {outcome}, exit status {status}; the CA's log has no new order")
    say(f"because   {first['explanation']}")


def healed(before: str) -> None:
    """The line goes; the incident resolves by itself, the renewal succeeds, another certificate is served."""
    title("The line is removed")
    witness.lab("heal", SEED)
    until("the incident resolves by itself", 60, lambda: not witness.open_incidents())
    resolved_at = max(datetime.fromisoformat(one["resolved_at"]) for one in witness.items("/v1/incidents"))
    lasted = resolved_at - witness.changed_at("lxc103", "/etc/hosts")
    say(f"{lasted.total_seconds():.2f} s after the write the incident is resolved, by itself")
    status, document = witness.certagent("lxc102", "renew", "traefik", "--force")
    _must(status in (0, 3), f"the renewal failed, exit {status}: {document}")
    after = witness.served(TRAEFIK, NAME)
    _must(after != before, "the served certificate is still the old one")
    say(f"renewed; {TRAEFIK} served {before[:16]}…, and now serves {after[:16]}…")


def stay() -> None:
    """Leave the lab and the page to the person, until Ctrl-C."""
    title("The collector's page")
    say(f"{witness.page()}/  (Ctrl-C takes the lab down)")
    signal.pause()


def until(what: str, seconds: float, look: Callable[[], _Seen | bool | None]) -> Any:
    """What `look` sees once it is something; raises `Unseen` after `seconds`. Looks ten times a second."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise Unseen(f"within {seconds:.0f} s it was not so that {what}")
        threading.Event().wait(0.1)


def title(text: str) -> None:
    """A heading."""
    print(f"\n=== {text}", flush=True)


def say(text: str) -> None:
    """One line of the story."""
    print(f"    {text}", flush=True)


def _all_served() -> list[dict[str, Any]]:
    found = [one for one in witness.items("/v1/certificates") if one["on_disk"] and _is_served(one)]
    return found if {one["name"] for one in found} >= CERTIFICATES else []


def _is_served(certificate: dict[str, Any]) -> bool:
    served = certificate["served"].values()
    return bool(served) and all(one == certificate["on_disk"]["fingerprint"] for one in served)


def _names_the_line() -> dict[str, Any] | None:
    for incident in witness.open_incidents():
        culprit = incident["culprit"]
        named = (culprit["node"], culprit["file"], culprit["address"]) == ("lxc103", "/etc/hosts", GATEWAY)
        if named and NAME in (culprit["text"] or "") and culprit["role"] == "gateway" and incident["victims"]:
            return incident
    return None


def _must(seen: bool, otherwise: str) -> None:
    if not seen:
        raise Unseen(otherwise)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


sys.exit(main())
