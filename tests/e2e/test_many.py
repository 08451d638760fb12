"""Many certificates on one real nginx, from the real CA: a hundred due at once, and two hundred that live five minutes.
nginx is reloaded once a second at most for all of them."""

import json

import pytest

from deploy.story import witness
from tests.e2e.many.gateway import reloads, sh, wait_until_proven, with_many
from tests.e2e.many.watch import watch
from tests.tiers import Tiers

pytestmark = pytest.mark.lab

AT_ONCE = 100
SHORT_LIVED = 200
LONGEST_MINUTES = 10


def _are_all_served() -> bool:
    certificates = witness.certagent("lxc101", "status")[1]["certificates"]
    return len(certificates) == AT_ONCE + 1 and all(
        one["on_disk"] and set(one["served"].values()) == {one["on_disk"]["fingerprint"]} for one in certificates
    )


def test_a_hundred_at_once_are_proven_with_a_reload_a_second(green: None) -> None:
    """Nothing fails on the way; the reloads are told by systemd itself."""
    with with_many(AT_ONCE):
        before = len(reloads())
        sh("systemctl restart certagent-agent")
        wait_until_proven(AT_ONCE, 180)
        assert _are_all_served()
        seen = reloads()[before:]
        print(f"{len(seen)} reloads within {seen[-1] - seen[0]:.1f} s for {AT_ONCE} certificates")
        assert len(seen) <= seen[-1] - seen[0] + 2
        journal = sh("journalctl -u certagent-agent -o cat --no-pager --since -5min")
        assert " renewal of n1 (timer): done" in journal or " renewal of n1 (timer): found" in journal
        assert "(timer): failed" not in journal


@pytest.mark.timeout(LONGEST_MINUTES * 60 + 600)
def test_two_hundred_live_five_minutes_each(green: None, tiers: Tiers) -> None:
    """By the wall clock."""
    print(json.dumps(live(tiers.amount("tests/e2e/test_many.py"))))


def live(minutes: float) -> dict[str, float]:
    """None expires, none is renewed twice, each handshake shows the newest, memory is flat, one reload a second or
    fewer. The figures."""
    with with_many(SHORT_LIVED, 'lifetime = "5m"'):
        sh("systemctl restart certagent-agent")
        wait_until_proven(SHORT_LIVED, 180)
        figures = watch(SHORT_LIVED, minutes)
    assert figures.wrong == []
    assert len(figures.issued) == SHORT_LIVED
    assert min(map(len, figures.issued.values())) >= int(minutes / 3.2)  # due within 180 s of being issued
    assert figures.soonest_again() > 120
    assert figures.growth() < 0.05
    assert figures.most_reloads(10) <= 11
    return figures.summary()
