"""TCP sockets of a network namespace: asked of the kernel by sock_diag(7), as ss does, or read from /proc.

The files in /proc hold every socket of every state, and for each read the kernel goes through a table for all of the
machine's connections: 3 ms for each family with 24 GiB of memory, where the question takes a thirtieth of that.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

_STATES = {"established": 1, "listen": 10}  # include/net/tcp_states.h

_SOCK_DIAG = 4  # the kernel's netlink protocol of that number; the rest is of linux/netlink.h and linux/inet_diag.h
_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_INTERRUPTED = 0x10
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_QUESTION = struct.Struct("=BBxxI48x")  # family, protocol, states; of whichever address
_SOCKET = struct.Struct("=4x4s16s16s12x16xI")  # ports, addresses, inode
_PORTS = struct.Struct(">HH")
_RESULT = struct.Struct("=i")
_LONGEST = 65536
_PATIENCE = 1.0  # seconds; the kernel answers at once


class TcpSocket(msgspec.Struct, frozen=True):
    """One TCP socket of a network namespace."""

    address: str
    port: int
    peer_address: str
    peer_port: int
    inode: int


def ask_kernel(state: str) -> tuple[TcpSocket, ...]:
    """Those of our own network namespace that are in that state ("listen", "established"). Raises OSError where the
    kernel does not tell."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as channel:
        channel.settimeout(_PATIENCE)
        return tuple(
            found for family in (socket.AF_INET, socket.AF_INET6) for found in _ask(channel, family, _STATES[state])
        )


def read_tables(folder: Path, state: str) -> tuple[TcpSocket, ...]:
    """The same from a process's /proc/PID/net, of its namespace; nothing once it has ended."""
    return tuple(found for name in ("tcp", "tcp6") for found in _read_table(folder / name, _STATES[state]))


def _ask(channel: socket.socket, family: int, state: int) -> Iterator[TcpSocket]:
    question = _QUESTION.pack(family, socket.IPPROTO_TCP, 1 << state)
    channel.send(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST_DUMP, family, 0) + question)
    while True:
        answer = channel.recv(_LONGEST)
        place = 0
        while place < len(answer):
            length, kind, flags, _, _ = _HEADER.unpack_from(answer, place)
            content = answer[place + _HEADER.size : place + length]
            if kind in (_ERROR, _DONE):
                _check(content)
                return
            if kind != _BY_FAMILY or flags & _INTERRUPTED or length < _HEADER.size:
                raise OSError(errno.EBADMSG, "sock_diag")
            yield _socket_of(family, content)
            place += length + -length % 4


def _check(result: bytes) -> None:
    (number,) = _RESULT.unpack_from(result)
    if number < 0:
        raise OSError(-number, "sock_diag")


def _socket_of(family: int, content: bytes) -> TcpSocket:
    ports, address, peer, inode = _SOCKET.unpack_from(content)
    port, peer_port = _PORTS.unpack(ports)
    size = 4 if family == socket.AF_INET else 16
    return TcpSocket(_text_of(address[:size]), port, _text_of(peer[:size]), peer_port, inode)


def _read_table(path: Path, state: int) -> Iterator[TcpSocket]:
    lines: list[str] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = path.read_text().splitlines()[1:]
    for line in lines:
        fields = line.split()
        if int(fields[3], 16) == state:
            yield TcpSocket(*_endpoint(fields[1]), *_endpoint(fields[2]), int(fields[9]))


def _endpoint(text: str) -> tuple[str, int]:
    """ "0100007F:0050" as ("127.0.0.1", 80): each word of four bytes is in the machine's order."""
    host, port = text.split(":")
    words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
    return _text_of(b"".join(words)), int(port, 16)


def _text_of(packed: bytes) -> str:
    """An IPv4 address that an IPv6 socket takes is written as one."""
    if packed.startswith(bytes(10) + b"\xff\xff"):
        packed = packed[12:]
    return socket.inet_ntop(socket.AF_INET6 if len(packed) == 16 else socket.AF_INET, packed)
