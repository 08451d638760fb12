"""A crowd of agents in a process of its own: each its token, its TLS channel and its posts. Tells what it saw as JSON.

    python -m tests.collector.crowd CONFIGURATION    {"url", "ca", "tokens": {name: token}, "accuse": name of a file}

It opens all channels and hands in all inventories, says so on standard output, waits for a line on standard input, and
then every agent reports at once that its own name is led astray by the same file beside the CA.
"""

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop

from tests.collector.cast import Agent, certificate, shadow

AT_ONCE = 200  # handshakes
ZONE = "fleet.internal"


class Member:
    """One agent of the crowd."""

    def __init__(self, name: str, token: str, url: str, context: ssl.SSLContext) -> None:
        self.agent, self.identifier = Agent(name), f"{name}.{ZONE}"
        connector = aiohttp.TCPConnector(ssl=context, limit=2)
        headers = {"Authorization": f"Bearer {token}"}
        self.session = aiohttp.ClientSession(url, headers=headers, connector=connector)
        self.channel: aiohttp.ClientWebSocketResponse | None = None
        self._listening: asyncio.Task[None] | None = None

    async def join(self, gate: asyncio.Semaphore) -> None:
        """Open the channel, hand in the inventory."""
        async with gate:
            self.channel = await self.session.ws_connect("/v1/channel")
            self._listening = asyncio.create_task(self._listen(self.channel), name=self.agent.name)
            number = int(self.agent.name.removeprefix("n"))
            address = f"10.{1 + number // 65536}.{number // 256 % 256}.{number % 256}"
            await self.post(self.agent.inventory(address, "web", certificate("site", self.identifier)))

    async def accuse(self) -> float:
        """Report the culprit; answers how long that took, in seconds."""
        report = self.agent.preflight(shadow(self.identifier), identifier=self.identifier)
        begun = time.perf_counter()
        await self.post(report)
        return time.perf_counter() - begun

    async def post(self, report: Any) -> None:
        """Which must be taken; told to come again later, it does."""
        while True:
            async with self.session.post("/v1/reports", data=msgspec.json.encode([report])) as response:
                if response.status == 200:
                    return
                assert response.status == 429, await response.text()
                await asyncio.sleep(float(response.headers["Retry-After"]))

    async def _listen(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        """Answer the pings; whatever is asked is left alone."""
        async for _ in channel:
            pass

    async def leave(self) -> None:
        """Close everything."""
        if self.channel is not None:
            await self.channel.close()
        await self.session.close()


async def main(path: Path) -> None:
    """The whole story."""
    asked = json.loads(path.read_text())
    context = ssl.create_default_context(cadata=asked["ca"])
    members = [Member(name, token, asked["url"], context) for name, token in asked["tokens"].items()]
    gate, begun = asyncio.Semaphore(AT_ONCE), time.perf_counter()
    await asyncio.gather(*(member.join(gate) for member in members))
    print(json.dumps({"joined": time.perf_counter() - begun}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    begun = time.perf_counter()
    took = sorted(await asyncio.gather(*(member.accuse() for member in members)))
    print(json.dumps({"accused": time.perf_counter() - begun, "longest": took[-1]}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(member.leave() for member in members))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
