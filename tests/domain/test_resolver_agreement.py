"""One name, several sources: what counts as a disagreement, and what must stay silent."""

import msgspec

from certagent.domain.rehearsals import LibcAnswer, Resolution
from certagent.domain.resolver_agreement import disagreements, stray_lines, verdicts
from tests.evidence import by_dns, by_hosts, dns_says

NAME = "traefik.internal.thinkheads.ai"
GATEWAY, TRAEFIK, DNS, PUBLIC = "10.0.0.153", "10.0.0.12", "10.0.0.53", "1.1.1.1"


FROM_DNS = by_dns(TRAEFIK, None, server=DNS)
GOOD = Resolution(
    name=NAME,
    addresses=(FROM_DNS,),
    dns=(dns_says(TRAEFIK, server=DNS, record="A"), dns_says(server=DNS, record="AAAA", status="nxdomain")),
)
LIBC = LibcAnswer(NAME, (TRAEFIK,))


def test_an_aaaa_that_does_not_exist_is_no_disagreement() -> None:
    """Beside a good A: dnsmasq's address= answers so."""
    assert disagreements(GOOD, LIBC, ()) == ()
    assert verdicts(GOOD) == {DNS: ("ok", (TRAEFIK,))}


def test_a_hosts_line_against_dns_is_named_with_both_sides() -> None:
    """Whether it decides or not; then libc and Go may differ, too."""
    shadowed = msgspec.structs.replace(GOOD, hosts=(by_hosts(GATEWAY, 7),), addresses=(by_hosts(GATEWAY, 7),))
    (one,) = disagreements(shadowed, LibcAnswer(NAME, (GATEWAY,)), ())
    assert one.between == ("hosts", "dns")
    assert one.explanation == f"line 7 of /etc/hosts says {GATEWAY}, DNS says {TRAEFIK}"
    overruled = msgspec.structs.replace(GOOD, hosts=(by_hosts(GATEWAY, 7),), order=("dns", "files"))
    (one,) = disagreements(overruled, LIBC, ())
    assert one.explanation.endswith("this line has no effect here")


def test_a_hosts_line_that_agrees_is_silent() -> None:
    """And so is one where DNS says nothing to compare with."""
    agreeing = msgspec.structs.replace(GOOD, hosts=(by_hosts(TRAEFIK, 7),), addresses=(by_hosts(TRAEFIK, 7),))
    assert disagreements(agreeing, LIBC, ()) == ()
    alone = Resolution(
        name=NAME,
        hosts=(by_hosts(GATEWAY, 7),),
        addresses=(by_hosts(GATEWAY, 7),),
        dns=(dns_says(server=DNS, record="A", status="nxdomain"),),
    )
    assert disagreements(alone, LibcAnswer(NAME, (GATEWAY,)), ()) == ()


def test_ones_own_name_may_be_on_loopback_and_nobody_elses() -> None:
    """`127.0.0.1 ca...` on the CA's node is as it should be."""
    own = msgspec.structs.replace(GOOD, hosts=(by_hosts("127.0.0.1", 7),), addresses=(by_hosts("127.0.0.1", 7),))
    assert disagreements(own, LibcAnswer(NAME, ("127.0.0.1",)), (TRAEFIK,)) == ()
    assert stray_lines(own, ("10.0.0.99",)) == (by_hosts("127.0.0.1", 7),)


def test_each_nameserver_that_says_otherwise_is_named() -> None:
    """A public one that knows nothing of the zone, and one that keeps silent."""
    split = msgspec.structs.replace(
        GOOD,
        dns=(
            *GOOD.dns,
            dns_says(server=PUBLIC, record="A", status="nxdomain"),
            dns_says(server="10.0.0.9", record="A", status="timeout"),
        ),
    )
    public, silent = disagreements(split, LIBC, ())
    assert public.between == (DNS, PUBLIC)
    assert public.explanation == f"nameserver {DNS} says {TRAEFIK}, {PUBLIC} says that the name does not exist"
    assert silent.explanation.endswith("10.0.0.9 does not answer")


def test_libc_against_go() -> None:
    """What a ping shows is not what the CA gets."""
    (one,) = disagreements(GOOD, LibcAnswer(NAME, (GATEWAY,)), ())
    assert one.between == ("libc", "go")
    assert GATEWAY in one.explanation
    assert TRAEFIK in one.explanation
    (blind,) = disagreements(GOOD, LibcAnswer(NAME, error="Name or service not known"), ())
    assert "libc gets Name or service not known" in blind.explanation


def test_two_loopback_addresses_are_one() -> None:
    """glibc answers `::1 localhost` with 127.0.0.1 as well."""
    home = Resolution(name="localhost", addresses=(by_hosts("127.0.0.1", 7), by_hosts("::1", 7)))
    assert disagreements(home, LibcAnswer("localhost", ("127.0.0.1",)), ()) == ()
