"""Servers that begin TLS by each protocol's own words, on loopback; then a real handshake.

They stand for Postfix, Dovecot, OpenLDAP, MySQL and others, none of which is installed for the tests; `openssl s_client
-starttls` talks to them as well, so they are not made to our own measure.
"""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.certificates import Pair
from tests.fakes.tls_servers import context_of

Script = Sequence[tuple[bytes, bytes]]
"""(what the client has to begin its words with, what it is answered); the first entry is the greeting, if any."""

_MYSQL_GREETING = b"\x0a8.0.36\0" + b"\x01\0\0\0" + b"12345678\0" + b"\xff\xff" + b"\x21\x02\0\xff\xdf\x15" + bytes(10)
_MYSQL_GREETING += b"123456789012\0caching_sha2_password\0"
_FEATURES = (
    b"<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
)
_EHLO = b"250-mail.internal\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
SCRIPTS: dict[str, Script] = {
    "smtp": [
        (b"", b"220-mail.internal ESMTP\r\n220 at your service\r\n"),
        (b"EHLO", _EHLO),
        (b"STARTTLS", b"220 go\r\n"),
    ],
    "lmtp": [(b"", b"220 mail.internal LMTP\r\n"), (b"LHLO", _EHLO), (b"STARTTLS", b"220 2.0.0 Ready\r\n")],
    "imap": [(b"", b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"), (b"", b"")],
    "pop3": [(b"", b"+OK ready <1@mail.internal>\r\n"), (b"STLS", b"+OK Begin TLS\r\n")],
    "sieve": [
        (b"", b'"IMPLEMENTATION" "Dovecot"\r\n"SIEVE" "fileinto"\r\n"STARTTLS"\r\nOK "ready"\r\n'),
        (b"STARTTLS", b"OK\r\n"),
    ],
    "ftp": [(b"", b"220 ftp.internal\r\n"), (b"AUTH TLS", b"234 go\r\n")],
    "nntp": [(b"", b"200 news.internal\r\n"), (b"STARTTLS", b"382 go\r\n")],
    "ldap": [
        (b"0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037", b"0\x0c\x02\x01\x01x\x07\n\x01\x00\x04\x00\x04\x00")
    ],
    "postgres": [(b"\0\0\0\x08\x04\xd2\x16\x2f", b"S")],
    "mysql": [(b"", len(_MYSQL_GREETING).to_bytes(3, "little") + b"\0" + _MYSQL_GREETING), (b"\x20\0\0\x01", b"")],
    "xmpp": [(b"<", _FEATURES), (b"<starttls", b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")],
    "xmpp-server": [(b"<", _FEATURES), (b"<starttls", b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'></proceed>")],
}


@contextmanager
def starttls_server(protocol: str, pair: Pair, script: Script | None = None) -> Iterator[int]:
    """Its port. With a script of its own it may say no. Nobody waits for its thread: who looks may not have hung up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(
            target=_serve,
            args=(listening, protocol, pair, SCRIPTS[protocol] if script is None else script),
            daemon=True,
        )
        server.start()
        try:
            yield listening.getsockname()[1]
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, protocol: str, pair: Pair, script: Script) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            connection.settimeout(2)
            if _says_yes(connection, protocol, script):
                context_of(pair).wrap_socket(connection, server_side=True).close()


def _says_yes(connection: socket.socket, protocol: str, script: Script) -> bool:
    """Whether the dialogue came to its end. TLS's first bytes are left where they are."""
    for wanted, answer in script:
        if wanted:
            asked = _received(connection, protocol)
            if not asked.startswith(wanted):
                return False
        elif protocol == "imap" and not answer:
            if not _answer_imap(connection):
                return False
            continue
        connection.sendall(answer)
    return True


def _answer_imap(connection: socket.socket) -> bool:
    """By the client's own tags; `openssl` asks for the capabilities first."""
    while True:
        tag, _, command = _received(connection, "imap").strip().partition(b" ")
        if command.upper() == b"CAPABILITY":
            connection.sendall(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n" + tag + b" OK done\r\n")
        else:
            connection.sendall(tag + b" OK Begin TLS\r\n")
            return command.upper() == b"STARTTLS"


def _received(connection: socket.socket, protocol: str) -> bytes:
    """One line, or what a protocol without lines sends at once; no byte more, for that would be TLS's."""
    if protocol in ("postgres", "ldap", "mysql"):
        size = {"postgres": 8, "ldap": 31, "mysql": 36}[protocol]
        return connection.recv(size, socket.MSG_WAITALL)
    ending = b">" if protocol.startswith("xmpp") else b"\n"
    line = b""
    while not line.endswith(ending) or (line.startswith(b"<?xml") and line.count(b">") < 2):
        piece = connection.recv(1)
        if not piece:
            return line
        line += piece
    return line
