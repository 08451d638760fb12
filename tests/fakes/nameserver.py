"""A nameserver on loopback that says what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rrset

Answerer = Callable[[dns.message.Message], list[bytes]]
"""What it says to a question: datagrams, none for silence."""


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, answer: Answerer) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for wire in self._answer(dns.message.from_wire(data)):
            self._transport.sendto(wire, addr)


@asynccontextmanager
async def nameserver(answer: Answerer, over_tcp: Answerer | None = None, port: int = 0) -> AsyncIterator[int]:
    """A nameserver on 127.0.0.1, the same port for UDP and (where given) TCP; any port, unless one is given."""
    async with AsyncExitStack() as stack:
        if over_tcp is not None:  # first: of ports for UDP there are always enough

            async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                length = int.from_bytes(await reader.readexactly(2), "big")
                for wire in over_tcp(dns.message.from_wire(await reader.readexactly(length))):
                    writer.write(wire)
                writer.close()

            server = await asyncio.start_server(talk, "127.0.0.1", port)
            stack.callback(server.close)
            port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(answer), local_addr=("127.0.0.1", port))
        stack.callback(transport.close)
        yield int(transport.get_extra_info("sockname")[1])


def reply(query: dns.message.Message, *records: str, rcode: int = 0, flags: int = 0) -> bytes:
    """A response with these A records."""
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= flags
    response.set_rcode(dns.rcode.Rcode(rcode))
    for address in records:
        kind = "AAAA" if ":" in address else "A"
        response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", kind, address))
    return response.to_wire(max_size=65535)
