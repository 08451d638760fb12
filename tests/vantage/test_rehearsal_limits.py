"""Rule 9: the rehearsal is not a proxy."""

import hashlib

import pytest

from certagent.domain.rehearsals import RehearsalRequest, digest_for
from certagent.vantage.proxy import proxy_for
from certagent.vantage.rehearsal_limits import (
    RehearsalLimits,
    is_on_the_network,
    is_this_node_or_on_the_network,
)

RULES = RehearsalLimits(allow=("*.internal.thinkheads.ai", "exact.example"))
DIGEST = digest_for("t" * 32)
KEY_AUTHORIZATION = hashlib.sha256(b"t" * 32 + b"." + b"h" * 43).hexdigest()
"""Of `token.thumbprint`: who could ask for it would learn where a challenge is answered, for anybody's account."""


@pytest.mark.parametrize("name", ["a.internal.thinkheads.ai", "A.b.Internal.thinkheads.ai.", "exact.example"])
def test_names_on_the_allow_list(name: str) -> None:
    """A star is one or more labels."""
    assert RULES.allows(name)


@pytest.mark.parametrize(
    "name",
    ["internal.thinkheads.ai", "xinternal.thinkheads.ai", "a.internal.thinkheads.ai.evil", ".internal.thinkheads.ai",
     "a..internal.thinkheads.ai", "x.exact.example", "10.0.0.12", "", "a.internal.thinkheads.ai\n"],
)  # fmt: skip
def test_names_off_the_allow_list(name: str) -> None:
    """Everything else, the look-alikes first."""
    assert not RULES.allows(name)


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (RehearsalRequest(identifier="evil.example", token="t" * 32, digest=DIGEST), "allow-list"),
        (RehearsalRequest(identifier="exact.example", token="../../etc/passwd", digest=DIGEST), "token"),
        (RehearsalRequest(identifier="exact.example", token="t" * 32 + "?x", digest=DIGEST), "token"),
        (RehearsalRequest(identifier="exact.example", token="t", digest=DIGEST), "token"),
        (RehearsalRequest(identifier="exact.example", token="t" * 32, digest="x"), "digest"),
        (RehearsalRequest(identifier="exact.example", token="t" * 32, digest=KEY_AUTHORIZATION), "digest"),
        (RehearsalRequest(identifier="exact.example", token="u" * 32, digest=DIGEST), "digest"),
        (RehearsalRequest(identifier="exact.example", token="t" * 32, digest=DIGEST, challenge="dns-02"), "dns-02"),
    ],
)
def test_requests_that_are_refused(request_: RehearsalRequest, word: str) -> None:
    """With a reason that names what is wrong."""
    assert word in (RULES.objection(request_) or "")


def test_a_request_in_order() -> None:
    """No objection."""
    assert RULES.objection(RehearsalRequest(identifier="exact.example", token="t" * 32, digest=DIGEST)) is None


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::",  # noqa: S104
     "::ffff:127.0.0.1", "169.254.1.1", "fe80::1", "fe80::1%eth0",
     "224.0.0.1", "ff02::1", "255.255.255.255", "nonsense"],
)  # fmt: skip
def test_addresses_that_nobody_may_be_sent_to(address: str) -> None:
    """This node, its link, groups; however they are written."""
    assert not is_on_the_network(address)


@pytest.mark.parametrize("address", ["10.0.0.12", "192.168.1.1", "2001:db8::1", "fd00::1", "::ffff:10.0.0.1"])
def test_addresses_of_a_fleet(address: str) -> None:
    """Private ones are the rule here."""
    assert is_on_the_network(address)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://user:secret@proxy.example:3128/x"}, "http://proxy.example:3128"),
        ({"http_proxy": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:1"}, None),
        ({"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "*"}, None),
        ({"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "x.example, internal.thinkheads.ai"}, None),
        ({"HTTP_PROXY": "http://proxy:1", "no_proxy": ".internal.thinkheads.ai"}, None),
        ({"HTTP_PROXY": "http://proxy:1", "no_proxy": "*.internal.thinkheads.ai"}, None),
        ({"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "a.internal.thinkheads.ai:80"}, None),
        ({"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "a.internal.thinkheads.ai:443"}, "http://proxy:1"),
        ({"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "10.0.0.0/8,nternal.thinkheads.ai"}, "http://proxy:1"),
        ({"HTTP_PROXY": "http://[::bad"}, "(a proxy that is not a URL)"),
    ],
)
def test_the_proxy_is_go_s_and_has_no_credentials(environment: dict[str, str], expected: str | None) -> None:
    """HTTP_PROXY and NO_PROXY as golang.org/x/net/http/httpproxy reads them."""
    assert proxy_for(environment, "a.internal.thinkheads.ai") == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HTTP_PROXY": "http://proxy:1"}, None),
        ({"HTTPS_PROXY": "http://user:secret@proxy:1"}, "http://proxy:1"),
        ({"https_proxy": "proxy:1"}, "http://proxy:1"),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "internal.thinkheads.ai"}, None),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "a.internal.thinkheads.ai:80"}, "http://proxy:1"),
    ],
)
def test_https_has_a_proxy_of_its_own(environment: dict[str, str], expected: str | None) -> None:
    """What is left out of the one is left out of the other."""
    assert proxy_for(environment, "a.internal.thinkheads.ai", 443, "https") == expected


def test_an_agent_beside_the_ca_may_meet_itself() -> None:
    """For its own names alone; not the network's special addresses."""
    assert all(is_this_node_or_on_the_network(address) for address in ("127.0.1.1", "::1", "10.0.0.12"))
    special = ("169.254.169.254", "fe80::1", "224.0.0.1", "255.255.255.255", "nonsense")
    assert not any(is_this_node_or_on_the_network(address) for address in special)
