"""A real agent in a tree: it watches one certificate, reports to a collector that is not there, and answers."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from certagent.domain.reports import Report
from certagent.system.control_client import NoAnswerError, ask_agent
from tests.certificates import Authority
from tests.field.tree import Tree

PATIENCE = 60.0
PROGRAM = "import sys; from pathlib import Path; from certagent.agent.app import main; main(Path(sys.argv[1]))"
CONFIGURATION = """[agent]
name = "lxc102"
state = "/etc/certagent/state"
socket = "/etc/certagent/agent.sock"
policy = "/etc/certagent/policy.toml"
[authority]
directory = "https://127.0.0.1:1/acme/directory"
root = "/etc/certagent/root.crt"
[collector]
url = "https://127.0.0.1:1"
token_file = "/etc/certagent/token"
[[certificate]]
name = "traefik"
identifiers = ["wiki.home.test"]
manage = false
[[certificate.deploy]]
kind = "traefik"
dynamic = "/etc/traefik/dynamic"
prove = ["127.0.0.1:443"]
"""
POLICY = '[proof]\nlook_every = "100ms"\n'


class TreeAgent:
    """The process, and what it has reported so far."""

    def __init__(self, tree: Tree, log: Path) -> None:
        self._folder = tree.root / "etc/certagent"
        self._log = log
        self._folder.mkdir()
        (tree.root / "etc/traefik/dynamic").mkdir(parents=True, exist_ok=True)
        Authority().write_root(self._folder / "root.crt")
        (self._folder / "token").write_text("certagent_" + "t" * 43)
        (self._folder / "token").chmod(0o600)
        (self._folder / "policy.toml").write_text(POLICY)
        (self._folder / "agent.toml").write_text(CONFIGURATION)
        self.process = tree.start([sys.executable, "-c", PROGRAM, "/etc/certagent/agent.toml"], log)

    def status(self) -> dict[str, Any]:
        """The document of `certagent status`. Raises AssertionError with its journal when the agent has ended."""
        until = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None, self.journal()
            try:
                return self._ask("status")
            except NoAnswerError:
                assert time.monotonic() < until, self.journal()
                time.sleep(0.05)

    def unreadable(self) -> list[tuple[str, int | None]]:
        """File and line of each config.unreadable that `status` says now."""
        findings = [one for one in self.status()["findings"] if one["code"] == "config.unreadable"]
        return [(one["culprit"]["file"], one["culprit"]["line"]) for one in findings]

    def reported(self) -> list[str]:
        """What each report about the node's web servers says that cannot be read: a file, or "" where all can be."""
        folder = self._folder / "state/spool"
        reports = [msgspec.json.decode(path.read_bytes(), type=Report) for path in sorted(folder.glob("[0-9]*.json"))]
        return [
            ", ".join(
                str(finding.culprit.file)
                for finding in report.findings
                if finding.code == "config.unreadable" and finding.culprit is not None
            )
            for report in reports
            if "served:" in report.scopes
        ]

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Look again and again. Raises AssertionError when it never holds."""
        until = time.monotonic() + PATIENCE
        while not holds():
            assert self.process.poll() is None, self.journal()
            assert time.monotonic() < until, (self.reported(), self.journal())
            time.sleep(0.05)

    def journal(self) -> str:
        """What it wrote last."""
        return self._log.read_text()[-5000:]

    def _ask(self, question: str) -> dict[str, Any]:
        """Through the folder's descriptor: a socket's path has to be short."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            return ask_agent(Path(f"/proc/self/fd/{descriptor}/agent.sock"), question)
        finally:
            os.close(descriptor)


@contextmanager
def running_agent(tree: Tree, log: Path) -> Iterator[TreeAgent]:
    """An agent in the tree, ended with the block."""
    agent = TreeAgent(tree, log)
    try:
        yield agent
    finally:
        agent.process.kill()
        agent.process.wait()
