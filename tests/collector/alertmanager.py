"""A real Alertmanager, Debian's, on loopback."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.collector.process import PATIENCE, eventually
from tests.ports import free_port

PROGRAM = "prometheus-alertmanager"
_CONFIGURATION = """
route: {receiver: hook, group_wait: 50ms, group_interval: 100ms, repeat_interval: 1h, group_by: [alertname]}
receivers: [{name: hook, webhook_configs: [{url: "%s", send_resolved: true}]}]
"""


class Alertmanager:
    """Where it is, and what it holds."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    async def alerts(self) -> list[dict[str, Any]]:
        """Those that are active, by its own API."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/api/v2/alerts") as response:
            return list(await response.json())

    async def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def running_alertmanager(
    folder: Path, receiver: str = "http://127.0.0.1:9/", port: int | None = None
) -> AsyncIterator[Alertmanager]:
    """Up within the block, passing alerts on to `receiver`. What is missing is an error: `deploy/setup --tests`."""
    assert shutil.which(PROGRAM), f"no {PROGRAM}: deploy/setup --tests installs Debian's"
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    (folder / "alertmanager.yml").write_text(_CONFIGURATION % receiver)
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            stdout=log,
            stderr=log,
        )
    alertmanager = Alertmanager(port)
    try:
        await eventually(alertmanager.is_ready)
        yield alertmanager
    finally:
        process.terminate()
        async with asyncio.timeout(PATIENCE):
            await process.wait()
