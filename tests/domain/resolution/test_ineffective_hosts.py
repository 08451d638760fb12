"""Hosts lines that look right and do nothing: each kind by its name, and silence for what works."""

import pytest

from certagent.domain.resolution.file_formats import HostsProblem, parse_hosts, show
from certagent.domain.resolution.ineffective_hosts import (
    Ineffective,
    ineffective_name,
    name_that_ends_early,
    why_no_address,
)


def _wrong(line: str) -> Ineffective | None:
    content = line.encode()
    hosts = parse_hosts(content + b"\n")
    if hosts.unread:
        assert hosts.unread[0].problem is HostsProblem.NO_ADDRESS
        return why_no_address(content)
    (entry,) = hosts.entries
    return ineffective_name(entry) or name_that_ends_early(content)


@pytest.mark.parametrize(
    ("line", "problem", "word"),
    [
        ("10.0.0.5 https://nas.home.test/", "scheme", "https://nas.home.test/"),
        ("10.0.0.5 nas.home.test:443", "port", "nas.home.test:443"),
        ("10.0.0.5 nas.home.test/admin", "path", "nas.home.test/admin"),
        ("10.0.0.5 *.home.test", "wildcard", "*.home.test"),
        ("10.0.0.5 good.home.test, nas.home.test", "comma", "good.home.test,"),
        ("10.0.0.5 a.home.test,b.home.test", "comma", "a.home.test,b.home.test"),
        ("10.0.0.5 nas.home.test;", "punctuation", "nas.home.test;"),
        ("10.0.0.5 nas.home.test:", "punctuation", "nas.home.test:"),
        ('10.0.0.5 "nas.home.test"', "quotes", '"nas.home.test"'),
        ("10.0.0.5 nas.home.test\u200b", "invisible", "nas.home.test<U+200B>"),
        ("10.0.0.5 \u200enas.home.test", "invisible", "<U+200E>nas.home.test"),
        ("10.0.0.5 n\u00adas.home.test", "invisible", "n<U+00AD>as.home.test"),
        ("10.0.0.5 n\u0430s.home.test", "not_ascii", "n<U+0430>s.home.test"),
        ("10.0.0.5 b\u00fccher.home.test", "not_ascii", "b<U+00FC>cher.home.test"),
        ("10.0.0.5 nas\u3002home.test", "not_ascii", "nas<U+3002>home.test"),
        ("10.0.0.5 nas..home.test", "not_a_name", "nas..home.test"),
        ("10.0.0.5 .home.test", "not_a_name", ".home.test"),
        ("10.0.0.5 {{ item.name }}", "not_a_name", "{{"),
        ("10.0.0.5 admin@nas.home.test", "not_a_name", "admin@nas.home.test"),
        ("10.0.0.5 10.0.0.6 nas.home.test", "second_address", "10.0.0.6"),
        ("10.0.0.5 fd00::5 nas.home.test", "second_address", "fd00::5"),
        ("10.0.0.5 nas#2.home.test", "ends_early", "nas"),
        ("10.0.0.5/255.255.255.0 nas.home.test", "mask", "10.0.0.5/255.255.255.0"),
        ("fd00::5/64 nas.home.test", "mask", "fd00::5/64"),
        ("[fd00::5]:443 nas.home.test", "brackets", "[fd00::5]:443"),
        ("10.000.0.5 nas.home.test", "leading_zero", "10.000.0.5"),
        ("10.0.5 nas.home.test", "out_of_range", "10.0.5"),
        ("10.0.0.5.6 nas.home.test", "out_of_range", "10.0.0.5.6"),
        ("http://10.0.0.5 nas.home.test", "address_url", "http://10.0.0.5"),
        ("10.0.0.5:8080 nas.home.test", "address_port", "10.0.0.5:8080"),
        ("'10.0.0.5' nas.home.test", "address_quotes", "'10.0.0.5'"),
        ("10.0.0.5, nas.home.test", "address_punctuation", "10.0.0.5,"),
        ("10.0.0.5= nas.home.test", "address_punctuation", "10.0.0.5="),
        ("\uff11\uff10.0.0.5 nas.home.test", "address_not_ascii", "<U+FF11><U+FF10>.0.0.5"),
        ("\u200b10.0.0.5 nas.home.test", "invisible", "<U+200B>10.0.0.5"),
        ("10.0.0.5\u3000nas.home.test", "invisible", "10.0.0.5<U+3000>nas.home.test"),
        ("nas.home.test 10.0.0.5", "name_first", "nas.home.test"),
        ("nas.home.test = 10.0.0.5", "name_first", "nas.home.test"),
        ("; 10.0.0.5 nas.home.test", "comment_mark", ";"),
        ("//10.0.0.5 nas.home.test", "comment_mark", "//10.0.0.5"),
        ("nas.home.test", "no_address", "nas.home.test"),
        ("fd00:::5 nas.home.test", "no_address", "fd00:::5"),
    ],
)
def test_what_is_wrong_is_told_and_can_be_seen(line: str, problem: str, word: str) -> None:
    """The first thing that is wrong, with the word."""
    assert _wrong(line) == Ineffective(HostsProblem(problem), word)


@pytest.mark.parametrize(
    "line",
    [
        "10.0.0.5 NAS.Home.Test",
        "10.0.0.5 under_score.home.test _dmarc.home.test -x.home.test",
        "10.0.0.5 nas.home.test.",
        "10.0.0.5 nas.home.test#a comment",
        "10.0.0.5 nas.home.test#see.the.wiki",
        "10.0.0.5 nas #2.home.test",
        "10.0.0.5\tnas 1234 xn--bcher-kva.home.test\r",
        "0.0.0.0 0.0.0.0",
        "127.0.0.1 127.0.0.1",
        "fe80::1%eth0 router",
        "::ffff:10.0.0.5 nas",
        "10.0.0.5 nas.home.test # https://wiki, *.home.test:80",
    ],
)
def test_what_works_is_silent(line: str) -> None:
    """Capitals, underscores, a final dot, comments, what block lists have."""
    assert _wrong(line) is None


def test_what_cannot_be_seen_is_shown_by_its_number() -> None:
    assert show("10.0.0.5\u00a0nas\u200b b\u00fccher".encode()) == "10.0.0.5<U+00A0>nas<U+200B> b\u00fccher"
    assert show(b"a\x00\tb\xff") == "a\\x00\tb\\xff"
