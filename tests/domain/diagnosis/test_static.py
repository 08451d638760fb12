"""What files prove by themselves: each code where it is due, and silence where all is well."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.config.policy_files import load_policy
from certagent.domain.diagnosis.static import (
    MOST_OF_A_KIND,
    TABLE,
    StaticObservation,
    conclude_statically,
    conclude_while_watching,
)
from certagent.domain.findings import Finding, Severity, Vantage
from certagent.domain.observations import Misconfiguration, Place
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.resolution.files import NSSWITCH_FILE, parse_files
from certagent.domain.resolution.managed_files import Surroundings, find_managers

POLICY = load_policy(None)
HOSTS = b"""127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
# --- BEGIN PVE ---
10.0.0.10 lxc103.internal.test lxc103
# --- END PVE ---
127.0.0.1 ca.internal.test
127.0.1.1 lxc103.elsewhere.test lxc103
"""
RESOLV_CONF = b"# --- BEGIN PVE ---\nsearch internal.test\nnameserver 10.0.0.153\n# --- END PVE ---\n"
NSSWITCH = b"passwd: files\nhosts: files dns\n"
TRAEFIK = "traefik.internal.test"
MEGABYTE = 1_000_000


def look(
    hosts: bytes = HOSTS,
    resolv_conf: bytes | None = RESOLV_CONF,
    nsswitch: bytes | None = NSSWITCH,
    surroundings: Surroundings | None = None,
    **more: Any,
) -> StaticObservation:
    """The CA's node with those files."""
    around = surroundings or Surroundings()
    looked = StaticObservation(
        node="lxc103",
        files=parse_files(hosts, resolv_conf, nsswitch, "lxc103", around),
        contents={HOSTS_FILE: hosts, RESOLV_CONF_FILE: resolv_conf, NSSWITCH_FILE: nsswitch},
        managers={HOSTS_FILE: find_managers(hosts, around), RESOLV_CONF_FILE: find_managers(resolv_conf or b"")},
        zones=("Internal.test",),
        own_names=("ca.internal.test",),
        own_addresses=("10.0.0.10",),
    )
    return msgspec.structs.replace(looked, **more)


def found(looked: StaticObservation) -> list[tuple[str, int | None]]:
    """(code, line) of everything that is concluded."""
    return [(one.code, one.culprit.line if one.culprit else None) for one in conclude_statically(looked)]


def only(looked: StaticObservation) -> Finding:
    """The one finding, graded."""
    (finding,) = conclude_statically(looked)
    return POLICY.grade(finding)


def added(*lines: str) -> bytes:
    """The healthy hosts file with lines 8 and on."""
    return HOSTS + "".join(f"{line}\n" for line in lines).encode()


def test_a_healthy_node_has_nothing_to_say() -> None:
    """The CA's own name and the node's on loopback, localhost twice, a section of Proxmox's as it writes it."""
    assert found(look()) == []
    assert conclude_while_watching(look()) == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"10.0.0.153 {TRAEFIK} # old", f"10.0.0.12 {TRAEFIK} # new"], [("dns.hosts_conflict", 9)]),
        ([f"10.0.0.12 {TRAEFIK}", f"10.0.0.12\t{TRAEFIK.upper()}. t"], [("dns.hosts_duplicate", 9)]),
        ([f"10.0.0.12 {TRAEFIK}", f"fd00::12 {TRAEFIK}"], []),  # one of each kind
        ([f"10.0.0.12 {TRAEFIK} {TRAEFIK}"], []),  # twice on one line is once
        ([f"10.0.0.12 {TRAEFIK}", f"fd00::1 {TRAEFIK}", f"fd00::2 {TRAEFIK}"], [("dns.hosts_conflict", 10)]),
        ([f"127.0.1.1 {TRAEFIK} traefik"], [("dns.loopback", 8)]),
        ([f"0.0.0.0 {TRAEFIK}"], [("dns.loopback", 8)]),
        ([f"::1 {TRAEFIK}"], [("dns.loopback", 8)]),
        (["127.0.0.1 advert.example"], []),  # no name of the fleet's
        (["127.0.0.1 localhost", "::1 localhost"], []),
        (["10.0.0.10 own.internal.test", "127.0.0.1 own.internal.test"], []),  # leads to this node in both cases
        (["traefik 10.0.0.12"], [("dns.hosts_ignored", 8)]),
        (["10.0.0.12"], [("dns.hosts_ignored", 8)]),
        (["010.0.0.12 octal.internal.test"], [("dns.hosts_ignored", 8)]),
        (["10.0.0.12 " + "a" * 70_000], [("dns.hosts_ignored", 8)]),
        ([f"# 10.0.0.153 {TRAEFIK}"], []),
        ([f"fe80::1%eth0 {TRAEFIK}"], []),
    ],
)
def test_lines_of_a_hosts_file(lines: Sequence[str], expected: list[tuple[str, int]]) -> None:
    """Conflicts by kind of address, loopback for names that are another's, lines without effect."""
    assert found(look(added(*lines))) == expected


def test_a_byte_order_mark_is_seen() -> None:
    """The first line then means nothing."""
    assert found(look(b"\xef\xbb\xbf10.0.0.12 traefik.internal.test\r\n")) == [("dns.hosts_ignored", 1)]


def test_a_conflict_names_every_line_with_who_manages_it() -> None:
    """Evidence, culprit, fix; static, and an error."""
    finding = only(
        look(HOSTS.replace(b"# --- END", b"10.0.0.10 gw.internal.test\n# --- END") + b"10.0.0.9 x\n10.0.0.8 X")
    )
    assert (finding.severity, finding.vantage, finding.identifier) == (Severity.ERROR, Vantage.STATIC, "x")
    assert [(one["line"], one["address"], one["managed_by"]) for one in finding.detail["lines"]] == [
        (9, "10.0.0.9", None),
        (10, "10.0.0.8", None),
    ]
    assert finding.culprit is not None
    assert (finding.culprit.node, finding.culprit.file, finding.culprit.text) == ("lxc103", HOSTS_FILE, "10.0.0.8 X")
    assert finding.fix == "Keep one of lines 9 and 10 for x, or none."


@pytest.mark.parametrize(
    ("resolv_conf", "expected"),
    [
        (None, [("dns.resolv_conf_broken", None)]),
        (b"", [("dns.resolv_conf_broken", None)]),
        (b"nameserver dns.internal.test\n", [("dns.resolv_conf_broken", None), ("dns.resolv_conf_ignored", 1)]),
        (b"nameserver 1.1.1.1\n", [("dns.resolver_public", 1)]),
        (b"nameserver 10.0.0.153\nnameserver 2606:4700:4700::1111\n", [("dns.resolver_public", 2)]),
        (b"nameserver 100.100.100.100\n", []),  # a VPN's own
        (b"nameserver 10.0.0.1 # mine\n", []),
        (b"nameserver 10.0.0.1 10.0.0.2\n", [("dns.resolv_conf_ignored", 1)]),
        (
            b"nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 1.1.1.1\n",
            [("dns.resolv_conf_ignored", 4)],  # never asked, so it does not matter that it is public
        ),
        (b"nameserver 10.0.0.1\nsearch a.test\ndomain b.test\n", [("dns.resolv_conf_ignored", 2)]),
        (b"nameserver 10.0.0.1\nsearch\n", [("dns.resolv_conf_ignored", 2)]),
        (b"nameserver 10.0.0.1\nsearch a.test # home\n", [("dns.resolv_conf_ignored", 2)]),
        (b"nameserver 10.0.0.1\nsearch a..test\n", [("dns.resolv_conf_ignored", 2)]),
        (b"nameserver 10.0.0.1\ndomain a.test b.test\n", [("dns.resolv_conf_ignored", 2)]),
        (b"nameserver 10.0.0.1\noptions edns0 trust-ad rotate timeout:2 attempts:3 ndots:2\n", []),
        (b"nameserver 10.0.0.1\noptions ndots:16 ndots: timeout:0\n", [("dns.resolv_conf_ignored", 2)] * 3),
        (b"nameserver 10.0.0.1\noptions ndots=2\n", [("dns.resolv_conf_ignored", 2)]),
        (b"nameserver 10.0.0.1\noptions no-aaaa\n", [("dns.resolv_conf_differs", 2)]),
        (b"nameserver 10.0.0.1\nsortlist 10.0.0.0/8\n", [("dns.resolv_conf_differs", 2)]),
        (b"  nameserver 10.0.0.1\n  # indented\n; a comment\n", [("dns.resolv_conf_differs", 1)]),
        (b"nameservers 10.0.0.1\nnameserver 10.0.0.1\r\n", [("dns.resolv_conf_ignored", 1)]),
        (b"nameserver 10.0.0.1\n#" + b"x" * 70_000, [("dns.resolv_conf_ignored", 2)]),
    ],
)
def test_lines_of_a_resolv_conf(resolv_conf: bytes | None, expected: list[tuple[str, int]]) -> None:
    """Who is asked, what has no effect, and what only libc knows."""
    assert found(look(resolv_conf=resolv_conf)) == expected


def test_a_resolv_conf_that_go_never_reads_again_is_warned_of() -> None:
    """`no-reload` is an option that Go has, too: after an edit the CA has to be restarted."""
    finding = only(look(resolv_conf=b"nameserver 10.0.0.1\noptions no-reload\n"))
    assert (finding.code, finding.severity) == ("dns.resolv_conf_ignored", Severity.WARN)
    assert "until the CA is restarted" in finding.explanation


def test_a_public_nameserver_is_nothing_where_no_zone_is_known() -> None:
    """A machine without zones of its own may ask whom it likes. In files alone it is a warning: nobody was asked."""
    public = b"nameserver 9.9.9.9\n"
    assert found(look(resolv_conf=public, zones=())) == []
    assert only(look(resolv_conf=public)).severity is Severity.WARN


def test_a_dangling_link_is_told_with_where_it_leads() -> None:
    """The culprit is the file that was looked at."""
    finding = only(look(resolv_conf=None, links={RESOLV_CONF_FILE: "../run/systemd/resolve/stub-resolv.conf"}))
    assert "is a link to ../run/systemd/resolve/stub-resolv.conf" in finding.explanation
    finding = only(look(resolv_conf=None, shown={RESOLV_CONF_FILE: "/tmp/proposed"}))  # noqa: S108
    assert finding.culprit is not None
    assert finding.culprit.file == "/tmp/proposed"  # noqa: S108


@pytest.mark.parametrize(
    ("nsswitch", "expected"),
    [
        (None, []),
        (b"passwd: files\n", []),
        (b"hosts: files\n", [("dns.nsswitch_no_dns", 1)]),
        (b"hosts: dns files\n", [("dns.hosts_overruled", 1)]),
        (b"hosts: dns\n", [("dns.hosts_overruled", 1)]),
        (b"hosts: files mdns4_minimal [NOTFOUND=return] dns mymachines\n", [("dns.nss_only", 1)]),
        (b"hosts: files resolve\n", [("dns.nss_only", 1)]),  # counts as DNS
        (b"hosts: files [NOTFOUND return] dns\n", [("dns.nsswitch_ignored", 1)]),
        (b"hosts: files\npasswd files\n", [("dns.nsswitch_ignored", 2)]),
    ],
)
def test_lines_of_an_nsswitch_conf(nsswitch: bytes | None, expected: list[tuple[str, int]]) -> None:
    """What a Go program makes of it."""
    assert found(look(nsswitch=nsswitch)) == expected


def test_a_source_that_only_libc_has_is_a_hint() -> None:
    """Beside the CA, with a name that is lost by it, it is fatal."""
    finding = only(look(nsswitch=b"hosts: files resolve dns\n"))
    assert finding.severity is Severity.INFO
    assert POLICY.grade(msgspec.structs.replace(finding, vantage=Vantage.AUTHORITY)).severity is Severity.FATAL


WITHIN = HOSTS.replace(b"# --- END", f"10.0.0.12 {TRAEFIK}\n# --- END".encode())


def test_a_hand_edit_in_a_managed_section_is_named_with_where_to_make_it() -> None:
    """Proxmox's; also by the watch."""
    finding = only(look(WITHIN))
    assert (finding.code, finding.severity, finding.detail["managed_by"]) == (
        "dns.managed_file",
        Severity.WARN,
        "proxmox",
    )
    assert finding.fix is not None
    assert "on the Proxmox VE host" in finding.fix
    assert [one.code for one in conclude_while_watching(look(WITHIN))] == ["dns.managed_file"]


@pytest.mark.parametrize(
    ("looked", "expected"),
    [
        (look(WITHIN, surroundings=Surroundings(pve_ignored=True)), []),  # /etc/.pve-ignore.hosts
        (look(b"# manage_etc_hosts: true\n127.0.0.1 localhost\n10.0.0.12 other\n"), [("dns.managed_file", 3)]),
        (look(b"# manage_etc_hosts: true\n127.0.1.1 lxc103.lan lxc103\nff02::1 ip6-allnodes\n"), []),
        (
            look(b"10.0.0.12 other\n", surroundings=Surroundings(mounted_from="/docker/c/hosts")),
            [("dns.managed_file", 1)],
        ),
        (look(HOSTS.replace(b"# --- END PVE ---\n", b"")), [("dns.managed_file", 3)]),
        (look(HOSTS.replace(b"# --- END PVE ---\n", b""), left_alone=(HOSTS_FILE,)), []),
        (look(resolv_conf=RESOLV_CONF.replace(b"search", b"options ndots:2\nsearch")), [("dns.managed_file", 2)]),
        (look(resolv_conf=RESOLV_CONF + b"options ndots:2\n"), []),
    ],
)
def test_who_rewrites_what(looked: StaticObservation, expected: list[tuple[str, int]]) -> None:
    """What a manager itself writes is no edit; what it was told to leave alone stays."""
    assert found(looked) == expected


def test_what_a_web_server_names_in_vain_is_said_with_its_line() -> None:
    """As the gateway's files show it."""
    cause = Misconfiguration(
        code="deploy.dangling_reference",
        place=Place(file="/etc/traefik/dynamic/a.yml", line=5, text="service: gone"),
        variant="router",
        facts={"router": "a", "part": "service", "name": "gone"},
    )
    finding = only(look(gateways=(cause,)))
    assert (finding.code, finding.severity) == ("deploy.dangling_reference", Severity.ERROR)
    assert finding.explanation.startswith("The router a names the service gone, which is not defined (line 5 of ")
    assert finding.culprit is not None
    assert (finding.culprit.file, finding.culprit.line) == ("/etc/traefik/dynamic/a.yml", 5)


_words = st.sampled_from(
    [b"10.0.0.1", b"127.0.1.1", b"fe80::1%eth0", b"::ffff:10.0.0.1", b"traefik.internal.test", b"lxc103", b"localhost",
     b"hosts:", b"files", b"dns", b"[NOTFOUND=return]", b"nameserver", b"search", b"domain", b"options", b"ndots:9",
     b"timeout:x", b"# --- BEGIN PVE ---", b"# --- END PVE ---", b"manage_etc_hosts", b"#", b"\xef\xbb\xbf", b"\xff",
     b"\0", b"\r\n", b"\n", b"\t", b" ", b":", b"."]
)  # fmt: skip
_anything = st.one_of(st.binary(max_size=400), st.lists(_words, max_size=60).map(b"".join))


@given(_anything, _anything, _anything)
def test_no_bytes_are_too_strange(hosts: bytes, resolv_conf: bytes, nsswitch: bytes) -> None:
    """Never an exception; whatever is said can be printed, and names a line that exists."""
    for finding in conclude_statically(look(hosts, resolv_conf, nsswitch)):
        msgspec.json.encode(POLICY.grade(finding))
        assert finding.culprit is not None
        content = {HOSTS_FILE: hosts, RESOLV_CONF_FILE: resolv_conf, NSSWITCH_FILE: nsswitch}[
            finding.culprit.file or ""
        ]
        assert finding.culprit.line is None or 1 <= finding.culprit.line <= content.count(b"\n") + 1
        assert finding.fix


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        b"10.0.0.%d traefik.internal.test\n",
        b"nameserver 10.0.0.%d\nsearch a.test\n",
        b"hosts: x%d [\xff\0" + b" y" * 40 + b"\n",
        b"\0\xff%d" + b"\xfe" * 40 + b"\r\n",
        b"%d " + b"name " * 10_000 + b"\n",
        b"# --- BEGIN PVE ---\n10.0.0.%d n\n",
    ],
)
@pytest.mark.timeout(60)
def test_a_megabyte_of_anything_is_no_more_than_work(line: bytes) -> None:
    """Nothing in here compares every line with every other: that would take hours, and this takes a moment."""
    raw = b"".join(line % (number % 250) for number in range(MEGABYTE // len(line) + 1))
    assert len(conclude_statically(look(raw, raw, raw))) <= MOST_OF_A_KIND * len(TABLE)
