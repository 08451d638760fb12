"""Five minutes of the soak: the fleet under a random schedule of faults, with its journal as the oracle."""

import pytest

from tests.soak import ground
from tests.soak.__main__ import soak
from tests.soak.judge import judge

SEED = 1


@pytest.mark.lab
@pytest.mark.timeout(1500)
def test_five_minutes_of_faults_lose_nothing(green: None) -> None:
    """Nothing but good certificates is served, every fault is reported with its culprit, every report is stored, every
    incident is resolved. The longer forms are `tests/soak/run --minutes N --seed S`."""
    with ground.prepared():
        record = soak(SEED, 300.0)
    assert judge(record) == [], f"seed {SEED}"
