"""Agents of a crowd in a process of its own: each its token, its TLS channel and its posts. Tells what it saw as JSON.

    python -m tests.collector.crowd CONFIGURATION    {"url", "ca", "tokens": {name: token}}

It opens all channels and hands in all inventories, says so on standard output, waits for a line on standard input, and
then every agent reports at once that its own name is led astray by the same file beside the CA.
"""

import asyncio
import gc
import json
import re
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import msgspec
import uvloop

from tests.collector.cast import Agent, certificate
from tests.evidence import shadow

AT_ONCE = 25  # handshakes of each process
ZONE = "fleet.internal"


class Member:
    """One agent of the crowd. It posts by a few lines of its own, each time over a new connection: five thousand of a
    library's clients in one process would take longer than the collector that is measured."""

    def __init__(self, name: str, token: str, url: str, context: ssl.SSLContext) -> None:
        self.agent, self.identifier = Agent(name), f"{name}.{ZONE}"
        self.put_off = 0
        self._token = token
        self._url = url
        self._accusation = msgspec.json.encode(
            [self.agent.preflight(shadow(self.identifier), identifier=self.identifier)]
        )
        self._context = context
        self._channel: aiohttp.ClientWebSocketResponse | None = None
        self._listening: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def join(self, session: aiohttp.ClientSession, gate: asyncio.Semaphore) -> None:
        """Open the channel, hand in the inventory."""
        async with gate:
            headers = {"Authorization": f"Bearer {self._token}"}
            self._channel = await session.ws_connect("/v1/channel", headers=headers)
            self._listening = asyncio.create_task(self._listen(self._channel), name=self.agent.name)
            number = int(self.agent.name.removeprefix("n"))
            address = f"10.{1 + number // 65536}.{number // 256 % 256}.{number % 256}"
            inventory = self.agent.inventory(address, "web", certificate("site", self.identifier))
            await self.post(msgspec.json.encode([inventory]))

    async def accuse(self) -> float:
        """Report the culprit; answers how long that took, in seconds."""
        begun = time.perf_counter()
        await self.post(self._accusation)
        return time.perf_counter() - begun

    async def post(self, body: bytes) -> None:
        """Which must be taken; told to come again later, it does."""
        while True:
            head = await self._post_once(body)
            status = int(head.split(maxsplit=2)[1])
            if status == 200:
                return
            assert status == 429, head
            self.put_off += 1
            await asyncio.sleep(float(re.search(r"(?im)^retry-after: (\S+)", head)[1]))  # type: ignore[index]

    async def _post_once(self, body: bytes) -> str:
        """The answer's head. The connection stays open as an agent's does: until the collector ends it."""
        place = urlsplit(self._url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port, ssl=self._context)
        head = (
            f"POST /v1/reports HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        task = asyncio.create_task(_until_closed(reader, writer), name=f"{self.agent.name} waits for its end")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return answer.decode()

    async def _listen(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        """Answer the pings; whatever is asked is left alone."""
        async for _ in channel:
            pass

    async def leave(self) -> None:
        """Close everything."""
        if self._channel is not None:
            await self._channel.close()


async def _until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def main(path: Path) -> None:
    """Read who they are, and live."""
    asked = json.loads(path.read_text())
    context = ssl.create_default_context(cadata=asked["ca"])
    members = [Member(name, token, asked["url"], context) for name, token in asked["tokens"].items()]
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(asked["url"], connector=connector) as session:
        await live(members, session)


async def live(members: list[Member], session: aiohttp.ClientSession) -> None:
    """Join, accuse when told to, leave when told to."""
    gate, begun = asyncio.Semaphore(AT_ONCE), time.perf_counter()
    await asyncio.gather(*(member.join(session, gate) for member in members))
    print(json.dumps({"joined": time.perf_counter() - begun, "put_off": sum(m.put_off for m in members)}), flush=True)
    gc.freeze()  # looking through all members again is no part of what an agent does
    await asyncio.to_thread(sys.stdin.readline)
    begun = time.perf_counter()
    took = sorted(await asyncio.gather(*(member.accuse() for member in members)))
    print(
        json.dumps(
            {"accused": time.perf_counter() - begun, "longest": took[-1], "put_off": sum(m.put_off for m in members)}
        ),
        flush=True,
    )
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(member.leave() for member in members))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
