"""What dnsmasq was told, read from its own files: which lines count, and what its agent concludes from them."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certagent.domain.diagnosis.nameserver_files import (
    names_stand_in_files,
    private_addresses_are_filtered,
    zone_is_overridden,
)
from certagent.domain.findings import Culprit
from certagent.domain.observations import Unreadable
from certagent.domain.resolution.dnsmasq import Dnsmasq, ServedHosts, read_settings
from certagent.domain.resolution.file_formats import parse_hosts
from certagent.domain.resolution.local_records import included_by_unbound, read_adguard, read_unbound
from certagent.vantage.nameserver_config import NameserverObservation, NameserverObserver
from tests.evidence import NOW
from tests.fakes.processes import Running

NAME, ZONE = "app.internal.thinkheads.ai", ("internal.thinkheads.ai",)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """dnsmasq.conf, a folder of more, and hosts files."""
    (tmp_path / "etc/dnsmasq.d").mkdir(parents=True)
    (tmp_path / "etc/dnsmasq.conf").write_text("# comment\nno-resolv\nconf-dir=/etc/dnsmasq.d/,*.conf\n")
    (tmp_path / "etc/dnsmasq.d/zone.conf").write_text(
        f"address=/internal.thinkheads.ai/10.0.0.9\naddress=/{NAME}/10.0.0.12\n"
    )
    (tmp_path / "etc/dnsmasq.d/zone.conf.bak").write_text("stop-dns-rebind\n")
    (tmp_path / "etc/hosts").write_text(f"127.0.0.1 localhost\n10.0.0.153 {NAME} # old\n10.0.0.1 other.test\n")
    return tmp_path


def _look(root: Path, command: str = "dnsmasq --keep-in-foreground") -> NameserverObservation:
    look = NameserverObserver(Running(command), root).observe()
    assert look is not None
    return look


def _lines(look: NameserverObservation) -> list[tuple[str | None, int | None]]:
    found = zone_is_overridden(look.configuration, look.hosts, ZONE, "lxc101")
    return [(one.culprit.file, one.culprit.line) for one in found if one.culprit is not None]


def test_a_line_that_overrides_the_zone_is_found_with_file_and_number(root: Path) -> None:
    """The longest domain of address= is the zone's word."""
    look = _look(root)
    assert _lines(look) == [("/etc/hosts", 2)]
    assert look.files() == ("/etc/dnsmasq.conf", "/etc/dnsmasq.d/zone.conf")


def test_what_stands_in_the_place_of_a_file_is_noted_and_the_rest_is_read(root: Path) -> None:
    """A pipe is not waited for; what is not there is nothing to say, nor is what dnsmasq itself cannot name."""
    os.mkfifo(root / "etc/pipe")
    (root / "etc/dnsmasq.conf").write_bytes(
        b"conf-file=/etc/pipe\nconf-file=/etc/dnsmasq.d\nconf-file=/etc/none\nconf-file=/etc/a\0b\n"
        b"conf-dir=/etc/dnsmasq.d/,*.conf\n\xff\xfe=\n=\n,\n"
    )
    look = _look(root)
    assert _lines(look) == [("/etc/hosts", 2)]
    assert look.unreadable == (
        Unreadable(file="/etc/pipe", reason="it is a named pipe"),
        Unreadable(file="/etc/dnsmasq.d", reason="it is a folder"),
    )


@pytest.mark.parametrize(
    ("file", "more"),
    [("etc/dnsmasq.conf", "no-hosts\n"), ("etc/dnsmasq.d/zone.conf", f"host-record={NAME},10.0.0.153\n")],
)
def test_what_does_not_override_is_silent(root: Path, file: str, more: str) -> None:
    """Its hosts file is not read, or its zone says the same."""
    with (root / file).open("a") as opened:
        opened.write(more)
    assert _lines(_look(root)) == []


def test_a_comment_and_a_line_that_agrees_are_silent(root: Path) -> None:
    """As everywhere."""
    (root / "etc/hosts").write_text(f"# 10.0.0.153 {NAME}\n10.0.0.12 {NAME}\n")
    assert _lines(_look(root)) == []


def test_further_hosts_files_count_as_well(root: Path) -> None:
    """addn-hosts, on the command line too."""
    (root / "etc/more").write_text(f"10.0.0.50 {NAME}\n")
    look = _look(root, "dnsmasq --no-hosts --addn-hosts=/etc/more")
    assert _lines(look) == [("/etc/more", 1)]
    assert "/etc/more" in look.files()


@pytest.mark.parametrize(
    ("name", "is_read"),
    [("fleet", True), ("fleet.hosts", True), ("#x", True), (".fleet", False), ("fleet~", False), ("#fleet#", False)],
)
@pytest.mark.parametrize("setting", ["addn-hosts", "hostsdir"])
def test_of_a_folder_every_file_counts_but_an_editors(root: Path, setting: str, name: str, is_read: bool) -> None:
    """And where a new one would count is told, so that it can be watched."""
    (root / "etc/lan/more").mkdir(parents=True)
    (root / "etc/lan" / name).write_text(f"# fleet\n10.0.0.50 {NAME}\n")
    (root / "etc/dnsmasq.d/hosts.conf").write_text(f"no-hosts\n{setting}=/etc/lan\n")
    look = _look(root)
    assert _lines(look) == ([(f"/etc/lan/{name}", 2)] if is_read else [])
    assert set(look.folders) == {"/etc/dnsmasq.d/", "/etc/lan"}


def test_short_names_are_completed_with_the_domain_of_their_address(root: Path) -> None:
    """With `expand-hosts` alone; the last domain whose range has the address, else the one without a range."""
    (root / "etc/hosts").write_text("10.0.0.153 app\n10.9.0.1 app\n10.0.0.153 full.internal.thinkheads.ai app.\n")
    assert _lines(_look(root)) == [("/etc/hosts", 3)]  # address=/internal.thinkheads.ai/
    more = "domain=internal.thinkheads.ai\ndomain=far.test,10.9.0.0/16,local\n"
    (root / "etc/dnsmasq.d/domain.conf").write_text(f"expand-hosts\n{more}")
    assert _lines(_look(root)) == [("/etc/hosts", 1), ("/etc/hosts", 3)]
    (root / "etc/dnsmasq.d/domain.conf").write_text(more)
    assert _lines(_look(root)) == [("/etc/hosts", 3)]
    (root / "etc/dnsmasq.d/domain.conf").unlink()
    look = _look(root, "dnsmasq -E -s internal.thinkheads.ai")
    assert _lines(look) == [("/etc/hosts", 1), ("/etc/hosts", 2), ("/etc/hosts", 3)]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("dnsmasq", ["/etc/dnsmasq.conf", "/etc/dnsmasq.d/zone.conf"]),
        ("dnsmasq -C /etc/other.conf", ["/etc/other.conf"]),
        ("dnsmasq --conf-file /etc/other.conf -u dnsmasq", ["/etc/other.conf"]),
        (
            "dnsmasq -C /etc/other.conf -7 /etc/dnsmasq.d,.bak,.dpkg-dist",
            ["/etc/other.conf", "/etc/dnsmasq.d/zone.conf"],
        ),
        (
            "dnsmasq -C /etc/other.conf --conf-dir=/etc/dnsmasq.d",
            ["/etc/other.conf", "/etc/dnsmasq.d/zone.conf", "/etc/dnsmasq.d/zone.conf.bak"],
        ),
    ],
)
def test_the_files_that_it_reads_follow_from_how_it_was_started(root: Path, command: str, expected: list[str]) -> None:
    """Debian's service hands it a folder with what to leave out."""
    (root / "etc/other.conf").write_text("no-resolv\n")
    assert list(_look(root, command).configuration.files) == expected


def test_a_nameserver_that_answers_elsewhere_by_its_files_is_none(root: Path) -> None:
    """Port 0 is dnsmasq for DHCP alone."""
    (root / "etc/dnsmasq.d/port.conf").write_text("port=0\n")
    assert NameserverObserver(Running("dnsmasq"), root).observe() is None


def test_pihole_is_dnsmasq_and_writes_its_hosts_itself(root: Path) -> None:
    """Version 6 keeps them in a folder of its own; a version before it goes by dnsmasq's files."""
    assert _lines(_look(root, "pihole-FTL -f")) == [("/etc/hosts", 2)]
    (root / "etc/pihole/hosts").mkdir(parents=True)
    (root / "etc/pihole/dnsmasq.conf").write_text(
        f"hostsdir=/etc/pihole/hosts\nno-hosts\nhost-record={NAME},10.0.0.12\n"
    )
    (root / "etc/pihole/hosts/custom.list").write_text(f"10.0.0.153 {NAME}\n")
    look = _look(root, "pihole-FTL -f")
    assert _lines(look) == [("/etc/pihole/hosts/custom.list", 1)]
    (finding,) = zone_is_overridden(look.configuration, look.hosts, ZONE, "lxc101")
    assert finding.fix is not None
    assert "(Pi-hole writes it: change it in Pi-hole itself" in finding.fix


def test_a_setting_that_was_written_after_the_start_counts_after_a_restart(root: Path) -> None:
    """What is served already is not said to be yet to come, whatever else is written into its file."""
    os.utime(root / "etc/dnsmasq.d/zone.conf")
    running = Running("dnsmasq")
    running.started_at = datetime.now(UTC) + timedelta(hours=1)
    nameserver = NameserverObserver(running, root)
    (root / "etc/extra").write_text(f"10.0.0.50 {NAME}\n")

    def variants() -> dict[str | None, str]:
        look = nameserver.observe()
        assert look is not None
        found = zone_is_overridden(look.configuration, look.hosts, ZONE, "lxc101")
        return {one.culprit.file: one.variant for one in found if one.culprit is not None}

    assert variants() == {"/etc/hosts": ""}
    (root / "etc/dnsmasq.d/extra.conf").write_text("addn-hosts=/etc/extra\n")
    assert variants() == {"/etc/hosts": "", "/etc/extra": ""}
    running.started_at = NOW  # long ago: its files are all younger
    assert variants() == {"/etc/hosts": "", "/etc/extra": "waiting"}


def test_a_name_that_stands_in_a_hosts_file_alone_is_a_fact_with_its_line(root: Path) -> None:
    """No record contradicts it, so whether it is right only others know."""
    (root / "etc/dnsmasq.d/zone.conf").write_text("no-resolv\n")
    look = _look(root)
    found = list(names_stand_in_files(look.configuration, look.hosts, look.records, ZONE, "lxc101"))
    assert [(one.code, one.identifier, one.culprit) for one in found] == [
        (
            "dns.local_answer",
            NAME,
            Culprit(node="lxc101", file="/etc/hosts", line=2, text=f"10.0.0.153 {NAME} # old", address="10.0.0.153"),
        )
    ]
    assert _lines(look) == []


def test_records_of_unbound_and_adguard_home_are_facts_with_their_lines(root: Path) -> None:
    """unbound by its `include`d files as well; what is no address, or a comment, is none."""
    (root / "etc/unbound/unbound.conf.d").mkdir(parents=True)
    (root / "etc/unbound/unbound.conf").write_text('include-toplevel: "/etc/unbound/unbound.conf.d/*.conf"\n')
    (root / "etc/unbound/unbound.conf.d/fleet.conf").write_text(
        'server:\n  local-zone: "internal.thinkheads.ai." transparent\n'
        f'  # local-data: "{NAME}. A 10.0.0.1"\n  local-data: "{NAME}. 300 IN A 10.0.0.153"\n'
        f"  local-data: '{NAME}. AAAA fd00::153'\n  local-data: \"{NAME}. TXT x\"\n"
    )
    (root / "opt/AdGuardHome").mkdir(parents=True)
    (root / "opt/AdGuardHome/AdGuardHome.yaml").write_text(
        f"dns:\n  port: 53\nfiltering:\n  rewrites:\n    - domain: {NAME}\n      answer: 10.0.0.153\n"
        "    - domain: alias.internal.thinkheads.ai\n      answer: other.test\n"
    )

    def answers(command: str) -> list[tuple[str, str | None, int | None, str | None]]:
        look = _look(root, command)
        found = names_stand_in_files(look.configuration, look.hosts, look.records, ZONE, "lxc101")
        return [
            (str(one.facts["server"]), one.culprit.file, one.culprit.line, one.culprit.address)
            for one in found
            if one.culprit is not None
        ]

    fleet = "/etc/unbound/unbound.conf.d/fleet.conf"
    assert answers("unbound -d -p") == [("unbound", fleet, 4, "10.0.0.153"), ("unbound", fleet, 5, "fd00::153")]
    assert answers("AdGuardHome --no-check-update") == [
        ("AdGuard Home", "/opt/AdGuardHome/AdGuardHome.yaml", 5, "10.0.0.153")
    ]
    assert _look(root, "unbound").folders == ("/etc/unbound/unbound.conf.d",)


def test_whatever_stands_in_the_place_of_a_file_is_no_failure(root: Path) -> None:
    """A pipe, a folder, a loop of links, a file that nobody may read, bytes of all kinds, itself."""
    os.mkfifo(root / "etc/pipe")
    (root / "etc/loop").symlink_to("loop")
    (root / "etc/junk").write_bytes(bytes(range(256)) * 40)
    keys = ("conf-file", "conf-dir", "addn-hosts", "hostsdir", "servers-file", "domain", "cname", "address")
    paths = ("/etc/pipe", "/etc/dnsmasq.d", "/etc/loop", "/etc/junk", "/nowhere", "", "/etc/dnsmasq.conf", ",")
    (root / "etc/dnsmasq.d/zone.conf").write_text(
        "".join(f"{key}={path}\n" for key in keys for path in paths) + "expand-hosts\n"
    )
    look = _look(root)
    assert "/etc/junk" in look.configuration.files
    assert NameserverObserver(Running("dnsmasq"), root).files().files


def test_the_filter_is_named_by_its_line(root: Path) -> None:
    """Only a file that it reads counts; what is exempt is told."""
    assert private_addresses_are_filtered(_look(root).configuration, "lxc101") is None
    more = "stop-dns-rebind\nrebind-domain-ok=/internal.thinkheads.ai/\nserver=/far.test/10.9.9.9\nlocal=/here.test/\n"
    (root / "etc/dnsmasq.d/filter.conf").write_text(more)
    finding = private_addresses_are_filtered(_look(root).configuration, "lxc101")
    assert finding is not None
    assert finding.culprit is not None
    assert (finding.culprit.file, finding.culprit.line) == ("/etc/dnsmasq.d/filter.conf", 1)
    assert finding.detail == {"exempt": ("internal.thinkheads.ai", "here.test"), "forwarded": ("far.test",)}


def test_another_port_is_another_purpose_and_a_restart_is_no_absence(root: Path) -> None:
    """Nobody on port 53 is no nameserver; one that was there a moment ago is restarting."""
    assert NameserverObserver(Running("dnsmasq --port=5300"), root).observe() is None
    running = Running("dnsmasq -C /etc/dnsmasq.conf")
    nameserver = NameserverObserver(running, root)
    assert nameserver.observe() is not None
    running.commands = ()
    assert nameserver.observe() is not None


_words = st.sampled_from(
    ["address", "host-record", "cname", "domain", "expand-hosts", "hostsdir", "addn-hosts", "conf-dir", "conf-file",
     "server", "local", "rebind-domain-ok", "stop-dns-rebind", "port", "=", "/", ",", "#", "*", ".", "%", '"', "\n",
     "10.0.0.1", "10.0.0.0/99", "fd00::1", "300", NAME, "/etc", "/etc/dnsmasq.d", " ", "\0", "\u00fc"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(_words, max_size=40).map("".join), st.lists(_words, max_size=20).map("".join))
def test_no_configuration_is_too_strange(configuration: str, hosts: str) -> None:
    """It is read and concluded from, whatever it says."""
    read = Dnsmasq(settings=tuple(read_settings(configuration.encode(), "/etc/dnsmasq.conf")))
    served = ServedHosts(file="/etc/hosts", hosts=read.completed(parse_hosts(f"10.0.0.1 app {NAME}\n{hosts}".encode())))
    list(zone_is_overridden(read, [served], ZONE, "lxc101"))
    list(names_stand_in_files(read, [served], [], ZONE, "lxc101"))
    private_addresses_are_filtered(read, "lxc101")
    list(read_unbound(configuration.encode(), "/f"))
    list(included_by_unbound(configuration.encode()))
    list(read_adguard(configuration.encode(), "/f"))
