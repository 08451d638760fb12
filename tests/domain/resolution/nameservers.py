"""Nameservers of the differential test: what each says, as a table, and as real servers on loopback addresses."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from certagent.domain.rehearsals import DnsAnswer

MAIN, OTHER, SERVFAIL, REFUSING, LAME = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
DEAD, SILENT, TRUNCATING = "127.0.0.6", "127.0.0.7", "127.0.0.8"
LISTENING = (MAIN, OTHER, SERVFAIL, REFUSING, LAME, SILENT, TRUNCATING, "::1")

_MAIN_ZONE: dict[str, dict[str, tuple[str, ...]]] = {
    "app.lan.test.": {"A": ("10.0.0.12",)},  # no AAAA: NXDOMAIN, as dnsmasq's address= says
    "both.lan.test.": {"A": ("10.0.0.12", "10.0.0.13"), "AAAA": ("2001:db8::12", "fd00:1::12")},
    "mapped.lan.test.": {"A": (), "AAAA": ("::ffff:10.0.0.9",)},
    "six.lan.test.": {"A": (), "AAAA": ("2001:db8::6",)},
    "alias.lan.test.": {"A": ("10.0.0.14",), "AAAA": ()},
    "mixed.lan.test.": {"A": ("10.0.0.15", "2001:db8::15")},
    "app.corp.test.": {"A": ("10.0.1.12",), "AAAA": ()},
    "single.": {"A": ("10.0.2.2",), "AAAA": ()},
    "deep.app.lan.test.corp.test.": {"A": ("10.0.3.3",)},
}
_OTHER_ZONE = {"app.lan.test.": {"A": ("10.0.9.9",), "AAAA": ("2001:db8::99",)}}
_WHOLE = {SERVFAIL: "servfail", REFUSING: "refused", LAME: "lame", DEAD: "unreachable", SILENT: "timeout"}
_RCODES = {"nxdomain": dns.rcode.NXDOMAIN, "servfail": dns.rcode.SERVFAIL, "refused": dns.rcode.REFUSED}


def said(nameserver: str, name: str, record: str) -> DnsAnswer:
    """What a nameserver of the table says: what the model is fed."""
    status, addresses = _say(nameserver, name.lower(), record)
    if not all(0 < len(label) < 64 for label in name.removesuffix(".").split(".")) and name != ".":
        status, addresses = "malformed", ()  # such a question cannot even be written
    return DnsAnswer(nameserver=nameserver, name=name, record=record, status=status, addresses=addresses)


def _say(nameserver: str, name: str, record: str) -> tuple[str, tuple[str, ...]]:
    if nameserver not in (*LISTENING, DEAD):
        return "unreachable", ()
    if nameserver in _WHOLE:
        return _WHOLE[nameserver], ()
    if name.startswith("broken."):
        return "servfail", ()
    addresses = (_OTHER_ZONE if nameserver == OTHER else _MAIN_ZONE).get(name, {}).get(record)
    return ("nxdomain", ()) if addresses is None else ("ok", addresses)


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """The table as real servers, port 53 on each loopback address, UDP and TCP."""
    selector = selectors.DefaultSelector()
    wake, woken = socket.socketpair()
    selector.register(woken, selectors.EVENT_READ, None)
    sockets = [_bind(address, kind) for address in LISTENING for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
    for server in sockets:
        selector.register(server, selectors.EVENT_READ, server.getsockname()[0])
    thread = threading.Thread(target=_serve, args=(selector,), name="nameservers")
    thread.start()
    try:
        yield
    finally:
        wake.send(b"x")
        thread.join()
        for one in (*sockets, wake, woken):
            one.close()


def _bind(address: str, kind: socket.SocketKind) -> socket.socket:
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, 53))
    if kind == socket.SOCK_STREAM:
        server.listen(64)
    return server


def _serve(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            server = key.fileobj
            assert isinstance(server, socket.socket)
            if server.type == socket.SOCK_DGRAM:
                wire, client = server.recvfrom(4096)
                reply = _reply(key.data, wire, is_udp=True)
                if reply is not None:
                    server.sendto(reply, client)
            else:
                _serve_stream(key.data, server.accept()[0])


def _serve_stream(address: str, connection: socket.socket) -> None:
    with connection:
        length = connection.recv(2, socket.MSG_WAITALL)
        wire = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
        reply = _reply(address, wire, is_udp=False)
        if reply is not None:
            connection.sendall(len(reply).to_bytes(2, "big") + reply)


def _reply(address: str, wire: bytes, is_udp: bool) -> bytes | None:
    query = dns.message.from_wire(wire)
    name, record = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
    status, addresses = _say(address, name.to_text().lower(), record)
    if status == "timeout":
        return None
    response = dns.message.make_response(query, recursion_available=status != "lame")
    if status == "lame":
        response.use_edns(False)
    response.set_rcode(_RCODES.get(status, dns.rcode.NOERROR))
    if address == TRUNCATING and is_udp:
        response.flags |= dns.flags.TC
        return response.to_wire()
    owner = name
    if name.to_text().lower().startswith("alias."):
        owner = dns.name.from_text("canonical.lan.test.")
        if status == "ok":
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", "canonical.lan.test."))
    for one in addresses:
        response.answer.append(dns.rrset.from_text(owner, 60, "IN", "AAAA" if ":" in one else "A", one))
    return response.to_wire()
