"""The machine: what it asks, whom, in which order, and what it makes of the answers."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.domain.rehearsals import DnsAnswer
from certagent.domain.resolution.address_order import in_order_of_trial
from certagent.domain.resolution.file_formats import parse_resolv_conf
from certagent.domain.resolution.files import parse_files
from certagent.domain.resolution.go import Lookup, Question, candidates, look_up

NAME = "traefik.internal.thinkheads.ai"
POISONED = b"10.0.0.153 traefik.internal.thinkheads.ai\n"
ONE = b"nameserver 10.0.0.1\n"
TWO = b"nameserver 10.0.0.1\nnameserver 10.0.0.2\n"


class Net:
    """Nameservers by table: (nameserver, record) -> status or addresses. Remembers the questions."""

    def __init__(self, table: dict[tuple[str, str], str | tuple[str, ...]], default: str = "nxdomain") -> None:
        self.asked: list[Question] = []
        self._table = table
        self._default = default

    def play(self, name: str, hosts: bytes = b"", resolv_conf: bytes = ONE, nsswitch: bytes | None = None) -> Lookup:
        """Run the machine to its end."""
        machine = look_up(name, parse_files(hosts, resolv_conf, nsswitch))
        try:
            questions = next(machine)
            while True:
                self.asked += questions
                questions = machine.send(tuple(map(self._answer, questions)))
        except StopIteration as end:
            result: Lookup = end.value
        return result

    def _answer(self, question: Question) -> DnsAnswer:
        said = self._table.get((question.nameserver, question.record), self._default)
        status, addresses = ("ok", said) if isinstance(said, tuple) else (said, ())
        return DnsAnswer(
            nameserver=question.nameserver,
            name=question.name,
            record=question.record,
            status=status,
            addresses=addresses,
        )


GOOD: dict[tuple[str, str], str | tuple[str, ...]] = {("10.0.0.1", "A"): ("10.0.0.12",)}


def test_a_poisoned_hosts_file_decides_and_nobody_is_asked() -> None:
    """The founding failure: DNS would be right."""
    net = Net(GOOD)
    lookup = net.play(NAME, hosts=POISONED)
    assert [found.address for found in lookup.addresses] == ["10.0.0.153"]
    assert lookup.addresses[0].origin.line == 1
    assert net.asked == []


def test_with_dns_first_the_poisoned_line_does_not_matter() -> None:
    """`dns files`."""
    lookup = Net(GOOD).play(NAME, hosts=POISONED, nsswitch=b"hosts: dns files\n")
    assert [found.address for found in lookup.addresses] == ["10.0.0.12"]
    assert lookup.addresses[0].origin.nameserver == "10.0.0.1"


def test_with_dns_first_the_line_decides_when_dns_has_nothing() -> None:
    """`dns files`, and the record is gone."""
    lookup = Net({}).play(NAME, hosts=POISONED, nsswitch=b"hosts: dns files\n")
    assert [found.address for found in lookup.addresses] == ["10.0.0.153"]


def test_nxdomain_of_the_aaaa_does_not_spoil_a_good_a() -> None:
    """dnsmasq's address= answers so."""
    lookup = Net(GOOD).play(NAME)
    assert lookup.error is None
    assert len(lookup.addresses) == 1


def test_a_and_aaaa_are_asked_at_once() -> None:
    """Two questions in the first round."""
    machine = look_up(NAME, parse_files(b"", ONE, None))
    assert [(one.record, one.name) for one in next(machine)] == [("A", NAME + "."), ("AAAA", NAME + ".")]


@pytest.mark.parametrize("trouble", ["timeout", "servfail", "refused", "unreachable", "lame", "malformed", "formerr"])
def test_trouble_passes_on_to_the_next_nameserver(trouble: str) -> None:
    """Whatever is not yes or no."""
    net = Net({("10.0.0.1", "A"): trouble, ("10.0.0.1", "AAAA"): trouble, ("10.0.0.2", "A"): ("10.0.0.12",)})
    lookup = net.play(NAME, resolv_conf=TWO)
    assert lookup.addresses[0].origin.nameserver == "10.0.0.2"


def test_nxdomain_is_final_even_if_the_next_nameserver_knows_better() -> None:
    """A public nameserver in front of the internal one."""
    net = Net({("10.0.0.2", "A"): ("10.0.0.12",)})
    assert net.play(NAME, resolv_conf=TWO).error == "nxdomain"
    assert {one.nameserver for one in net.asked} == {"10.0.0.1"}


@pytest.mark.parametrize(
    ("a", "aaaa", "error"),
    [
        ("nxdomain", "nxdomain", "nxdomain"),
        ((), (), "nodata"),
        ((), "nxdomain", "nodata"),
        ("servfail", "nxdomain", "servfail"),
        ("nxdomain", "refused", "refused"),
        ("timeout", "timeout", "timeout"),
    ],
)
def test_the_error_names_what_helps_most(a: str | tuple[str, ...], aaaa: str | tuple[str, ...], error: str) -> None:
    """Trouble before absence."""
    assert Net({("10.0.0.1", "A"): a, ("10.0.0.1", "AAAA"): aaaa}).play(NAME).error == error


def test_nobody_configured_and_nobody_there() -> None:
    """Go asks its own machine; that there is no nameserver is the real news."""
    net = Net({}, default="unreachable")
    assert net.play(NAME, resolv_conf=b"").error == "no_nameserver"
    assert {one.nameserver for one in net.asked} == {"127.0.0.1", "::1"}


def test_the_ca_s_own_patience_ends_before_its_resolver_s() -> None:
    """Three silent nameservers, two attempts of 5 s each: the HTTP client gives up after 30 s."""
    conf = b"nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch a b c d\n"
    lookup = Net({}, default="timeout").play(NAME, resolv_conf=conf)
    assert lookup.error == "timeout"
    assert lookup.waited_for == timedelta(seconds=30)


def test_sixteen_million_attempts_end() -> None:
    """A number in resolv.conf does not hang us up."""
    net = Net({}, default="refused")
    assert net.play(NAME, resolv_conf=ONE + b"options attempts:16000000\n").error == "refused"
    assert len(net.asked) < 200


def test_rotate_begins_each_question_at_the_next_nameserver() -> None:
    """One after the other, so that it can be seen."""
    net = Net({})
    net.play("a.b", resolv_conf=TWO + b"options rotate single-request\n")
    assert [one.nameserver for one in net.asked] == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize("name", ["", "-x.example", "a..b", "k\u212a.example", "123", "x" * 64, "a." * 127 + "ab"])
def test_what_is_no_domain_name_is_never_asked(name: str) -> None:
    """Go says "no such host" at once."""
    net = Net(GOOD)
    assert net.play(name).error == "nxdomain"
    assert net.asked == []


def test_an_address_needs_no_look_up() -> None:
    """It is its own answer."""
    assert Net({}).play("10.0.0.12").addresses[0].origin.source == "literal"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("app", ("app.a.test.", "app.b.test.", "app.")),
        ("app.c", ("app.c.", "app.c.a.test.", "app.c.b.test.")),
        ("app.c.", ("app.c.",)),
        ("x.onion", ("x.onion.a.test.", "x.onion.b.test.")),
    ],
)
def test_search_and_ndots(name: str, expected: tuple[str, ...]) -> None:
    """The plain name first when it has enough dots."""
    assert candidates(name, parse_resolv_conf(b"search a.test b.test\n")) == expected


def test_the_default_search_list_is_the_host_s_own_domain() -> None:
    """Where the file names none."""
    assert candidates("app", parse_resolv_conf(b""), "node.lan.test") == ("app.lan.test.", "app.")


SOURCES = {
    "10.0.0.12": "10.0.0.10",
    "10.0.0.13": "10.0.0.10",
    "2001:db8::1": "2001:db8::10",
    "fd00::1": "fd00::10",
    "2001:db8::dead": None,
}


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (("10.0.0.13", "10.0.0.12"), ("10.0.0.13", "10.0.0.12")),
        (("10.0.0.12", "2001:db8::1"), ("2001:db8::1", "10.0.0.12")),
        (("10.0.0.12", "fd00::1"), ("10.0.0.12", "fd00::1")),
        (("2001:db8::dead", "10.0.0.12"), ("10.0.0.12", "2001:db8::dead")),
    ],
)
def test_addresses_are_tried_by_rfc_6724(addresses: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """IPv4 keeps its order; global IPv6 comes before it, a private one behind; no route comes last."""
    assert in_order_of_trial(addresses, SOURCES) == expected


@given(st.lists(st.sampled_from(sorted(SOURCES)), max_size=6))
def test_sorting_loses_nothing(addresses: list[str]) -> None:
    """The same addresses, duplicates too."""
    assert sorted(in_order_of_trial(tuple(addresses), SOURCES)) == sorted(addresses)
