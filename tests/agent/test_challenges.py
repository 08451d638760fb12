"""Whoever answers the challenges of an identifier: what is asked beside the CA is the challenge of its certificate."""

import pytest

from certagent.agent.preflight import Preflight
from certagent.agent.rehearsal import unavailable
from certagent.config import load_policy
from certagent.domain.observations import WebServerObservation
from certagent.domain.rehearsals import Rehearsal, RehearsalRequest
from tests.clock import FakeClock

CHALLENGES = {"a.test": "http-01", "b.test": "tls-alpn-01", "c.test": "dns-01", "*.d.test": "dns-01"}


class _NothingHere:
    """Implements `PreflightObserver`: nothing to say."""

    async def look_here(self, _: str) -> None:
        return None

    async def look_at_gateways(self, _: str) -> tuple[WebServerObservation, ...]:
        return ()


class _Authority:
    """Who is asked beside the CA."""

    def __init__(self) -> None:
        self.asked: list[RehearsalRequest] = []

    async def __call__(self, request: RehearsalRequest) -> Rehearsal:
        self.asked.append(request)
        return unavailable(request, FakeClock().now(), "nothing was planted")


async def _nothing(*_: str) -> tuple[()]:
    return ()


def _preflight(authority: _Authority | None) -> Preflight:
    return Preflight(
        "lxc102",
        lambda: (),
        responders={},
        challenges=CHALLENGES,
        ask=authority,
        check_directory=_nothing,
        find_faults=_nothing,
        looking=_NothingHere(),
        impact_on=lambda _: None,
        policy=load_policy(None),
        clock=FakeClock(),
    )


@pytest.mark.parametrize(("identifier", "challenge"), CHALLENGES.items())
async def test_what_somebody_else_renews_is_asked_by_its_own_challenge(identifier: str, challenge: str) -> None:
    """`manage = false`: never by port 80 where the certificate is not proven there."""
    authority = _Authority()
    (judgement,) = await _preflight(authority).judge([identifier])
    (request,) = authority.asked
    assert (request.identifier, request.challenge, request.planted) == (identifier, challenge, False)
    assert judgement.rehearsal is not None
    assert judgement.rehearsal.challenge == challenge


async def test_a_rehearsal_that_nobody_can_be_asked_for_is_of_that_challenge() -> None:
    """Without a collector."""
    rehearsal = await _preflight(None).rehearse("c.test")
    assert (rehearsal.challenge, rehearsal.outcome) == ("dns-01", "unavailable")
