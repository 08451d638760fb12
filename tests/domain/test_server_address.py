"""Addresses with and without a port."""

import pytest

from certagent.domain.server_address import split_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.104", ("10.0.0.104", None)),
        ("10.0.0.104:8843", ("10.0.0.104", 8843)),
        ("fd00::4", ("fd00::4", None)),
        ("fd00::4:8843", ("fd00::4:8843", None)),
        ("[fd00::4]:8843", ("fd00::4", 8843)),
        ("fe80::1%eth0", ("fe80::1%eth0", None)),
        ("[fe80::1%eth0]:8843", ("fe80::1%eth0", 8843)),
    ],
)
def test_an_address_with_or_without_a_port(text: str, expected: tuple[str, int | None]) -> None:
    """An IPv6 address with a port is in brackets."""
    assert split_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "collector.internal",
        "collector.internal:8843",
        "10.0.0.104:",
        "10.0.0.104:0",
        "10.0.0.104:65536",
        "10.0.0.104:+1",
        "10.0.0.104:٣",
        "10.0.0.300:1",
        "[10.0.0.104]:8843",
        "[fd00::4]",
        "[]:1",
        "fd00::4::1:8843",
        "https://10.0.0.104:8843",
        "10.0.0.104:8843/",
    ],
)
def test_whatever_else_is_said_to_be_none(text: str) -> None:
    """In one sentence."""
    with pytest.raises(ValueError, match="is neither an IP address nor address:port") as caught:
        split_address(text)
    assert str(caught.value) == f"{text!r} is neither an IP address nor address:port"
