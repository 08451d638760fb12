"""Faults of every layer, judged: what certagent says is what the fault's file expects, and others stay green."""

import time
from typing import Any

import msgspec
import pytest

from deploy.lab import faults
from deploy.story import witness
from tests.e2e import fleet

pytestmark = pytest.mark.lab

FAULTS = (
    "hosts-shadow-authority",
    "hosts-conflict",
    "nsswitch-dns-first",
    "resolv-dead-only",
    "dns-record-gateway",
    "route-dropped",
    "reach-leaving-dropped",
    "reach-prohibited",
    "path-forbidden",
    "challenge-redirected",
    "challenge-router-gone",
    "gateway-catchall",
    "nginx-deny",
    "traefik-wrong-entrypoint",
    "ca-policy-denies",
    "ca-port-override",
    "dns-hosts-override",
    "dns-rebind",
    "dns-tcp-blocked",
    "hosts-edit-unseen",
    "port-owner",
    "ca-circular",
    "ca-clock-skew",
    "ca-name-elsewhere",
)
"""Of each layer some; all of them are judged by the campaign."""
_MOMENT = 10.0  # seconds
AS_LONG_AS_THE_CA = 20.0
"""Seconds that no check may take: waiting as the CA does would cost thirty."""

_NODE_OF = {identifier: node for node, identifiers in fleet.IDENTIFIERS.items() for identifier in identifiers}


def _checked(expected: faults.Fault) -> tuple[dict[str, Any], float]:
    """The judgement, and how long it took. What agents find in files of their own nodes comes with their watch, which
    may have to wait for what is just being restarted: the fleet is given a moment to have said it."""
    identifier, deadline = expected.identifiers[0], time.monotonic() + _MOMENT
    while True:
        began = time.monotonic()
        judgement = fleet.check_one(_NODE_OF[identifier], identifier)
        took = time.monotonic() - began
        found = fleet.codes(judgement)
        is_said = set(expected.expected) <= set(found) and found[:1] == list(expected.expected[:1])
        if is_said or time.monotonic() > deadline:
            return judgement, took


@pytest.mark.parametrize("fault", FAULTS, indirect=True)
def test_check_says_what_the_fault_is(fault: str) -> None:
    """Verdict, first code, culprit, nothing forbidden, nobody else accused."""
    expected = faults.load(fault)
    judgement, took = _checked(expected)
    found = fleet.codes(judgement)
    assert judgement["verdict"] == expected.verdict, judgement
    assert set(expected.expected) <= set(found)
    assert not set(expected.forbidden) & set(found)
    if expected.verdict == "block":
        assert found[0] == expected.expected[0]
        assert expected.culprit is not None
        culprit = judgement["findings"][0]["culprit"]
        wanted = msgspec.to_builtins(expected.culprit)
        assert {key: culprit[key] for key in wanted if key != "text"} == {
            key: value for key, value in wanted.items() if key != "text"
        }
    elif expected.verdict == "proceed":
        assert {finding["severity"] for finding in judgement["findings"]} <= {"info"}
    assert took < AS_LONG_AS_THE_CA
    for node in expected.green:
        if node in fleet.IDENTIFIERS:
            assert witness.certagent(node, "check")[0] == 0
