"""The campaign in short: the CA's own verdict against certagent's, on a sample that the seed draws."""

import os

import pytest

from tests.e2e.campaign import cases, stale, worker
from tests.e2e.campaign.__main__ import SEED, arguments_of, plan
from tests.e2e.campaign.rows import Row, StaleRow

pytestmark = pytest.mark.lab

SAMPLE = plan(
    arguments_of(
        ["--seed", os.environ.get("CERTAGENT_SEED", str(SEED)), "--singles", "14", "--composed", "6", "--stale", "2"]
    )
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", [case for case in SAMPLE if case.kind != "stale"], ids=cases.Case.name)
def test_the_verdict_before_the_order_is_the_cas_after_it(case: cases.Case, green: None) -> None:
    """No false block, no false pass, by a fresh process of the real CA; and a block names what was broken."""
    rows = [row for row in worker.judge(case) if isinstance(row, Row)]
    assert rows
    assert [row for row in rows if not row.agreed] == []
    assert [row for row in rows if row.named is False] == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", [case for case in SAMPLE if case.kind == "stale"], ids=lambda case: case.faults[0])
def test_a_stale_connection_is_named_exactly_where_the_ca_uses_one(case: cases.Case, green: None) -> None:
    """With its address."""
    rows = [row for row in stale.judge(case) if isinstance(row, StaleRow)]
    assert [row.named for row in rows] == [row.used for row in rows]
