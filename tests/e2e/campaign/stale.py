"""Stale connections, in a block of their own: the CA's process lives on, and so do the connections that it holds.

The CA is led astray, asked, and led right again: it then still asks the wrong box, over the connection that it holds
(docs/facts.md: for as long as it is asked again). A fresh look cannot show that; the CA's open connections do.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from deploy.story import witness
from tests.e2e import fleet
from tests.e2e.campaign import judges
from tests.e2e.campaign.cases import NODE_OF, Case
from tests.e2e.campaign.rows import StaleRow

WRONG = {
    "traefik.internal.thinkheads.ai": "10.0.0.153",
    "nginx.internal.thinkheads.ai": "10.0.0.101",
    "portainer.phoenix.thinkheads.ai": "10.0.0.101",
    "collector.internal.thinkheads.ai": "10.0.0.153",
}
"""Another box for each identifier, one that answers on port 80 and keeps connections open (vm1001 is made to)."""
_PLAIN_SERVER = "/etc/nginx/conf.d/plain.conf"
_HOSTS_CACHED_FOR = 5.5  # seconds; Go reads its hosts file again after 5


def cases() -> list[Case]:
    """Each identifier once, held to the wrong box, and once more when the connection is gone."""
    return [
        Case(kind="stale", faults=(moment,), identifiers=(identifier,))
        for identifier in WRONG
        for moment in ("held", "gone")
    ]


def judge(case: Case) -> list[StaleRow]:
    """Astray, asked, right again; `gone`: the CA's process is a new one then, and holds nothing."""
    (identifier,) = case.identifiers
    address, node = WRONG[identifier], NODE_OF[identifier]
    with plain_server():
        with led_astray(identifier, address):
            judges.renew_authority()
            refused = judges.ask_authority_again(node, identifier)
            assert not refused["issued"], refused
            assert address in connections(), "the CA holds no connection to the box that it asked"
        if case.faults == ("gone",):
            judges.renew_authority()
        mended_at = time.monotonic()
        judgement = fleet.until("the rehearsal passes", 20, lambda: _passed(identifier))
        fleet.until("the CA reads its hosts file again", 10, lambda: time.monotonic() > mended_at + _HOSTS_CACHED_FOR)
        again = judges.ask_authority_again(node, identifier)
    named = [one["culprit"]["address"] for one in judgement["findings"] if one["code"] == "http01.stale_connection"]
    return [
        StaleRow(
            case=case.faults[0],
            identifier=identifier,
            address=address,
            named=named == [address],
            used=not again["issued"],
            verdict=judgement["verdict"],
        )
    ]


@contextlib.contextmanager
def led_astray(identifier: str, address: str) -> Iterator[None]:
    """The founding line, for any identifier."""
    line = f"{address} {identifier}"
    witness.inside("lxc103", "sh", "-c", f"echo '{line}' >>/etc/hosts")
    try:
        yield
    finally:
        witness.inside("lxc103", "sed", "-i", f"/^{line}$/d", "/etc/hosts")


@contextlib.contextmanager
def plain_server() -> Iterator[None]:
    """A web server on vm1001's port 80 that redirects. The CA keeps a connection only when it has read the whole
    answer: it does so with a redirect, and closes after an error with a page."""
    server = "server { listen 80; return 301 https://$host$request_uri; }"
    witness.inside("vm1001", "sh", "-c", f"echo '{server}' >{_PLAIN_SERVER} && nginx -q -t && systemctl reload nginx")
    try:
        fleet.until("vm1001 redirects", 10, _redirects)
        yield
    finally:
        witness.inside("vm1001", "sh", "-c", f"rm {_PLAIN_SERVER} && systemctl reload nginx")
        fleet.until("vm1001 redirects no longer", 10, lambda: not _redirects())


def _redirects() -> bool:
    words = ("curl", "-so", "/dev/null", "-w", "%{http_code}", "http://10.0.0.101/")
    return witness.inside("vm1001", *words, check=False).stdout == "301"


def connections() -> str:
    """The CA's open connections to challenge ports."""
    words = ("ss", "-Htnp", "state", "established", "dport", "=", ":80")
    return "\n".join(line for line in witness.inside("lxc103", *words).stdout.splitlines() if "step-ca" in line)


def _passed(identifier: str) -> dict[str, Any] | None:
    judgement = judges.ask_certagent([identifier])[identifier]
    return judgement if judgement.get("rehearsal") and judgement["rehearsal"]["outcome"] == "passed" else None
