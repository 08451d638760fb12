"""The agent's unix socket: what `check`, `renew` and their like talk to. Root's alone (0600); decides nothing.

A connection is one question and its answer, each a line of JSON: `{"ask": "check", "identifiers": [...]}`. A wrong
question gets `{"error": sentence}`; where answering failed, the connection ends, and the journal has the reason.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from certagent.domain.findings import Finding, Verdict
from certagent.domain.policy import Judgement

LONGEST_QUESTION = 1024 * 1024
"""Bytes."""
_ASKING_SECONDS = 10.0

_log = logging.getLogger(__name__)


class AgentApi(Protocol):
    """What the door leads to."""

    def unknown(self, *, identifiers: Sequence[str] = (), names: Sequence[str] = ()) -> str | None:
        """A sentence about the first identifier that is not this node's, or certificate that is not its to renew, else
        None."""
        ...

    async def check(self, identifiers: Sequence[str]) -> list[Judgement]:
        """Preflight; all identifiers of this node when none is given."""
        ...

    async def renew_named(self, names: Sequence[str], *, force: bool) -> list[dict[str, Any]]:
        """Renew; all certificates of this node when none is given."""
        ...

    async def revoke(self, name: str, reason: int) -> dict[str, Any]:
        """Have the CA revoke it, and renew it."""
        ...

    async def account(self) -> dict[str, Any]:
        """The document of `certagent account`."""
        ...

    async def findings(self) -> Sequence[Finding]:
        """About this node itself."""
        ...

    async def status(self) -> dict[str, Any]:
        """The document of `certagent status`."""
        ...


class _Check(msgspec.Struct, frozen=True, tag_field="ask", tag="check"):
    identifiers: tuple[str, ...]


class _Renew(msgspec.Struct, frozen=True, tag_field="ask", tag="renew"):
    names: tuple[str, ...]
    force: bool


class _Revoke(msgspec.Struct, frozen=True, tag_field="ask", tag="revoke"):
    name: str
    reason: Annotated[int, msgspec.Meta(ge=0, le=10)]


class _Status(msgspec.Struct, frozen=True, tag_field="ask", tag="status"):
    pass


class _Account(msgspec.Struct, frozen=True, tag_field="ask", tag="account"):
    pass


_Question = _Check | _Renew | _Revoke | _Status | _Account
_decoder: msgspec.json.Decoder[_Question] = msgspec.json.Decoder(_Question)


@asynccontextmanager
async def serve(path: Path, inside: AgentApi) -> AsyncIterator[None]:
    """Serve on the socket; gone at the end, if it is still this one. A socket that a killed agent left behind is
    replaced."""
    visits: set[asyncio.Task[None]] = set()

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio calls this as one
        visits.add(task)
        task.add_done_callback(visits.discard)
        with closing(writer):
            try:
                writer.write(await _answer(reader, inside))
            except Exception:  # whatever it is: the agent goes on, and who asked sees that no answer comes
                _log.exception("a question at the socket could not be answered")
            with suppress(ConnectionError):
                await writer.drain()

    await asyncio.to_thread(_make_way, path)
    mask = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(visit, path, limit=LONGEST_QUESTION)
    finally:
        os.umask(mask)
    ours = _identity(path)
    try:
        yield
    finally:
        server.close()
        for one in visits:
            one.cancel()
        if _identity(path) == ours:
            await asyncio.to_thread(path.unlink, missing_ok=True)


def worst_verdict(judgements: Sequence[Judgement]) -> Verdict:
    """Block over warn over proceed."""
    verdicts = {judgement.verdict for judgement in judgements}
    return next((one for one in (Verdict.BLOCK, Verdict.WARN) if one in verdicts), Verdict.PROCEED)


def _make_way(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has that path; None when there is none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


async def _answer(reader: asyncio.StreamReader, inside: AgentApi) -> bytes:
    """A line; nothing for who asks nothing."""
    try:
        async with asyncio.timeout(_ASKING_SECONDS):
            question = _read(await reader.readline())
    except (TimeoutError, ConnectionError):
        return b""
    except ValueError as error:
        mistake: str | None = str(error)
    else:
        mistake = _mistake(question, inside)
    document = await _look_inside(question, inside) if mistake is None else {"error": mistake}
    return msgspec.json.encode(document) + b"\n"


def _read(line: bytes) -> _Question:
    """Raises ValueError with a sentence, as the reader does for a line that is too long."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _mistake(question: _Question, inside: AgentApi) -> str | None:
    match question:
        case _Check():
            return inside.unknown(identifiers=question.identifiers)
        case _Renew():
            return inside.unknown(names=question.names)
        case _Revoke():
            return inside.unknown(names=[question.name])
    return None


async def _look_inside(question: _Question, inside: AgentApi) -> object:
    match question:
        case _Check():
            judgements = await inside.check(question.identifiers)
            verdict, findings = worst_verdict(judgements), await inside.findings()
            return {"verdict": verdict, "identifiers": judgements, "findings": findings}
        case _Renew():
            return {"certificates": await inside.renew_named(question.names, force=question.force)}
        case _Revoke():
            return await inside.revoke(question.name, question.reason)
        case _Status():
            return await inside.status()
        case _Account():
            return await inside.account()
