"""A real agent as a process of its own, without certificates, beside a real collector."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.collector.process import PATIENCE, Collector

PROGRAM = "import sys; from pathlib import Path; from certagent.agent.app import main; main(Path(sys.argv[1]))"


class Agent:
    """One agent's configuration and process; its journal is the file `log`."""

    def __init__(self, folder: Path, collector: Collector, *, name: str = "lxc102", policy: str = "", more: str = ""):
        self.folder = folder
        folder.mkdir()
        collector.authority.write_root(folder / "root.crt")
        (folder / "token").write_text(collector.tokens[name])
        (folder / "token").chmod(0o600)
        (folder / "policy.toml").write_text(policy)
        self.configuration = folder / "agent.toml"
        self.configuration.write_text(
            f'[agent]\nname = "{name}"\nstate = "{folder}/state"\nsocket = "{folder}/agent.sock"\n'
            f'policy = "{folder}/policy.toml"\n'
            f'[authority]\ndirectory = "https://127.0.0.1:1/acme/directory"\nroot = "{folder}/root.crt"\n'
            f'[collector]\nurl = "https://127.0.0.1:{collector.port}"\ntoken_file = "{folder}/token"\n{more}'
        )
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """The process; its door may not be open yet."""
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, str(self.configuration), stdout=log, stderr=log, env=os.environ
            )

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """Until it has ended by the signal."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            async with asyncio.timeout(PATIENCE):
                await self.process.wait()

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text()

    async def ask(self, command: str) -> tuple[int, Any]:
        """(exit status, document) of a command; no document while it does not run."""
        words = (sys.executable, "-m", "certagent.entry", command, "--config", str(self.configuration), "--json")
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return process.returncode or 0, json.loads(output) if output else None


@asynccontextmanager
async def running_agent(folder: Path, collector: Collector, **more: Any) -> AsyncIterator[Agent]:
    """An agent, ended with the block."""
    agent = Agent(folder, collector, **more)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop(signal.SIGKILL)
