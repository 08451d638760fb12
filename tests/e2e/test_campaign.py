"""The campaign in short: the CA's own verdict against certagent's, on a sample that the seed draws."""

import pytest

from tests.conftest import TIERS
from tests.e2e.campaign import cases, stale, worker
from tests.e2e.campaign.__main__ import arguments_of, plan
from tests.e2e.campaign.rows import Row, StaleRow

pytestmark = pytest.mark.lab


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The cases that the seed of the tiers draws: the one that is printed draws them again."""
    seed = metafunc.config.stash[TIERS].seed
    drawn = plan(arguments_of(["--seed", str(seed), "--singles", "14", "--composed", "6", "--stale", "2"]))
    if "stale_case" in metafunc.fixturenames:
        chosen = [case for case in drawn if case.kind == "stale"]
        metafunc.parametrize("stale_case", chosen, ids=[case.faults[0] for case in chosen])
    else:
        chosen = [case for case in drawn if case.kind != "stale"]
        metafunc.parametrize("case", chosen, ids=[case.name() for case in chosen])


@pytest.mark.timeout(600)
def test_the_verdict_before_the_order_is_the_cas_after_it(case: cases.Case, green: None) -> None:
    """No false block, no false pass, by a fresh process of the real CA; and a block names what was broken."""
    rows = [row for row in worker.judge(case) if isinstance(row, Row)]
    assert rows
    assert [row for row in rows if not row.agreed] == []
    assert [row for row in rows if row.named is False] == []


@pytest.mark.timeout(600)
def test_a_stale_connection_is_named_exactly_where_the_ca_uses_one(stale_case: cases.Case, green: None) -> None:
    """With its address."""
    rows = [row for row in stale.judge(stale_case) if isinstance(row, StaleRow)]
    assert [row.named for row in rows] == [row.used for row in rows]
