"""The lab, bare: the fleet without certagent, for tests of the fleet."""

from collections.abc import Iterator

import pytest

from tests.lab.machine import lab


@pytest.fixture(scope="module")
def bare() -> Iterator[None]:
    """The fleet up, without certagent in it; gone afterwards."""
    lab("down")
    lab("up", "--bare")
    yield
    lab("down")


@pytest.fixture
def nothing() -> Iterator[None]:
    """No lab, before and after."""
    lab("down")
    yield
    lab("down")
