"""The agent's own socket: garbage is refused in a sentence, half a question keeps nobody waiting."""

import asyncio
import json
import logging
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from certagent.agent.control_socket import LONGEST_QUESTION, AgentApi, serve
from certagent.config import CertificateSection, ListenerSolver
from certagent.system.control_client import NoAnswerError, ask_agent
from tests.agent.context import make_context


class _Api(AgentApi):
    """Knows one identifier and one certificate."""

    def __init__(self) -> None:
        pass

    def unknown(self, *, identifiers: Sequence[str] = (), names: Sequence[str] = ()) -> str | None:
        return next((f"{name} is unknown" for name in (*identifiers, *names) if name != "known"), None)

    async def check(self, identifiers: Sequence[str]) -> dict[str, Any]:
        return {"verdict": "proceed", "identifiers": [], "findings": []}

    async def renew(self, names: Sequence[str], *, force: bool) -> dict[str, Any]:
        return {"certificates": [{"name": name, "force": force} for name in names]}

    async def revoke(self, name: str, reason: int) -> dict[str, Any]:
        return {"name": name, "reason": reason}

    async def account(self) -> dict[str, Any]:
        return {"url": None}

    async def status(self) -> dict[str, Any]:
        return {"agent": "lxc102"}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Path]:
    """An open one."""
    path = tmp_path / "agent.sock"
    async with serve(path, _Api()):
        yield path


async def _ask(path: Path, question: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(str(path))
    async with asyncio.timeout(10):
        writer.write(question + b"\n")
        answer = await reader.readline()
        writer.close()
    return json.loads(answer)


async def test_it_is_its_owners_alone(door: Path) -> None:
    """Nobody else may even connect."""
    assert stat.S_IMODE(door.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "question",
    [b"", b"{", b"[]", b"null", b"7", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"ask": 7}', b'{"ask": "shutdown"}',
     b'{"ask": "check"}', b'{"ask": "check", "identifiers": 7}', b'{"ask": "check", "identifiers": [{}]}',
     b'{"ask": "renew", "names": ["known"], "force": "yes"}', b'{"ask": "revoke", "name": "known", "reason": 99}',
     b"GET /status HTTP/1.1", b'{"ask": "check", "identifiers": ["other"]}',
     b'{"ask": "renew", "names": ["other"], "force": true}', b'{"ask": "revoke", "name": "other", "reason": 0}',
     b'{"ask": "status", "x": "' + b"y" * LONGEST_QUESTION + b'"}'],
)  # fmt: skip
async def test_what_cannot_be_answered_is_refused(
    door: Path, question: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """With a sentence, and without a traceback: garbage, what is unknown, what is too large."""
    with caplog.at_level(logging.ERROR):
        answer = await _ask(door, question)
    assert list(answer) == ["error"]
    assert answer["error"]
    assert not caplog.records


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (b'{"ask": "status"}', {"agent": "lxc102"}),
        (b'{"ask": "account"}', {"url": None}),
        (b'{"ask": "check", "identifiers": []}', {"verdict": "proceed", "identifiers": [], "findings": []}),
        (b'{"ask": "renew", "names": ["known"], "force": true}', {"certificates": [{"name": "known", "force": True}]}),
        (b'{"ask": "revoke", "name": "known", "reason": 4}', {"name": "known", "reason": 4}),
    ],
)
async def test_what_is_asked_is_answered(door: Path, question: bytes, answer: dict[str, Any]) -> None:
    """One line for one line."""
    assert await _ask(door, question) == answer


async def test_half_a_question_keeps_nobody_waiting(door: Path) -> None:
    """200 of them; nor does somebody who is gone before the answer."""
    halves = [await asyncio.open_unix_connection(str(door)) for _ in range(200)]
    for number, (_, writer) in enumerate(halves):
        writer.write(b'{"ask": "sta' if number % 2 else b'{"ask": "status"}\n')
        if number % 4 == 0:
            writer.transport.abort()
    assert await _ask(door, b'{"ask": "status"}') == {"agent": "lxc102"}
    for _, writer in halves:
        writer.transport.abort()


async def test_what_fails_is_told_apart_from_no_agent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The journal has the reason, the agent goes on; and once it is gone, so is its socket."""

    class Failing(_Api):
        async def status(self) -> dict[str, Any]:
            raise LookupError("a defect")

    path = tmp_path / "agent.sock"
    async with serve(path, Failing()):
        with pytest.raises(NoAnswerError, match="journalctl"):
            await asyncio.to_thread(ask_agent, path, "status")
        assert await asyncio.to_thread(ask_agent, path, "account") == {"url": None}
    assert "a defect" in caplog.text
    with pytest.raises(NoAnswerError, match="not running"):
        await asyncio.to_thread(ask_agent, path, "status")


async def test_only_its_own_socket_goes_with_it(tmp_path: Path) -> None:
    """What another one has put there meanwhile stays."""
    path = tmp_path / "agent.sock"
    async with serve(path, _Api()):
        path.unlink()
        path.touch()
    assert path.exists()


def test_who_may_not_ask_is_told(tmp_path: Path) -> None:
    """In a sentence, as anything else that the kernel may say of a socket."""
    with pytest.raises(NoAnswerError, match=r"cannot be reached on .*: AF_UNIX path too long"):
        ask_agent(tmp_path / ("x" * 200), "status")


def test_what_somebody_else_renews_is_not_renewed_or_revoked_here(tmp_path: Path) -> None:
    """Named by a person, it is refused in a sentence; its identifiers can be checked all the same."""
    solver = ListenerSolver(listen="127.0.0.1:5002")
    ours = CertificateSection(name="web", identifiers=("web.internal",), solver=solver)
    foreign = CertificateSection(name="old", identifiers=("old.internal",), manage=False)
    unused: Any = None
    api = AgentApi(make_context(tmp_path, ours, foreign), unused, unused, unused)
    assert api.unknown(names=["web"]) is None
    assert api.unknown(names=["web", "old"]) == "old is not renewed by certagent (manage = false)"
    assert api.unknown(identifiers=["old.internal"]) is None
    assert "nothing is not configured on this node, which has: web, old" in (api.unknown(names=["nothing"]) or "")
