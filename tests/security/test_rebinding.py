"""DNS rebinding, live: a real nameserver gives a good address first, and one of the node itself when asked again."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import dns.message
import pytest

from certagent.domain.rehearsals import Origin, RehearsalOutcome, RehearsalRequest, ResolvedAddress, digest_for
from certagent.domain.resolution.go import Lookup
from certagent.system.dns import ask
from certagent.vantage.authority_vantage import judge
from certagent.vantage.dialer import Dialer
from certagent.vantage.http01_probe import FetchOptions, Http01Probe
from certagent.vantage.rehearsal_limits import RehearsalLimits, is_on_the_network
from tests.fakes.nameserver import nameserver, reply
from tests.vantage.test_hostile import Responder

NAME = "fickle.internal.thinkheads.ai"
TOKEN = "t" * 43


@pytest.fixture
async def responder() -> AsyncIterator[Responder]:
    """Two servers: what the name serves, and what only this node may reach."""
    async with AsyncExitStack() as stack:
        yield Responder(stack)


@pytest.mark.parametrize("later", ["127.0.0.2", "127.0.0.2 127.0.0.3", "0.0.0.0", "169.254.169.254"])  # noqa: S104
async def test_a_name_that_turns_to_this_node_between_two_hops_reaches_nothing(
    responder: Responder, later: str
) -> None:
    """It redirects to itself; the second answer of the nameserver is loopback. Nothing is sent there."""
    reached: list[bytes] = []

    async def note() -> AsyncIterator[bytes]:
        reached.append(b"reached")
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    inner = await responder.serve(note)

    async def lead_on() -> AsyncIterator[bytes]:
        yield f"HTTP/1.1 302 Found\r\nLocation: http://{NAME}:{inner}/\r\nContent-Length: 0\r\n\r\n".encode()

    port = await responder.serve(lead_on)
    asked: list[str] = []

    def rebind(query: dns.message.Message) -> list[bytes]:
        asked.append(query.question[0].name.to_text())
        return [reply(query, *("127.0.0.1",) if len(asked) == 1 else later.split())]

    async with nameserver(rebind) as server:

        async def look_up(name: str) -> Lookup:
            answer = await ask("127.0.0.1", f"{name}.", "A", timedelta(seconds=5), port=server)
            origin = Origin(source="dns", nameserver="127.0.0.1")
            found = tuple(ResolvedAddress(address=address, origin=origin) for address in answer.addresses)
            return Lookup(name=name, order=("dns",), addresses=found)

        def may_connect(address: str) -> bool:  # the first hop is on loopback only because this is a test
            return address == "127.0.0.1" or is_on_the_network(address)

        ports = frozenset({port, inner})
        limits = RehearsalLimits(allow=("*.internal.thinkheads.ai",), ports=ports, may_connect=may_connect)
        probe = Http01Probe(look_up, limits, Dialer(may_connect), timedelta(seconds=10))
        request = RehearsalRequest(identifier=NAME, token=TOKEN, digest=digest_for(TOKEN))
        attempts = await probe.attempts(request, await look_up(NAME), FetchOptions(port))
    assert asked == [f"{NAME}."] * 2
    assert reached == []
    assert attempts[-1].hops[-1].error in ("forbidden", "unresolved")
    assert judge(attempts)[0] is not RehearsalOutcome.PASSED
