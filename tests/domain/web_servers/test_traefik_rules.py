"""Traefik's rules: what takes a challenge, what does not, and what nobody can know from the rule alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.domain.web_servers.traefik_rules import takes

NAME = "app.lan.test"


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("PathPrefix(`/.well-known/acme-challenge/`)", True),
        ("PathPrefix(`/`)", True),
        ("PathPrefix(`/api`)", False),
        ("Host(`app.lan.test`)", True),
        ("Host(`App.lan.test.`)", True),
        ("Host(`other.lan.test`, `app.lan.test`)", True),
        ('Host("other.lan.test")', False),
        ("Host(`app.lan.test`) && PathPrefix(`/api`)", False),
        ("Host(`other`) || PathPrefix(`/`)", True),
        ("!Host(`app.lan.test`)", False),
        ("!(Host(`a`) || Host(`b`)) && Method(`GET`)", True),
        ("HostRegexp(`^.+[.]lan[.]test$`)", True),
        ("PathRegexp(`^/[.]`)", True),
        ("ClientIP(`10.0.0.0/8`)", None),
        ("ClientIP(`10.0.0.0/8`) && Host(`other`)", False),
        ("Header(`X-A`, `b`) || PathPrefix(`/`)", True),
        ("HostRegexp(`(`)", None),
        ("", None),
        ("Host(`a`) &&", None),
        ("what is this", None),
    ],
)
def test_a_rule_takes_a_challenge(rule: str, verdict: bool | None) -> None:
    """True and false where the rule alone decides; None where it does not, or is none."""
    assert takes(rule, NAME) is verdict


@given(st.text(alphabet="Host()`PathPrefix/!&| abc.\"',", max_size=80))
def test_no_rule_raises(rule: str) -> None:
    """Whatever stands there is judged, or not known."""
    assert takes(rule, NAME) in (True, False, None)
