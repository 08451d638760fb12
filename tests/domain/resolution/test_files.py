"""The parsers: whatever the bytes, never an exception, and the right line."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.domain.resolution.file_formats import (
    HostsProblem,
    parse_address,
    parse_hosts,
    parse_resolv_conf,
    read_lines,
    show,
)
from certagent.domain.resolution.files import parse_files, parse_nsswitch
from certagent.domain.resolution.managed_files import Manager, Surroundings, find_managers
from tests.bounds import at_most

FOUNDING = b"127.0.0.1 localhost\n\n# gateway\n10.0.0.153\ttraefik.internal.thinkheads.ai traefik # pinned\n"

_words = st.sampled_from(
    [b"10.0.0.1", b"fe80::1%eth0", b"hosts:", b"files", b"dns", b"[NOTFOUND=return]", b"nameserver", b"search",
     b"options", b"ndots:", b"name.example", b"#", b"\xef\xbb\xbf", b"\xff", b"\0", b"\r\n", b"\n", b"\t", b" ", b":"]
)  # fmt: skip
anything = st.one_of(st.binary(max_size=400), st.lists(_words, max_size=40).map(b"".join))


@given(anything)
def test_no_bytes_are_too_strange(raw: bytes) -> None:
    """Every parser takes everything, and shows only text that can be written as UTF-8."""
    files = parse_files(raw, raw, raw)
    find_managers(raw)
    for entry in files.hosts.entries:
        entry.text.encode()


@given(anything)
def test_a_line_number_leads_to_the_line(raw: bytes) -> None:
    """What is said of line n stands on line n."""
    for entry in parse_hosts(raw).entries:
        content = raw.split(b"\n")[entry.line - 1]
        address = content.split(b"#")[0].replace(b"\t", b" ").replace(b"\r", b" ").split(b" ")
        assert entry.address in {parse_address(show(field)) for field in address}


@given(st.lists(st.sampled_from(["a.example", "B.Example", "c"]), min_size=1, max_size=5))
def test_every_name_of_a_line_is_found(names: list[str]) -> None:
    """In any case, with and without the final dot where the name has dots."""
    hosts = parse_hosts(f"10.0.0.1 {' '.join(names)}\n".encode())
    for name in names:
        assert hosts.entries_for(name.upper())[0].line == 1
        assert "." not in name or hosts.entries_for(name + ".")


def test_the_founding_line_is_named() -> None:
    """File, line number, text as written."""
    (found,) = parse_files(FOUNDING, None, None).in_hosts("Traefik.internal.thinkheads.ai.")
    assert (found.address, found.origin.file, found.origin.line) == ("10.0.0.153", "/etc/hosts", 4)
    assert found.origin.text == "10.0.0.153\ttraefik.internal.thinkheads.ai traefik # pinned"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"\xef\xbb\xbf10.0.0.1 a\n", HostsProblem.BYTE_ORDER_MARK),
        (b"10.0.0.1\n", HostsProblem.NO_NAME),
        (b"010.0.0.1 a\n", HostsProblem.NO_ADDRESS),
        (b"10.0.0.1\x0ba b\n", HostsProblem.NO_ADDRESS),
        (b"x" * 65536 + b"\n", HostsProblem.NOT_READ),
    ],
)
def test_a_line_without_effect_says_why(raw: bytes, problem: HostsProblem) -> None:
    """What looks like an entry and is none."""
    hosts = parse_hosts(raw)
    assert not hosts.entries
    assert [unread.problem for unread in hosts.unread] == [problem]


def test_comments_and_blank_lines_are_not_complained_of() -> None:
    """Nor is a file that is not there."""
    assert parse_hosts(b"\n # x\n\t\r\n#10.0.0.1 a\n\xef\xbb\xbf# x\n").unread == ()
    assert parse_hosts(None).entries == ()


@pytest.mark.slow
def test_a_megabyte_is_read_to_its_end() -> None:
    """The last line counts as the first."""
    raw = b"10.0.0.1 filler.example\n" * 45_000 + b"10.0.0.2 last.example"
    assert parse_hosts(raw).entries_for("last.example")[0].line == 45_001


def test_the_names_of_a_file_come_once_and_in_order() -> None:
    """Lower case, without the final dot."""
    assert parse_hosts(b"::1 B.example. a\n::1 b.example\n").names() == ("b.example", "a")


@pytest.mark.parametrize(
    ("raw", "order"),
    [
        (None, ("files", "dns")),
        (b"", ("files", "dns")),
        (b"hosts: files dns\n", ("files", "dns")),
        (b"hosts: dns files\n", ("dns", "files")),
        (b"hosts: files\n", ("files",)),
        (b"hosts: dns [NOTFOUND=return] files\n", ("dns", "files")),
        (b"hosts: files mymachines resolve [!UNAVAIL=return] dns\n", ("files", "dns")),
        (b"hosts: mdns4_minimal [NOTFOUND=return] files\n", ("dns", "files")),
        (b"hosts: files\tdns\n", ("dns",)),
        (b"hosts: dns files\nnonsense\n", ("files", "dns")),
        (b"hosts: dns files [x\n", ("files", "dns")),
        (b"Hosts: dns\n", ("files", "dns")),
    ],
)
def test_the_order_is_go_s(raw: bytes | None, order: tuple[str, ...]) -> None:
    """Unknown sources are DNS unless DNS is named; a broken file is no file."""
    assert parse_nsswitch(raw).order == order


@pytest.mark.parametrize(
    ("raw", "more"),
    [(None, False), (b"hosts: dns files\n", False), (b"hosts: files mymachines dns\n", True), (b"nonsense\n", True)],
)
def test_what_libc_has_and_go_has_not(raw: bytes | None, more: bool) -> None:
    """Another source; or a file that Go gives up."""
    assert parse_nsswitch(raw).has_more_than_go() is more


def test_the_deciding_line_of_nsswitch_is_known() -> None:
    """For the culprit."""
    switch = parse_nsswitch(b"passwd: files\nhosts: dns files # why\n")
    assert (switch.line, switch.text) == (2, "hosts: dns files # why")


def test_resolv_conf_is_read_as_go_reads_it() -> None:
    """Three nameservers at most, the last search list, the first digits of numbers."""
    conf = parse_resolv_conf(
        b"nameserver 10.0.0.1 # in line\n nameserver fe80::1%eth0\nnameserver ns.example\nnameserver ::1\n"
        b"nameserver 10.0.0.4\ndomain old.example\nsearch a.example b.example. . # c\n"
        b"options ndots:2x timeout:0 attempts:3 rotate single-request-reopen\n; nameserver 10.0.0.9\n"
    )
    assert conf.asked() == ("10.0.0.1", "fe80::1%eth0", "::1")
    assert [server.line for server in conf.nameservers if not server.is_used] == [5]
    assert conf.search == ("a.example.", "b.example.", "#.", "c.")
    assert (conf.ndots, conf.timeout_for, conf.attempts) == (2, timedelta(seconds=1), 3)
    assert conf.rotate
    assert conf.single_request


def test_without_nameservers_this_machine_is_asked() -> None:
    """Go's default; and it is known that the file names nobody."""
    assert parse_resolv_conf(b"# empty\n").asked() == ("127.0.0.1", "::1")
    assert parse_resolv_conf(None).names_nobody()


PVE = b"10.0.0.1 mine\r\n# --- BEGIN PVE ---\r\n10.0.0.2 theirs\r\n# --- END PVE ---\r\n10.0.0.3 mine-too\r\n"


def test_a_proxmox_section_is_proxmox_s() -> None:
    """Marks included; nothing outside, and nothing at all where Proxmox was told to leave the file."""
    assert find_managers(PVE) == dict.fromkeys((2, 3, 4), Manager.PROXMOX)
    assert find_managers(PVE, Surroundings(pve_ignored=True)) == {}
    assert find_managers(PVE.replace(b"END", b"end")) == {}


@pytest.mark.parametrize(
    ("raw", "surroundings", "manager"),
    [
        (b"# managed by man:systemd-resolved(8). Do not edit.\nx\n", Surroundings(), Manager.SYSTEMD_RESOLVED),
        (b"x\ny\n", Surroundings(target="/run/systemd/resolve/stub-resolv.conf"), Manager.SYSTEMD_RESOLVED),
        (b"# Your system has configured 'manage_etc_hosts' as True.\nx\n", Surroundings(), Manager.CLOUD_INIT),
        (b"x\ny\n", Surroundings(mounted_from="/var/lib/docker/containers/1/hosts"), Manager.DOCKER),
    ],
)
def test_whole_files_have_managers(raw: bytes, surroundings: Surroundings, manager: Manager) -> None:
    """By their first comment, their link or their mount."""
    assert find_managers(raw, surroundings) == {1: manager, 2: manager}


def test_the_manager_of_a_line_travels_with_the_answer() -> None:
    """So that the fix can say where to change it instead."""
    files = parse_files(PVE, None, None)
    assert files.in_hosts("theirs")[0].origin.managed_by == "proxmox"
    assert files.in_hosts("mine-too")[0].origin.managed_by is None


def test_lines_are_cut_at_line_feeds_only() -> None:
    """No other character ends a line, or line numbers would be wrong."""
    lines, stopped_at = read_lines("a\x0b\u2028b\rc\n\nd".encode())
    assert [line.number for line in lines] == [1, 3]
    assert stopped_at is None


@pytest.mark.slow
def test_millions_of_empty_lines_cost_next_to_nothing() -> None:
    """Whoever fills a hosts file with them must not fill our memory."""
    with at_most(seconds=20, mebibytes=100):
        files = parse_files(b"\n" * 4 * 2**20 + b"10.0.0.153 app.lan.test\n", None, None)
    assert [line.origin.line for line in files.in_hosts("app.lan.test")] == [4 * 2**20 + 1]
