"""A path as one node sees it alone: broken only where that is proven."""

from datetime import UTC, datetime

import msgspec
import pytest

from certagent.config import load_policy
from certagent.domain.findings import Vantage
from certagent.domain.local_path import LocalObservation, is_broken, trace_locally
from certagent.domain.mermaid import to_mermaid
from certagent.domain.path_trace import HopState
from certagent.domain.rehearsals import (
    Attempt,
    DnsAnswer,
    Hop,
    Origin,
    Rehearsal,
    RehearsalOutcome,
    Resolution,
    ResolvedAddress,
)

NAME = "traefik.internal.thinkheads.ai"
GATEWAY, TRAEFIK = "10.0.0.153", "10.0.0.12"
POLICY = load_policy(None)


def look(
    *hops: Hop, hosts: str | None = None, told: str | None = TRAEFIK, vantage: Vantage = Vantage.AUTHORITY
) -> LocalObservation:
    """One look from lxc103: through a hosts line to `hosts`, or by DNS to `told`."""
    origin = (
        Origin(source="hosts", file="/etc/hosts", line=9, text=f"{hosts} {NAME}")
        if hosts
        else Origin(source="dns", nameserver=GATEWAY)
    )
    used = hosts or told
    seen = Rehearsal(
        identifier=NAME,
        outcome=RehearsalOutcome.UNAVAILABLE,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        node="lxc103",
        resolution=Resolution(
            name=NAME,
            addresses=(ResolvedAddress(address=used, origin=origin),) if used else (),
            hosts=(ResolvedAddress(address=hosts, origin=origin),) if hosts else (),
            dns=(DnsAnswer(nameserver=GATEWAY, name=NAME, record="A", status="ok", addresses=(told,)),) if told else (),
            error=None if used else "timeout",
        ),
        attempts=(Attempt(hops=hops),) if hops else (),
    )
    return LocalObservation(node="lxc103", vantage=vantage, role="authority", addresses=("10.0.0.10",), seen=seen)


def hop(address: str = TRAEFIK, **seen: object) -> Hop:
    """One fetch."""
    return Hop(url=f"http://{NAME}/", name=NAME, address=address, **seen)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (look(hop(status=404, server="certagent")), False),
        (look(hop(status=404)), False),  # may be the responder, behind a server that gives its own name
        (look(hop(status=200)), True),  # nobody who knows tokens says yes to this one
        (look(hop(status=403)), True),
        (look(hop(status=502)), True),
        (look(hop(error="refused")), True),
        (look(hop(error="forbidden")), False),
        (look(hop(status=301, error="redirect_offsite")), False),
        (look(hop(status=301, error="redirect_proxied")), False),
        (look(hop(status=301, error="redirect_loop")), True),
        (look(told=None), True),
        (look(hop(GATEWAY, status=404, server="certagent"), hosts=GATEWAY), True),  # another node's responder
        (look(hop(status=404, server="certagent"), hosts=TRAEFIK), False),  # a line that agrees with DNS
        (look(hop(GATEWAY, status=404), hosts=GATEWAY, told=None), False),  # nothing to compare with
        (look(hop("127.0.0.1", error="forbidden"), hosts="127.0.0.1", told="10.0.0.10"), False),  # the CA's own name
    ],
)
def test_what_is_proven_without_a_token(seen: LocalObservation, expected: bool) -> None:
    """A 404 from who may be the responder proves nothing; an answer that no responder gives does."""
    assert is_broken(seen) is expected
    path = trace_locally(seen, POLICY)
    assert path.broken is expected
    assert any(one.state is HopState.BROKEN for one in path.actual) is expected
    assert to_mermaid(path).startswith("flowchart LR")


def test_the_founding_line_is_the_culprit() -> None:
    """Node, file, line, text, address; the intended way is DNS's."""
    path = trace_locally(look(hop(GATEWAY, status=404, server="nginx"), hosts=GATEWAY), POLICY)
    assert path.culprit is not None
    assert (path.culprit.node, path.culprit.file, path.culprit.line) == ("lxc103", "/etc/hosts", 9)
    assert (path.culprit.text, path.culprit.address) == (f"{GATEWAY} {NAME}", GATEWAY)
    assert [one.culprit for one in path.actual] == [False, True, False, False]
    assert path.intended[2].address == TRAEFIK


@pytest.mark.parametrize(("asked", "node"), [(GATEWAY, None), ("10.0.0.10", "lxc103"), ("127.0.0.53", "lxc103")])
def test_a_nameserver_of_nobodys_is_not_blamed_on_who_asked(asked: str, node: str | None) -> None:
    """Its address is known here, and its node is not; one on loopback is this node's own."""
    alone = look(told=None)
    assert alone.seen.resolution is not None
    resolution = msgspec.structs.replace(
        alone.seen.resolution, nameservers=(Origin(source="resolv.conf", nameserver=asked),)
    )
    seen = msgspec.structs.replace(alone.seen, resolution=resolution)
    path = trace_locally(msgspec.structs.replace(alone, seen=seen), POLICY)
    assert path.culprit is not None
    assert (path.culprit.node, path.culprit.address) == (node, asked)


def test_a_client_does_not_speak_for_the_ca() -> None:
    """It is this node that asks, and how the CA gets there is not known."""
    path = trace_locally(look(hop(status=404, server="certagent"), vantage=Vantage.CLIENT), POLICY)
    assert (path.actual[0].kind, path.actual[0].node, path.actual[0].state) == ("client", "lxc103", HopState.UNKNOWN)
    assert (path.intended[0].kind, path.intended[0].node) == ("authority", None)
    assert [one.state for one in path.actual[1:]] == [HopState.OK] * 3
