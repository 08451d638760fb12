"""The real agent, killed at every request, answer, fsync, rename, removal, program and handshake of a renewal, beside
the real nginx and the real Traefik, against the real CA.

The points are those of a renewal that just went through; each is one renewal more that is killed there, a start that
ends proven by itself, and a renewal that ends well.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.story import witness
from tests.e2e.fleet import TRAEFIK, until
from tests.e2e.killing.victim import Killed, Victim
from tests.tiers import Tier, Tiers

pytestmark = pytest.mark.lab

GATEWAY = Victim("lxc101", "gateway", "10.0.0.153", "nginx.internal.thinkheads.ai", "/etc/nginx/ssl")
PROXY = Victim("lxc102", "traefik", "10.0.0.12", TRAEFIK, "/etc/traefik/certagent")
VICTIMS = (GATEWAY, PROXY)
FEWEST = 40
"""Points of each. Fewer are met only if they are not seen any more."""
REMOVED = 6
"""Of the points of each: an old pair's two files below the state and two at the target, the order and the journal."""
TRIES = 3


def _die_at(victim: Victim, point: str) -> tuple[Killed, int, str]:
    """The killed run; the newest generation and what was served before it. Some points only the first renewal after a
    start comes to; others happen to be missed once, and that renewal ends well."""
    for _ in range(TRIES):
        newest, before = victim.newest(), victim.served()
        if (run := victim.die_at(point)) is not None:
            return run, newest, before
        assert victim.newest() == newest + 1, point
        victim.restart()
    pytest.fail(f"no renewal came to {point}")


def _killed_and_recovered(victim: Victim, point: str) -> Killed:
    """Served before, in between and after; nothing lost, nothing too much."""
    run, newest, before = _die_at(victim, point)
    in_between = victim.served()  # a handshake that verifies, whatever is on disk
    recovered = victim.renew(force=False)
    assert recovered["outcome"] == "not_due", (point, recovered)
    after = victim.served()
    assert len({before, in_between, after}) <= 2, point
    assert victim.orphans() == [], point
    renewed = victim.renew(force=True)
    assert renewed["outcome"] == "done", f"{point}: {renewed}"
    assert victim.served() == renewed["fingerprint"] not in (before, after), point
    assert (victim.orphans(), victim.has_order()) == ([], False), point
    assert victim.newest() - newest in (1, 2), point  # of two runs: the one that was killed may have come so far
    return run


def _killed_everywhere(victim: Victim, tiers: Tiers) -> dict[str, Killed]:
    """Point -> the run that was killed there; at those points that the tier chooses."""
    with victim.prepared():
        seen = victim.points()
        assert len(seen) >= FEWEST, seen
        assert sum(point.startswith("remove ") for point in seen) == REMOVED, seen
        points = tiers.sample(victim.certificate, seen, int(tiers.amount("tests/e2e/test_killed.py")))
        finalized, newest = victim.finalized(), victim.newest()
        killed = {point: _killed_and_recovered(victim, point) for point in points}
        assert victim.finalized() - finalized == victim.newest() - newest  # what was issued is there, and only once
    assert len(killed) == len(points)
    return killed


def _outcomes(victim: Victim, runs: set[str]) -> dict[str, str]:
    """Of those runs, as the collector has them."""
    until("all is reported", 30, lambda: witness.certagent(victim.node.name, "status")[1]["reports_waiting"] == 0)
    reports = [one for one in witness.items("/v1/reports") if one["id"] in runs]
    assert len(reports) == len(runs)
    return {one["id"]: one["outcome"] for one in reports}


@pytest.mark.timeout(600)
def test_killed_at_every_point_of_a_renewal(green: None, tiers: Tiers) -> None:
    """A valid pair is always served, no key is left over, nothing is finalized twice, each run has one report."""
    with ThreadPoolExecutor() as pool:
        by_victim = list(pool.map(_killed_everywhere, VICTIMS, [tiers] * len(VICTIMS)))
    for victim, killed in zip(VICTIMS, by_victim, strict=True):
        runs = {point: run for point, run in killed.items() if run.id}
        outcomes = _outcomes(victim, {run.id for run in runs.values()})
        print(f"{victim.certificate}: killed at {len(killed)} points; {Counter(outcomes.values())}")
        if tiers.tier is Tier.ALL:  # a sample may miss one of them
            assert {run.is_reported for run in runs.values()} == {True, False}
        for point, run in runs.items():  # what has its report is over, whatever follows
            assert outcomes[run.id] == ("done" if run.is_reported else "interrupted"), point
