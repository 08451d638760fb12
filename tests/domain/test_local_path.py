"""A path as one node sees it alone: broken only where that is proven."""

import msgspec
import pytest

from certagent.domain.findings import Vantage
from certagent.domain.local_path import LocalObservation, is_broken, trace_locally
from certagent.domain.mermaid import to_mermaid
from certagent.domain.path_trace import HopState
from certagent.domain.rehearsals import (
    Hop,
    Origin,
    Resolution,
)
from tests.evidence import NAME, OTHER, OWN, POLICY, attempts_of, by_dns, by_hosts, dns_says, make_hop, unavailable


def look(
    *hops: Hop, hosts: str | None = None, told: str | None = OWN, vantage: Vantage = Vantage.AUTHORITY
) -> LocalObservation:
    """One look from lxc103: through a hosts line to `hosts`, or by DNS to `told`."""
    used = by_hosts(hosts) if hosts else by_dns(told, None, server=OTHER) if told else None
    resolution = Resolution(
        name=NAME,
        addresses=(used,) if used else (),
        hosts=(used,) if used and hosts else (),
        dns=(dns_says(told, server=OTHER),) if told else (),
        error=None if used else "timeout",
    )
    seen = unavailable(resolution=resolution, attempts=attempts_of(*hops), owners={})
    return LocalObservation(node="lxc103", vantage=vantage, role="authority", addresses=("10.0.0.10",), seen=seen)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (look(make_hop(status=404, server="certagent")), False),
        (look(make_hop(status=404)), False),  # may be the responder, behind a server that gives its own name
        (look(make_hop(status=200)), True),  # nobody who knows tokens says yes to this one
        (look(make_hop(status=403)), True),
        (look(make_hop(status=502)), True),
        (look(make_hop(error="refused")), True),
        (look(make_hop(error="forbidden")), False),
        (look(make_hop(status=301, error="redirect_offsite")), False),
        (look(make_hop(status=301, error="redirect_proxied")), False),
        (look(make_hop(status=301, error="redirect_loop")), True),
        (look(told=None), True),
        (look(make_hop(OTHER, status=404, server="certagent"), hosts=OTHER), True),  # another node's responder
        (look(make_hop(status=404, server="certagent"), hosts=OWN), False),  # a line that agrees with DNS
        (look(make_hop(OTHER, status=404), hosts=OTHER, told=None), False),  # nothing to compare with
        (
            look(make_hop("127.0.0.1", error="forbidden"), hosts="127.0.0.1", told="10.0.0.10"),
            False,
        ),  # the CA's own name
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
    path = trace_locally(look(make_hop(OTHER, status=404, server="nginx"), hosts=OTHER), POLICY)
    assert path.culprit is not None
    assert (path.culprit.node, path.culprit.file, path.culprit.line) == ("lxc103", "/etc/hosts", 9)
    assert (path.culprit.text, path.culprit.address) == (f"{OTHER} {NAME}", OTHER)
    assert [one.culprit for one in path.actual] == [False, True, False, False]
    assert path.intended[2].address == OWN


@pytest.mark.parametrize(("asked", "node"), [(OTHER, None), ("10.0.0.10", "lxc103"), ("127.0.0.53", "lxc103")])
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
    path = trace_locally(look(make_hop(status=404, server="certagent"), vantage=Vantage.CLIENT), POLICY)
    assert (path.actual[0].kind, path.actual[0].node, path.actual[0].state) == ("client", "lxc103", HopState.UNKNOWN)
    assert (path.intended[0].kind, path.intended[0].node) == ("authority", None)
    assert [one.state for one in path.actual[1:]] == [HopState.OK] * 3
