"""This node as it is: who listens, what it is for, what libc says."""

import socket
import sys
from pathlib import Path

import pytest

from certagent.system.procfs import Process, ProcFs
from certagent.system.tcp_sockets import TcpSocket
from certagent.vantage.node_vantage import NodeVantage, ask_libc


def test_listeners_have_owners() -> None:
    """This very process, for one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = [one for one in NodeVantage().listeners() if one.port == server.getsockname()[1]]
    assert [one.address for one in mine] == ["127.0.0.1"]
    assert mine[0].process is not None


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (("nginx", "dnsmasq"), "nginx"),
        (("traefik",), "traefik"),
        (("nginx", "step-ca"), "authority"),
        (("certagent",), "collector"),
        (("sshd",), None),
        ((), None),
    ],
)
def test_the_role_is_what_listens(names: tuple[str, ...], role: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CA before the proxies, the proxies before the collector."""
    from datetime import UTC, datetime

    sockets = tuple(TcpSocket("0.0.0.0", 80, "0.0.0.0", 0, inode) for inode, _ in enumerate(names))  # noqa: S104
    command = ("python3", "/usr/bin/certagent", "collector")
    owners = {
        inode: Process(inode, name, command * (name == "certagent"), datetime.now(UTC))
        for inode, name in enumerate(names)
    }
    monkeypatch.setattr(ProcFs, "sockets", lambda _self, _pid=None: sockets)
    monkeypatch.setattr(ProcFs, "owners", lambda _self, _inodes: owners)
    assert NodeVantage().role() == role


async def test_libc_is_asked_and_not_modelled() -> None:
    """localhost is what it always is; nonsense is an error in libc's words."""
    assert "127.0.0.1" in (await ask_libc("localhost")).addresses
    assert (await ask_libc("x" * 300)).error is not None


def test_own_addresses_leave_out_loopback(tmp_path: Path) -> None:
    """From the routing table; whatever this machine has."""
    assert not any(address.startswith(("127.", "::1", "fe80")) for address in NodeVantage().addresses())


def test_addresses_of_a_container(tmp_path: Path) -> None:
    """As its /proc shows them."""
    net = tmp_path / "self" / "net"
    net.mkdir(parents=True)
    (net / "fib_trie").write_text(
        "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.153\n"
        "        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n"
        "        /32 host LOCAL\nLocal:\n     |-- 10.0.0.153\n        /32 host LOCAL\n"
    )
    (net / "if_inet6").write_text(
        "20010db8000000000000000000000001 02 40 00 80 eth0\nfe800000000000000000000000000001 02 40 20 80 eth0\n"
    )
    assert ProcFs(tmp_path).addresses() == ("10.0.0.153", "2001:db8::1")


async def test_a_node_s_own_files_are_inspected(tmp_path: Path) -> None:
    """Every name of the zones, from whatever root; nobody to ask is no error."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "hosts").write_text("10.0.0.153 a.internal.thinkheads.ai other.example internal.thinkheads.ai\n10.0.0.1\n")
    (etc / "resolv.conf").write_text("nameserver 127.255.255.1\n")
    node = NodeVantage(zones=("internal.thinkheads.ai",), root=tmp_path)
    observed = await node.inspect_files()
    assert [one.name for one in observed.resolutions] == ["a.internal.thinkheads.ai", "internal.thinkheads.ai"]
    assert [unread.line for unread in observed.unread] == [2]
    (etc / "hosts").write_text("")
    again = await node.inspect_files(observed.snapshot)
    assert [one.name for one in again.resolutions] == ["a.internal.thinkheads.ai", "internal.thinkheads.ai"]
    assert again.resolutions[0].hosts == ()


def test_the_interpreter_is_one_process() -> None:
    """The kernel's name for us is short; our program's file name is found as well."""
    name = Path(sys.executable).resolve().name
    assert ProcFs().processes(name)
