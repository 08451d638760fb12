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
SCRIPT = "lxc103.sh"
"""Sets up the CA's container; in the checkout that the lab makes of deploy/lab/provisioning."""
CULPRIT_LINE = "$GATEWAY traefik.$ZONE"
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
    incident = broken()
    withheld(orders)
    line = traced(incident["id"])
    healed(before, incident["id"], line)
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
    until("no incident is open", 30, lambda: not witness.open_incidents(), _incidents_told)
    say("the collector has no open incident")
    return fingerprint


def broken() -> dict[str, Any]:
    """The set-up script writes the line; the incident names it, and a person is told. Between the two, only reading.
    Returns the incident."""
    title("One line, in one container's hosts file")
    told_before = len(witness.messages())
    say(f"the CA's container is set up by {witness.provision('lxc103')}")
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
    return dict(incident)


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


def traced(incident: str) -> dict[str, Any]:
    """The line of the provisioning code is named: by the incident, its page, a message and `certagent fix`."""
    title("The script that wrote the line")
    line = until("the incident names the script's line", 15, lambda: _written_by(incident))
    place = f"{line['file']}:{line['line']} (commit {line['commit'][:12]}, {line['committed_at'][:10]})"
    say(f"written by {place}: the next run writes it again")
    _must(
        f"Written by {place[:-1].partition(', ')[0]}" in witness.text(f"/incidents/{incident}"),
        "the page does not say so",
    )
    message = until(
        "a message names the script", 20, lambda: [one for one in witness.messages() if SCRIPT in one["body"]]
    )
    say(f"webhook   {message[0]['headers'].get('Title', '')}")
    _, document = witness.certagent("lxc103", "fix", incident)
    notes = [note for note in document["notes"] if note.startswith(f"written by {place}")]
    _must(bool(notes), f"`certagent fix` does not name {place}: {document['notes']}")
    say(f"`certagent fix` on lxc103: {notes[0]}")
    return dict(line)


def healed(before: str, incident: str, line: dict[str, Any]) -> None:
    """The script is mended and run again; the incidents resolve by themselves, the renewal succeeds, another
    certificate is served, and one more run of the script brings nothing back."""
    title("The line is removed from the script, and the script is run again")
    witness.mend(line["file"], line["line"], CULPRIT_LINE)
    say(f"the CA's container is set up by {witness.provision('lxc103')}")
    resolved = until("the incident resolves by itself", 60, lambda: _resolved(incident))
    lasted = datetime.fromisoformat(resolved["resolved_at"]) - witness.changed_at("lxc103", "/etc/hosts")
    say(f"{lasted.total_seconds():.2f} s after the write the incident is resolved, by itself")
    status, document = witness.certagent("lxc102", "renew", "traefik", "--force")
    _must(status in (0, 3), f"the renewal failed, exit {status}: {document}")
    after = witness.served(TRAEFIK, NAME)
    _must(after != before, "the served certificate is still the old one")
    say(f"renewed; {TRAEFIK} served {before[:16]}…, and now serves {after[:16]}…")
    until("the script's own incident resolves as well", 15, lambda: not witness.open_incidents())
    witness.provision("lxc103")
    hosts = witness.inside("lxc103", "cat", "/etc/hosts").stdout
    _must(NAME not in hosts and not witness.open_incidents(), "the script's next run wrote the line again")
    say("the script ran once more: the line does not come back, and no incident is open")


def stay() -> None:
    """Leave the lab and the page to the person, until Ctrl-C."""
    title("The collector's page")
    say(f"{witness.page()}/  (Ctrl-C takes the lab down)")
    signal.pause()


def until(
    what: str, seconds: float, look: Callable[[], _Seen | bool | None], explain: Callable[[], str] = lambda: ""
) -> Any:
    """What `look` sees once it is something; raises `Unseen` after `seconds`, with what `explain` says. Looks ten times
    a second."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise Unseen(f"within {seconds:.0f} s it was not so that {what}{explain()}")
        threading.Event().wait(0.1)


def title(text: str) -> None:
    """A heading."""
    print(f"\n=== {text}", flush=True)


def say(text: str) -> None:
    """One line of the story."""
    print(f"    {text}", flush=True)


def _incidents_told() -> str:
    return "".join(f"\n    {one['code']}: {one['explanation']}" for one in witness.open_incidents())


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


def _written_by(incident: str) -> dict[str, Any] | None:
    lines: list[dict[str, Any]] = witness.collector(f"/v1/incidents/{incident}")["written_by"]
    return next((line for line in lines if line["file"] == SCRIPT), None)


def _resolved(incident: str) -> dict[str, Any] | None:
    found: dict[str, Any] = witness.collector(f"/v1/incidents/{incident}")
    return found if found["state"] == "resolved" else None


def _must(seen: bool, otherwise: str) -> None:
    if not seen:
        raise Unseen(otherwise)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


sys.exit(main())
