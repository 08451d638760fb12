"""The agent's unix socket: what `check`, `renew` and the like talk to. Root's alone (0600); decides nothing.

A connection is one question and its answer, each a line of JSON: `{"ask": "check", "identifiers": [...]}`. A wrong
question gets `{"error": sentence}`; where answering failed, the connection ends, and the journal has the reason.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec

from certagent.agent.ca_health import CaHealth, find_other_ca
from certagent.agent.collector_health import CollectorHealth
from certagent.agent.context import AgentContext
from certagent.agent.inventory import InventoryReporter
from certagent.agent.lifecycle import Lifecycle
from certagent.agent.orders import OrderPlacer
from certagent.agent.pinned_roots import find_missing_roots
from certagent.domain.diagnosis.collector_health import works_alone
from certagent.domain.findings import Finding, Verdict
from certagent.domain.policy import judge, worst_first
from certagent.system.file_content import PRIVATE_FOLDER
from certagent.system.folders import Folder
from certagent.system.path_walk import make_folders, open_folder
from certagent.system.pinned_http import PinnedClient

LONGEST_QUESTION = 1024 * 1024
"""Bytes."""
_QUESTION_SECONDS = 10.0

_log = logging.getLogger(__name__)


class AgentApi:
    """What the commands may ask of the running agent, and the documents that they get."""

    def __init__(
        self,
        context: AgentContext,
        lifecycle: Lifecycle,
        orders: OrderPlacer,
        inventory: InventoryReporter,
        collector_health: CollectorHealth | None = None,
        ca_health: CaHealth | None = None,
        collector: PinnedClient | None = None,
    ) -> None:
        self._context = context
        self._certificates = {section.name: section for section in context.settings.certificate}
        self._lifecycle = lifecycle
        self._orders = orders
        self._inventory = inventory
        self._collector_health = collector_health
        self._ca_health = ca_health
        self._collector = collector

    def unknown(self, *, identifiers: Sequence[str] = (), names: Sequence[str] = ()) -> str | None:
        """A sentence about the first identifier that is not configured here, or certificate that is not renewed here;
        None if there is none."""
        sections = self._certificates.values()
        configured = list(dict.fromkeys(name for section in sections for name in section.identifiers))
        for identifier in identifiers:
            if identifier not in configured:
                return f"{identifier} is not configured on this node, which has: {', '.join(configured)}"
        for name in names:
            if name not in self._certificates:
                return f"{name} is not configured on this node, which has: {', '.join(self._certificates)}"
            if not self._certificates[name].manage:
                return f"{name} is not renewed by certagent (manage = false)"
        return None

    async def check(self, identifiers: Sequence[str]) -> dict[str, Any]:
        """The document of `certagent check`: preflight now; of all identifiers of this node when none is given. Beside
        the CA also whether that can be used at all."""
        judgements = await self._lifecycle.check(identifiers)
        of_ca = await self._ca_health.findings() if self._ca_health is not None else []
        said = {finding.code for judgement in judgements for finding in judgement.findings}
        missing, other_ca = await asyncio.gather(
            find_missing_roots(self._context, self._collector), find_other_ca(self._context)
        )
        vantage = self._context.settings.vantage
        return {
            "allow": vantage.allow if vantage is not None else (),
            "verdict": worst_verdict([*(one.verdict for one in judgements), judge(of_ca, None)]),
            "identifiers": judgements,
            "findings": worst_first(
                [
                    *(finding for finding in of_ca if finding.code not in said),
                    *missing,
                    *other_ca,
                    *await self._collector_findings(),
                    *self._what_one_sees_alone(),
                ]
            ),
        }

    async def renew(self, names: Sequence[str], *, force: bool) -> dict[str, Any]:
        """The document of `certagent renew`; all certificates of this node when none is given."""
        renewed = await self._lifecycle.renew_requested(names, force=force)
        return {"certificates": msgspec.to_builtins(renewed)}

    async def revoke(self, name: str, reason: int) -> dict[str, Any]:
        """The document of `certagent revoke`: have the CA revoke what is served, then renew it, for it is due now."""
        async with self._lifecycle.exclusive(name):
            revoked, problem = await self._orders.revoke(name, reason)
            if revoked is not None:
                self._lifecycle.make_due(name)
        renewed = await self._lifecycle.renew_requested([name], force=False) if revoked is not None else [None]
        return {"name": name, "revoked": revoked, "problem": problem, "renewed": msgspec.to_builtins(renewed[0])}

    async def account(self) -> dict[str, Any]:
        """The document of `certagent account`."""
        return await self._orders.account()

    async def status(self) -> dict[str, Any]:
        """The document of `certagent status`."""
        certificates, findings = await self._inventory.states()
        return {
            "agent": self._context.node,
            "at": self._context.clock.now(),
            "certificates": certificates,
            "reports_waiting": self._context.reporter.waiting(),
            "findings": worst_first([*findings, *await self._collector_findings()]),
        }

    async def _collector_findings(self) -> list[Finding]:
        """About the connection to the collector, whatever becomes of the certificates."""
        return await asyncio.to_thread(self._collector_health.findings) if self._collector_health is not None else []

    def _what_one_sees_alone(self) -> list[Finding]:
        if self._context.settings.collector is not None:
            return []
        finding = works_alone(self._context.node, is_beside_ca=self._ca_health is not None)
        return [self._context.policy.grade(finding)]


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
async def serve(path: Path, api: AgentApi) -> AsyncIterator[None]:
    """Serve on the socket; removed at the end, if it is still this one. What a killed agent left behind is replaced."""
    connections: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio calls this as one
        connections.add(task)
        task.add_done_callback(connections.discard)
        with closing(writer):
            try:
                writer.write(await _answer(reader, api))
            except Exception:  # whatever it is: the agent goes on, and the command sees that no answer comes
                _log.exception("a request on the control socket failed")
            with suppress(ConnectionError):
                await writer.drain()

    with await asyncio.to_thread(_clear, path) as folder:
        place = f"/proc/self/fd/{folder.descriptor}/{path.name}"  # in this folder, wherever its path leads by now
        mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(answer, place, limit=LONGEST_QUESTION)
        finally:
            os.umask(mask)
        own_identity = _identity(folder, path.name)
        try:
            yield
        finally:
            server.close()
            for connection in connections:
                connection.cancel()
            if own_identity is not None and _identity(folder, path.name) == own_identity:
                await asyncio.to_thread(folder.remove, path.name)


def worst_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """Block over warn over proceed."""
    return next((verdict for verdict in (Verdict.BLOCK, Verdict.WARN) if verdict in verdicts), Verdict.PROCEED)


def _clear(path: Path) -> Folder:
    """The folder of the socket, without the one that a killed agent left."""
    make_folders(path.parent, PRIVATE_FOLDER)
    folder = open_folder(path.parent)
    with suppress(FileNotFoundError):
        folder.remove(path.name)
    return folder


def _identity(folder: Folder, name: str) -> tuple[int, int] | None:
    """Which file has that name; None when there is none."""
    try:
        status = folder.status(name)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


async def _answer(reader: asyncio.StreamReader, api: AgentApi) -> bytes:
    """A line; empty when nothing was asked."""
    try:
        async with asyncio.timeout(_QUESTION_SECONDS):
            question = _read(await reader.readline())
    except (TimeoutError, ConnectionError):
        return b""
    except ValueError as error:
        mistake: str | None = str(error)
    else:
        mistake = _mistake(question, api)
    document = await _document(question, api) if mistake is None else {"error": mistake}
    return msgspec.json.encode(document) + b"\n"


def _read(line: bytes) -> _Question:
    """Raises ValueError with a sentence, as the reader does for a line that is too long."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _mistake(question: _Question, api: AgentApi) -> str | None:
    match question:
        case _Check():
            return api.unknown(identifiers=question.identifiers)
        case _Renew():
            return api.unknown(names=question.names)
        case _Revoke():
            return api.unknown(names=[question.name])
    return None


async def _document(question: _Question, api: AgentApi) -> object:
    match question:
        case _Check():
            return await api.check(question.identifiers)
        case _Renew():
            return await api.renew(question.names, force=question.force)
        case _Revoke():
            return await api.revoke(question.name, question.reason)
        case _Status():
            return await api.status()
        case _Account():
            return await api.account()
