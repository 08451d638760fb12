"""Every node's resolver files are watched, also when they go and come back."""

import pytest

from deploy.story import witness
from tests.e2e.fleet import until

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("node", ["lxc101", "lxc102", "lxc103", "lxc104"])
def test_a_resolv_conf_that_goes_and_comes_back(green: None, node: str) -> None:
    """Renamed away: an incident on that node's file, reported although no name leads anywhere; back: resolved."""
    witness.inside(node, "mv", "/etc/resolv.conf", "/etc/resolv.conf.away")
    try:
        until("an incident names the file", 20, lambda: _incident(node))
    finally:
        witness.inside(node, "mv", "/etc/resolv.conf.away", "/etc/resolv.conf")
    until("the incident is resolved", 30, lambda: not _incident(node))


def _incident(node: str) -> bool:
    wanted = ("dns.resolv_conf_broken", node, "/etc/resolv.conf")
    seen = [(one["code"], one["culprit"]["node"], one["culprit"]["file"]) for one in witness.open_incidents()]
    return wanted in seen
