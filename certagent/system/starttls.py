"""The words that have a server begin TLS on a connection that began without it. Sends nothing but these, never a login.

Each is the shortest dialogue that its RFC allows, with the names that `openssl s_client -starttls` has for them.
"""

import asyncio
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from ssl import SSLError

_Dialogue = Callable[[StreamReader, StreamWriter, str], Awaitable[None]]

_MOST_LINES = 100
_LONGEST_SAID = 200
_LARGEST_REPLY = 16 * 1024


class StarttlsError(SSLError):
    """The server does not begin TLS; its own words."""

    def __init__(self, said: bytes | str) -> None:
        text = said if isinstance(said, str) else said.decode("utf-8", "replace")
        printable = "".join(one if one.isprintable() else " " for one in text).strip()
        self.reason = f"it does not begin TLS: {printable[:_LONGEST_SAID] or 'it closed the connection'}"
        super().__init__(1, self.reason)


async def begin_tls(protocol: str, reader: StreamReader, writer: StreamWriter, server_name: str) -> None:
    """Until the next byte is TLS's. Raises StarttlsError, OSError; KeyError for a protocol that is none of ours. The
    caller bounds it in time."""
    try:
        await _DIALOGUES[protocol](reader, writer, server_name)
    except asyncio.IncompleteReadError as error:
        raise StarttlsError(error.partial) from error
    except (asyncio.LimitOverrunError, ValueError) as error:
        raise StarttlsError("its answer is not the protocol's") from error


def _by_lines(command: str, success: str, greeting: str, hello: str | None = None, *, marks: bool = True) -> _Dialogue:
    """A protocol of lines. `greeting` and `success`: what the last line of a reply begins with; `hello` comes first,
    and is answered by 250. `marks`: a reply goes on while a `-` follows its code."""

    async def dialogue(reader: StreamReader, writer: StreamWriter, _: str) -> None:
        await _reply(reader, greeting, marks=marks)
        if hello is not None:
            writer.write(f"{hello}\r\n".encode())
            await _reply(reader, "250", marks=True)
        writer.write(f"{command}\r\n".encode())
        await _reply(reader, success, marks=marks)

    return dialogue


async def _reply(reader: StreamReader, wanted: str, *, marks: bool) -> None:
    """Read to the end of a reply. Without marks, that is the line which begins as it should, or the first that says no;
    what comes before it are capabilities."""
    for _ in range(_MOST_LINES):
        line = await reader.readline()
        if line.startswith(wanted.encode()) and not (marks and line[3:4] == b"-"):
            return
        goes_on = line[3:4] == b"-" if marks else line[:1] in (b"*", b'"')
        if not goes_on:
            raise StarttlsError(line)
    raise StarttlsError("its answer does not end")


async def _postgres(reader: StreamReader, writer: StreamWriter, _: str) -> None:
    """SSLRequest; S is yes, N is no."""
    writer.write(struct.pack(">II", 8, 80877103))
    said = await reader.readexactly(1)
    if said != b"S":
        raise StarttlsError("it has no TLS (ssl = off)" if said == b"N" else said)


async def _mysql(reader: StreamReader, writer: StreamWriter, _: str) -> None:
    """The server greets, and says what it can; SSLRequest is the first half of our answer."""
    length = int.from_bytes(await reader.readexactly(3), "little")
    await reader.readexactly(1)
    greeting = await reader.readexactly(min(length, _LARGEST_REPLY))
    if greeting[:1] != b"\x0a":
        raise StarttlsError(greeting[3:])  # an error packet: its number, then its text
    after_version = greeting.index(b"\0", 1) + 1
    (able,) = struct.unpack_from("<H", greeting.ljust(after_version + 15, b"\0"), after_version + 13)
    if not able & _MYSQL_TLS:
        raise StarttlsError("it has no TLS")
    writer.write(b"\x20\0\0\x01" + struct.pack("<IIB23x", _MYSQL_ABLE, 1 << 24, 33))


_MYSQL_TLS = 0x0800  # CLIENT_SSL
_MYSQL_ABLE = 0x0001 | 0x0200 | _MYSQL_TLS | 0x8000  # long password, protocol 4.1, TLS, secure connection


async def _ldap(reader: StreamReader, writer: StreamWriter, _: str) -> None:
    """The extended request of RFC 4511 section 4.14; its result code is 0 for yes."""
    writer.write(b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16" + _LDAP_TLS)
    tag, size = await reader.readexactly(2)
    if size & 0x80:
        size = int.from_bytes(await reader.readexactly(size & 0x7F), "big")
    answer = await reader.readexactly(min(size, _LARGEST_REPLY))
    if tag != 0x30 or b"\x0a\x01\x00" not in answer[:16]:
        raise StarttlsError("it refuses the extended request StartTLS")


_LDAP_TLS = b"1.3.6.1.4.1.1466.20037"


def _xmpp(namespace: str) -> _Dialogue:
    async def dialogue(reader: StreamReader, writer: StreamWriter, server_name: str) -> None:
        header = (
            f"<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='{namespace}'"
            f" to='{server_name}' version='1.0'>"
        )
        writer.write(header.encode())
        features = await reader.readuntil(b"</stream:features>")
        if b"<starttls" not in features:
            raise StarttlsError("it does not offer starttls")
        writer.write(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        said = await reader.readuntil(b">")
        if not said.lstrip().startswith(b"<proceed"):
            raise StarttlsError(said)
        if not said.endswith(b"/>"):
            await reader.readuntil(b"</proceed>")

    return dialogue


_DIALOGUES: dict[str, _Dialogue] = {
    "smtp": _by_lines("STARTTLS", "220", "220", "EHLO certagent.invalid"),  # RFC 3207
    "lmtp": _by_lines("STARTTLS", "220", "220", "LHLO certagent.invalid"),
    "imap": _by_lines("a STARTTLS", "a OK", "* OK", marks=False),  # RFC 9051 section 6.2.1
    "pop3": _by_lines("STLS", "+OK", "+OK", marks=False),  # RFC 2595
    "sieve": _by_lines("STARTTLS", "OK", "OK", marks=False),  # RFC 5804
    "ftp": _by_lines("AUTH TLS", "234", "220"),  # RFC 4217
    "nntp": _by_lines("STARTTLS", "382", "20"),  # RFC 4642
    "ldap": _ldap,
    "postgres": _postgres,
    "mysql": _mysql,
    "xmpp": _xmpp("jabber:client"),  # RFC 6120 section 5
    "xmpp-server": _xmpp("jabber:server"),
}
PROTOCOLS = tuple(_DIALOGUES)
"""What can be asked for."""
