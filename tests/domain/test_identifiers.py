"""Identifiers: what a certificate can be for, and why not."""

import pytest

from certagent.domain.identifiers import flaw_of, is_wildcard

LONG = "x" * 64


@pytest.mark.parametrize(
    "identifier",
    [
        *("wiki.home.test", "WIKI.home.test", "10.0.0.5", "fd00::5", "xn--mll-hoa.home.test", "*.home.test", "nas"),
        *("1.home.test", "a--b.home.test", f"{'x' * 63}.home.test", "3com.com", "*.lan"),
    ],
)
def test_what_a_certificate_can_be_for(identifier: str) -> None:
    """Names of one label are a private CA's business."""
    assert flaw_of(identifier) is None


@pytest.mark.parametrize(
    ("identifier", "flaw"),
    [
        ("", "is empty"),
        ("https://wiki.home.test", "is a URL; only its host name belongs here"),
        ("//wiki.home.test", "is a URL; only its host name belongs here"),
        ("wiki.home.test:8443", "contains a port, or is not an IP address"),
        ("[fd00::5]", "contains a port, or is not an IP address"),
        ("fd00::5:::1", "contains a port, or is not an IP address"),
        ("fe80::1%eth0", "is an address with a zone"),
        ("wiki home.test", "contains a space or an invisible character"),
        ("wiki.home.test ", "contains a space or an invisible character"),
        ("wiki\u200b.home.test", "contains a space or an invisible character"),
        ("wiki.home.test\n", "contains a space or an invisible character"),
        ("wiki.{{ env", "is a template that was not filled in"),
        ("{{ inventory_hostname }}", "is a template that was not filled in"),
        ("${HOST}.home.test", "is a template that was not filled in"),
        ("<%= @fqdn %>", "is a template that was not filled in"),
        ("$HOST.home.test", "has a label with characters other than letters, digits and dashes: '$HOST'"),
        ("wiki.home.test,a.home.test", "has a label with characters other than letters, digits and dashes: 'test,a'"),
        ("a..home.test", "has an empty label (a dot too many)"),
        (".home.test", "has an empty label (a dot too many)"),
        ("home.test.", "ends with a dot"),
        ("*.", "ends with a dot"),
        ("*", "has a wildcard elsewhere than as its whole first label"),
        ("wiki.*.home.test", "has a wildcard elsewhere than as its whole first label"),
        ("*.*.home.test", "has a wildcard elsewhere than as its whole first label"),
        ("w*.home.test", "has a wildcard elsewhere than as its whole first label"),
        ("-x.home.test", "has a label that begins or ends with a dash: '-x'"),
        ("x-.home.test", "has a label that begins or ends with a dash: 'x-'"),
        ("a_b.home.test", "has an underscore, which host names must not have: 'a_b'"),
        ("wiki.home.test/", "contains a slash; only a host name belongs here"),
        ("10.0.0.5/24", "is a network, not one address"),
        ("10.0.0.500", "is neither a name nor an IP address"),
        ("*.10.0.0.5", "is neither a name nor an IP address"),
        ("me@home.test", "is an e-mail address, not a host name"),
        ("müll.home.test", "is not ASCII; write it as 'xn--mll-hoa.home.test'"),
        (f"{LONG}.home.test", "has a label longer than 63 characters"),
        (".".join(["x" * 60] * 5), "is longer than 253 characters"),
    ],
)
def test_what_no_certificate_can_be_for(identifier: str, flaw: str) -> None:
    """Each with what is wrong with it."""
    assert flaw_of(identifier) == flaw


def test_a_wildcard_is_one_by_its_first_label() -> None:
    """Only that one."""
    assert [is_wildcard(name) for name in ("*.home.test", "home.test", "a.*.test")] == [True, False, False]
