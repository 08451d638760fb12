"""What dnsmasq was told, read from its own files: which lines count, and what its agent concludes from them."""

import os
from pathlib import Path

import pytest

from certagent.domain.diagnosis.name_resolution import private_addresses_are_filtered, zone_is_overridden
from certagent.domain.observations import Unreadable
from certagent.system.procfs import Process, ProcFs
from certagent.vantage.nameserver_config import NameserverObservation, NameserverObserver
from tests.evidence import NOW

NAME, ZONE = "app.internal.thinkheads.ai", ("internal.thinkheads.ai",)


class _Running(ProcFs):
    """A machine on which these command lines run."""

    def __init__(self, *commands: str) -> None:
        super().__init__()
        self._commands = commands

    def processes(self, name: str) -> tuple[Process, ...]:
        return tuple(Process(one, name, tuple(command.split()), NOW) for one, command in enumerate(self._commands))


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
    look = NameserverObserver(_Running(command), root).observe()
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
    assert NameserverObserver(_Running("dnsmasq --port=5300"), root).observe() is None
    running = _Running("dnsmasq -C /etc/dnsmasq.conf")
    nameserver = NameserverObserver(running, root)
    assert nameserver.observe() is not None
    running._commands = ()
    assert nameserver.observe() is not None
