"""A CA's node in namespaces of its own: real files, real nameserver, real sockets. Not a test: run by one.

    unshare -m -n python -m tests.vantage.stage

Plays the founding failure and what must stay silent beside it, and prints one JSON document of what was seen.
"""

import asyncio
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import msgspec

from certagent.config import AgentSection, AgentSettings, AuthoritySection, DnsSection, VantageSection
from certagent.domain.rehearsals import REHEARSAL_MARK, Rehearsal, RehearsalRequest, body_for
from certagent.system.clock import SystemClock
from certagent.vantage.authority_vantage import AuthorityVantage
from certagent.vantage.node_vantage import NodeVantage
from tests.fakes.nameserver import nameserver, reply

NAME = "traefik.internal.thinkheads.ai"
CA_NAME = "ca.internal.thinkheads.ai"
TOKEN, SECRET = REHEARSAL_MARK + "t" * 43, "s" * 43
RECORDS = {NAME + ".": "10.0.0.12", CA_NAME + ".": "10.0.0.10"}
HOSTS = f"127.0.0.1 localhost\n127.0.0.1 {CA_NAME}\n"
POISON = f"10.0.0.153\t{NAME}\n"
REHEARSALS = 20

_COMMANDS = (
    "ip link set lo up",
    *(f"ip address add {address}/32 dev lo" for address in ("10.0.0.10", "10.0.0.12", "10.0.0.153")),
    "mount -t tmpfs none /etc",
)


def main() -> None:
    """Set the stage, play, print."""
    for command in _COMMANDS:
        subprocess.run(command.split(), check=True)
    _write(HOSTS)
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "step-ca"
        shutil.copy("/bin/sleep", program)
        with subprocess.Popen([str(program), "600"]) as ca:
            try:
                json.dump(asyncio.run(_play()), sys.stdout, default=str)
            finally:
                ca.kill()


async def _play() -> dict[str, Any]:
    settings = AgentSettings(
        agent=AgentSection(name="lxc103"),
        authority=AuthoritySection(directory=f"https://{CA_NAME}:9000/acme/acme/directory"),
        dns=DnsSection(nameservers=("127.0.0.1",), zones=("internal.thinkheads.ai",)),
    )
    vantage = AuthorityVantage(settings, VantageSection(allow=("*.internal.thinkheads.ai",)), SystemClock())
    seen: dict[str, Any] = {}
    async with _nameserver(), _server("10.0.0.12", _good), _server("10.0.0.153", _not_found):
        seen["healthy"] = _shown(await _rehearse(vantage))
        _write(HOSTS + POISON)
        seen["poisoned"] = _shown(await _rehearse(vantage))
        observed = await vantage.inspect_files()
        seen["observed"] = msgspec.to_builtins(observed.resolutions)
        seen["own"] = [observed.own_addresses, observed.own_names]
        Path("/etc/nsswitch.conf").write_text("hosts: dns files\n")
        seen["dns_first"] = _shown(await _rehearse(vantage))
        Path("/etc/nsswitch.conf").unlink()
        _write(HOSTS)
        seen["mended"] = _shown(await _rehearse(vantage))
        seen["after"] = [one.name for one in (await vantage.inspect_files(observed.snapshot)).resolutions]
        seen["listeners"] = msgspec.to_builtins(NodeVantage().listeners())
        _write(HOSTS + f"127.0.1.1 {NAME}\n")
        seen["loopback"] = _shown(await _rehearse(vantage))
        seen["milliseconds"] = await _measure(vantage)
    return seen


def _write(text: str) -> None:
    Path("/etc/hosts").write_text(text)


async def _rehearse(vantage: AuthorityVantage) -> Rehearsal:
    digest = hashlib.sha256(body_for(TOKEN, SECRET).encode()).hexdigest()
    return await vantage.rehearse(RehearsalRequest(identifier=NAME, token=TOKEN, digest=digest))


def _shown(rehearsal: Rehearsal) -> Any:
    return msgspec.to_builtins(rehearsal)


async def _measure(vantage: AuthorityVantage) -> float:
    """The median of some rehearsals, in milliseconds."""
    _write(HOSTS)
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(REHEARSALS):
        began_at = loop.time()
        await _rehearse(vantage)
        took.append((loop.time() - began_at) * 1000)
    return statistics.median(took)


def _good(_request: bytes) -> bytes:
    body = body_for(TOKEN, SECRET)
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _not_found(_request: bytes) -> bytes:
    return b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def _server(address: str, answer: Callable[[bytes], bytes]) -> AsyncIterator[None]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await reader.read(65536)))
        writer.close()

    server = await asyncio.start_server(talk, address, 80)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


def _of_the_fleet(query: dns.message.Message) -> list[bytes]:
    """A for the names of the fleet, NXDOMAIN for their AAAA and everything else, as dnsmasq's address= does."""
    name = query.question[0].name.to_text()
    if query.question[0].rdtype == dns.rdatatype.A and name in RECORDS:
        return [reply(query, RECORDS[name])]
    return [reply(query, rcode=dns.rcode.NXDOMAIN)]


def _nameserver() -> AbstractAsyncContextManager[int]:
    return nameserver(_of_the_fleet, port=53)


if __name__ == "__main__":
    main()
