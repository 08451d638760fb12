"""Go's look-up of TXT records, played without a network."""

from collections.abc import Callable

from certagent.domain.dns01_record import TxtAnswer, TxtLookup
from certagent.domain.resolution.files import parse_files
from certagent.domain.resolution.go import Question
from certagent.domain.resolution.txt_lookup import look_up_txt

NAME = "_acme-challenge.app.internal"


def _play(name: str, resolv_conf: str, answer: Callable[[Question], TxtAnswer]) -> tuple[TxtLookup, list[str]]:
    machine = look_up_txt(name, parse_files(f"10.0.0.9 {name}\n".encode(), resolv_conf.encode(), b"hosts: files\n"))
    asked = []
    try:
        question = next(machine)
        while True:
            assert question.record == "TXT"
            asked.append(f"{question.name} at {question.nameserver}")
            question = machine.send(answer(question))
    except StopIteration as end:
        return end.value, asked


def _says(status: str, records: int = 0, matched: bool = False) -> Callable[[Question], TxtAnswer]:
    return lambda question: TxtAnswer(
        nameserver=question.nameserver, name=question.name, status=status, records=records, matched=matched
    )


def test_hosts_and_nsswitch_have_no_say() -> None:
    """`hosts: files` with the name in the hosts file, and still DNS is asked."""
    lookup, asked = _play(NAME, "nameserver 10.0.0.1\n", _says("ok", 1, matched=True))
    assert asked == [f"{NAME}. at 10.0.0.1"]
    assert (lookup.matched, lookup.error) == (True, None)


def test_records_that_do_not_match_are_final() -> None:
    """The CA compares after the look-up."""
    lookup, asked = _play(NAME, "nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a\n", _says("ok", 1))
    assert len(asked) == 1
    assert (lookup.matched, lookup.error) == (False, None)


def test_no_such_name_goes_on_with_the_search_list_but_not_with_the_next_server() -> None:
    """And what explains the failure is what was said of the plain name."""
    lookup, asked = _play(NAME, "nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a\n", _says("nxdomain"))
    assert asked == [f"{NAME}. at 10.0.0.1", f"{NAME}.a. at 10.0.0.1"]
    assert lookup.error == "nxdomain"
    assert lookup.answers[-1].name == f"{NAME}."
    assert _play(NAME, "nameserver 10.0.0.1\n", _says("ok"))[0].error == "nodata"


def test_trouble_goes_on_with_the_next_server_twice() -> None:
    """Two attempts over all nameservers."""
    lookup, asked = _play(NAME, "nameserver 10.0.0.1\nnameserver 10.0.0.2\n", _says("servfail"))
    assert asked == [f"{NAME}. at 10.0.0.{number}" for number in (1, 2, 1, 2)]
    assert lookup.error == "servfail"


def test_the_search_list_may_answer() -> None:
    """As it may for the CA; many dots before ndots turn the order around."""

    def answer(question: Question) -> TxtAnswer:
        has_it = question.name.endswith(".a.")
        return _says("ok" if has_it else "nxdomain", int(has_it), has_it)(question)

    lookup, asked = _play(NAME, "nameserver 10.0.0.1\nsearch a\noptions ndots:5\n", answer)
    assert asked == [f"{NAME}.a. at 10.0.0.1"]
    assert lookup.matched


def test_a_name_with_a_final_dot_is_not_searched() -> None:
    """--acme-strict-fqdn."""
    assert _play(NAME + ".", "nameserver 10.0.0.1\nsearch a\n", _says("nxdomain"))[1] == [f"{NAME}. at 10.0.0.1"]


def test_what_is_no_name_is_not_asked_for() -> None:
    """Go does not send it."""
    assert _play("_acme-challenge.*.internal", "nameserver 10.0.0.1\n", _says("ok", 1))[1] == []


def test_without_resolv_conf_nobody_is_there() -> None:
    """Go asks loopback then, and nobody answers."""
    assert _play(NAME, "", _says("unreachable"))[0].error == "no_nameserver"
