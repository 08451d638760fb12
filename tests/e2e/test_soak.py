"""The soak in short: five minutes of trouble from a seed, certificates of minutes, and nothing is lost."""

import os

import pytest

from tests.soak import ground
from tests.soak.__main__ import soak
from tests.soak.judge import judge

pytestmark = pytest.mark.lab

SEED = int(os.environ.get("CERTAGENT_SEED", "1"))


@pytest.mark.timeout(1_200)
def test_five_minutes_of_trouble_lose_nothing(green: None) -> None:
    """No bad certificate, no fault untold, no report lost; all of it over at the end, and the processes as small."""
    with ground.prepared():
        record = soak(SEED, 300)
    assert judge(record) == [], f"seed {SEED}"
