"""Traefik's rules: what takes a challenge, what does not, and what nobody can know from the rule alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.domain.web_servers.traefik_rules import V2, V3, is_legal, names_in, replace, search, takes

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


@pytest.mark.parametrize(
    ("rule", "syntax", "verdict"),
    [
        ("Host(`*.lan.test`)", V3, True),
        ("Host(`*.test`)", V3, False),
        ("Host(`*.lan.test`)", V2, False),
        ("Host(`**.test`)", V3, None),  # not every version knows it
        ("Host(`**.other`)", V3, False),
        ("HostRegexp(`{sub:[a-z]+}.lan.test`)", V2, True),
        ("HostRegexp(`{sub}.test`)", V2, False),
        ("HostRegexp(`LAN`)", V3, False),
        ("HostRegexp(`(?i)LAN`)", V3, True),
        ("Path(`/.well-known/{any}/token`)", V2, True),
        ("PathPrefix(`/.well-known/{any:[a-z]+}`)", V2, True),
        ("Host(`a`, `app.lan.test`)", V2, True),
        ("Host(`a`, `app.lan.test`)", V3, None),
        ("Host('app.lan.test')", V3, None),
        ("HOST(`app.lan.test`) && host(`APP.lan.test`) // both", V3, True),
        ("hOST(`app.lan.test`)", V3, None),
        ("Path(`token`)", V3, None),
        ("Query(`a`)", V3, False),
        ("Header(`X-Mine`, `a`)", V3, False),
        ("Header(`User-Agent`, `a`)", V3, None),
        ("!Header(`X-Mine`, `a`) && Method(`get`)", V3, True),
    ],
)
def test_a_rule_of_a_syntax(rule: str, syntax: str, verdict: bool | None) -> None:
    """Version 3's matchers are not version 2's; as a real Traefik has them."""
    assert takes(rule, NAME, syntax) is verdict
    assert is_legal(rule, syntax) or verdict is None


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("(Host(`a.test`) || Host(`b.test`)) && !Host(`never.test`)", ("a.test", "b.test")),
        ("!(!Host(`a.test`) || Host(`b.test`))", ("a.test",)),
        ("Host(`a.test`, `b.test`) || HostHeader(`c.test`)", ("a.test", "b.test", "c.test")),
        ("HostRegexp(`a.test`) && PathPrefix(`/`)", ()),
        ("Host(`a.test`", ()),
        ("HostSNI(`a.test`)", ()),
    ],
)
def test_the_names_of_a_rule(rule: str, names: tuple[str, ...]) -> None:
    """Those that it takes; none that it excludes."""
    assert names_in(rule) == names


def test_patterns_are_gos() -> None:
    """By RE2, in linear time; what Go does not know is no pattern."""
    assert search("(a+)+$", "a" * 5000 + "b") is False
    assert search(r"\Aapp\.\pL+", NAME) is True
    assert search("(?=a)", "a") is None
    assert replace("^http://(.*)", "https://${1}", "http://a") == "https://a"
    assert replace("a", "$9", "a") is None


@given(st.text(alphabet="Host()`PathPrefix/!&| abc.\"',", max_size=80))
def test_no_rule_raises(rule: str) -> None:
    """Whatever stands there is judged, or not known."""
    assert takes(rule, NAME) in (True, False, None)
