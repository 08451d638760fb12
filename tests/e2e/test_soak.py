"""Minutes of the soak: the fleet under a random schedule of faults, with its journal as the oracle."""

import pytest

from tests.soak import ground
from tests.soak.__main__ import soak
from tests.soak.judge import judge
from tests.tiers import Tier, Tiers


@pytest.mark.lab
@pytest.mark.timeout(1500)
def test_minutes_of_faults_lose_nothing(green: None, tiers: Tiers) -> None:
    """Nothing but good certificates is served, every fault is reported with its culprit, every report is stored, every
    incident is resolved. The longer forms are `tests/soak/run --minutes N --seed S`."""
    seed = 1 if tiers.tier is Tier.ALL else tiers.seed
    with ground.prepared():
        record = soak(seed, tiers.amount("tests/e2e/test_soak.py"))
    assert judge(record) == [], f"seed {seed}"
