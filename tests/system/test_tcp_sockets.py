"""TCP sockets: what the kernel tells when asked is what /proc shows, and /proc is read where it tells nothing."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from certagent.system import procfs, tcp_sockets
from certagent.system.procfs import ProcFs
from certagent.system.tcp_sockets import TcpSocket, ask_kernel, read_tables

OURS = Path("/proc/self/net")
ELSEWHERE = """
import socket, sys
server = socket.create_server(("0.0.0.0", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket, socket.socket]]:
    """(a server on every address, of both families; a client by IPv4; the server's end of it)."""
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server,
        socket.create_connection(("127.0.0.1", server.getsockname()[1])) as client,
    ):
        taken, _ = server.accept()
        with taken:
            yield server, client, taken


def _inode(of: socket.socket) -> int:
    return os.fstat(of.fileno()).st_ino


def _only(found: tuple[TcpSocket, ...], *wanted: socket.socket) -> list[TcpSocket]:
    """In the order in which they are wanted."""
    by_inode = {one.inode: one for one in found}
    return [by_inode[_inode(one)] for one in wanted]


def test_what_the_kernel_tells_is_what_proc_shows(
    connected: tuple[socket.socket, socket.socket, socket.socket],
) -> None:
    """Addresses, ports and inodes of listening and connected sockets; IPv4 at an IPv6 socket is written as IPv4."""
    server, client, taken = connected
    port, own = server.getsockname()[1], client.getsockname()[1]
    listening = [TcpSocket("::", port, "::", 0, _inode(server))]
    there = TcpSocket("127.0.0.1", own, "127.0.0.1", port, _inode(client))
    here = TcpSocket("127.0.0.1", port, "127.0.0.1", own, _inode(taken))
    for found in (ask_kernel("listen"), read_tables(OURS, "listen")):
        assert _only(found, server) == listening
        assert {_inode(client), _inode(taken)}.isdisjoint(one.inode for one in found)
    for found in (ask_kernel("established"), read_tables(OURS, "established")):
        assert _only(found, client, taken) == [there, here]
        assert _inode(server) not in {one.inode for one in found}


def test_more_sockets_than_fit_one_answer() -> None:
    """Each once."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(600)]
    try:
        ours = {_inode(server) for server in servers}
        assert sorted(one.inode for one in ask_kernel("listen") if one.inode in ours) == sorted(ours)
    finally:
        for server in servers:
            server.close()


def test_where_the_kernel_tells_nothing_proc_is_read(
    connected: tuple[socket.socket, socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a sandbox without sock_diag; it is not asked again."""
    asked = []

    def refuse(state: str) -> tuple[TcpSocket, ...]:
        asked.append(state)
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(procfs, "ask_kernel", refuse)
    server, client, _ = connected
    proc = ProcFs()
    assert _only(proc.sockets("listen"), server)[0].port == server.getsockname()[1]
    assert _only(proc.sockets("established", os.getpid()), client)[0].peer_port == server.getsockname()[1]
    assert asked == ["listen"]


def test_an_error_of_the_kernel_is_one() -> None:
    """Of a family that it knows nothing of."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, tcp_sockets._SOCK_DIAG) as channel:
        channel.settimeout(1)
        with pytest.raises(OSError, match="sock_diag"):
            list(tcp_sockets._ask(channel, 255, 10))


def test_another_namespace_is_read_from_its_own_process(
    connected: tuple[socket.socket, socket.socket, socket.socket],
) -> None:
    """The sockets of the process's namespace, and none of ours."""
    words = ["unshare", "--net", sys.executable, "-c", ELSEWHERE]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        found = ProcFs().sockets("listen", process.pid)
        process.stdin.close()
    assert [(one.address, one.port) for one in found] == [("0.0.0.0", port)]  # noqa: S104 - compared, not bound
    assert ProcFs().sockets("listen", process.pid) == ()
