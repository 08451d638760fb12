"""A real collector in a process of its own, on loopback, and clients that talk to it over TLS."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from certagent.collector.credentials import add_token
from certagent.collector.records import TokenRole
from certagent.domain.reports import Report
from tests.certificates import Authority
from tests.collector.cast import Cast, now
from tests.ports import free_port
from tests.warm import WarmProcess, warm_certagent

PROGRAM = (
    "import sys; from pathlib import Path; from certagent.commands.collector import run_collector;"
    " run_collector(Path(sys.argv[1]))"
)
ROLES = {
    "lxc101": TokenRole.AGENT,
    "lxc102": TokenRole.AGENT,
    "lxc103": TokenRole.AUTHORITY,
    "ops": TokenRole.OPERATOR,
}
PATIENCE = 15.0


async def eventually(condition: Callable[[], Awaitable[Any]], *, within: float = PATIENCE) -> Any:
    """The condition's first true value. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not (value := await condition()):
            await asyncio.sleep(0.02)
        return value


class Collector:
    """One collector's configuration, process and tokens. `is_warm`: the process is forked, see `tests.warm`."""

    def __init__(
        self,
        folder: Path,
        webhook: str | None = None,
        *,
        top: str = "",
        more: str = "",
        store: str | None = None,
        is_warm: bool = False,
        name: str | None = None,
        server: str = "",
        authority: Authority | None = None,
    ) -> None:
        self.folder = folder
        self.is_warm = is_warm
        self.port = free_port()
        self.authority = authority or Authority()
        self.served_names: tuple[str, ...] = ("collector.test", "127.0.0.1")
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.store = store or f"sqlite:///{folder}/state/collector.db"
        self.cast = Cast()
        self.tokens = {name: add_token(self.store, name, role, now()) for name, role in ROLES.items()}
        self.process: asyncio.subprocess.Process | WarmProcess | None = None
        channel = f'[[channel]]\nname = "hook"\nkind = "webhook"\nurl = "{webhook}"\n' if webhook else ""
        named = f'name = "{name}"\n' if name else ""
        (folder / "collector.toml").write_text(
            f'url = "https://collector.test:{self.port}"\n{top}[server]\nlisten = "127.0.0.1:{self.port}"\n'
            f'certificate = "{self.certificate}"\nkey = "{self.key}"\n{named}{server}'
            f'[store]\nurl = "{self.store}"\n{channel}{more}'
        )

    def promote(self, *names: str) -> str:
        """A new pair on disk, the key first; answers its fingerprint."""
        pair = self.authority.issue(*(names or self.served_names))
        for path, content in ((self.key, pair.key_pem), (self.certificate, pair.chain_pem)):
            path.with_suffix(".new").write_bytes(content)
            path.with_suffix(".new").rename(path)
        from cryptography.hazmat.primitives import hashes

        return pair.certificate.fingerprint(hashes.SHA256()).hex()

    async def start(self, **environment: str) -> None:
        """The process; it may not listen yet."""
        with (self.folder / "log").open("ab") as log:
            configuration, environment = self.folder / "collector.toml", os.environ | environment
            if self.is_warm:
                self.process = warm_certagent().start(
                    "collector",
                    "--config",
                    str(configuration),
                    output=log.fileno(),
                    errors=log.fileno(),
                    environment=environment,
                )
            else:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", PROGRAM, str(configuration), stdout=log, stderr=log, env=environment
                )

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status, once it has ended by the signal."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text()

    def trust(self) -> ssl.SSLContext:
        """Verifies the collector's certificate."""
        return ssl.create_default_context(cadata=self.authority.root_pem.decode())

    @asynccontextmanager
    async def session(self, name: str | None) -> AsyncIterator[aiohttp.ClientSession]:
        """A client with that name's token."""
        headers = {"Authorization": f"Bearer {self.tokens[name]}"} if name else {}
        connector = aiohttp.TCPConnector(ssl=self.trust())
        async with aiohttp.ClientSession(
            f"https://127.0.0.1:{self.port}", headers=headers, connector=connector
        ) as session:
            yield session

    async def get(self, path: str, name: str | None = "ops", **options: Any) -> tuple[int, Any]:
        """(status, document)."""
        async with self.session(name) as session, session.get(path, **options) as response:
            return response.status, await response.json(content_type=None)

    async def post(self, path: str, body: Any, name: str | None, **options: Any) -> tuple[int, Any]:
        """(status, document); the body is JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        async with self.session(name) as session, session.post(path, data=data, **options) as response:
            return response.status, await response.json(content_type=None)

    async def report(self, *reports: Report) -> dict[str, int]:
        """Post one agent's reports, which must be taken."""
        status, answer = await self.post("/v1/reports", list(reports), reports[0].agent)
        assert status == 200, answer
        return dict(answer)

    async def introduce(self) -> None:
        """Every node's inventory."""
        for report in self.cast.inventories():
            await self.report(report)

    async def incidents(self, *states: str) -> list[dict[str, Any]]:
        """As an operator sees them."""
        _, page = await self.get("/v1/incidents", params=[("state", state) for state in states])
        return list(page["items"])

    async def is_up(self) -> bool:
        """Whether it answers."""
        try:
            async with self.session(None) as session, session.get("/healthz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def running(folder: Path, webhook: str | None = None, **more: Any) -> AsyncIterator[Collector]:
    """A collector that serves; ended with the block. `top`, `server` and `more` are added to its configuration."""
    async with serving(Collector(folder, webhook, **more)) as collector:
        yield collector


@asynccontextmanager
async def serving(collector: Collector) -> AsyncIterator[Collector]:
    """Up within the block."""
    collector.promote()
    await collector.start()
    try:
        await eventually(collector.is_up)
        yield collector
    finally:
        await collector.stop(signal.SIGKILL)
