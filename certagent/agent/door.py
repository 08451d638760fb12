"""The agent's unix socket: what `check`, `renew` and their like talk to. Root's alone (0600); decides nothing."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
from aiohttp import web

from certagent.domain.findings import Finding, Verdict
from certagent.domain.policy import Judgement


class Inside(Protocol):
    """What the door leads to."""

    def unknown(self, *, identifiers: Sequence[str] = (), names: Sequence[str] = ()) -> str | None:
        """A sentence about the first identifier or certificate that is not this node's, else None."""
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


class _ToCheck(msgspec.Struct, frozen=True):
    identifiers: tuple[str, ...]


class _ToRevoke(msgspec.Struct, frozen=True):
    name: str
    reason: Annotated[int, msgspec.Meta(ge=0, le=10)]


class _ToRenew(msgspec.Struct, frozen=True):
    names: tuple[str, ...]
    force: bool


_Asked = TypeVar("_Asked", _ToCheck, _ToRenew, _ToRevoke)


@asynccontextmanager
async def open_door(path: Path, inside: Inside) -> AsyncIterator[None]:
    """Serve on the socket; gone at the end. A socket that a killed agent left behind is replaced."""
    app = web.Application()
    app.router.add_post("/check", _checker(inside))
    app.router.add_post("/renew", _renewer(inside))
    app.router.add_post("/revoke", _revoker(inside))
    app.router.add_get("/status", _teller(inside.status))
    app.router.add_get("/account", _teller(inside.account))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await asyncio.to_thread(_make_way, path)
    mask = os.umask(0o177)
    try:
        await web.UnixSite(runner, str(path)).start()
    finally:
        os.umask(mask)
    try:
        yield
    finally:
        await runner.cleanup()


def worst_verdict(judgements: Sequence[Judgement]) -> Verdict:
    """Block over warn over proceed."""
    verdicts = {judgement.verdict for judgement in judgements}
    return next((one for one in (Verdict.BLOCK, Verdict.WARN) if one in verdicts), Verdict.PROCEED)


def _make_way(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


def _checker(inside: Inside) -> Any:
    async def check(request: web.Request) -> web.Response:
        identifiers = _read(await request.read(), _ToCheck).identifiers
        mistake = inside.unknown(identifiers=identifiers)
        if mistake is not None:
            return _document({"error": mistake}, status=404)
        judgements = await inside.check(identifiers)
        verdict, findings = worst_verdict(judgements), await inside.findings()
        return _document({"verdict": verdict, "identifiers": judgements, "findings": findings})

    return check


def _renewer(inside: Inside) -> Any:
    async def renew(request: web.Request) -> web.Response:
        asked = _read(await request.read(), _ToRenew)
        mistake = inside.unknown(names=asked.names)
        if mistake is not None:
            return _document({"error": mistake}, status=404)
        return _document({"certificates": await inside.renew_named(asked.names, force=asked.force)})

    return renew


def _revoker(inside: Inside) -> Any:
    async def revoke(request: web.Request) -> web.Response:
        asked = _read(await request.read(), _ToRevoke)
        mistake = inside.unknown(names=[asked.name])
        if mistake is not None:
            return _document({"error": mistake}, status=404)
        return _document(await inside.revoke(asked.name, asked.reason))

    return revoke


def _teller(look: Callable[[], Awaitable[dict[str, Any]]]) -> Any:
    async def tell(_: web.Request) -> web.Response:
        return _document(await look())

    return tell


def _read(body: bytes, kind: type[_Asked]) -> _Asked:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        document = msgspec.json.encode({"error": str(error)}).decode()
        raise web.HTTPBadRequest(text=document, content_type="application/json") from error


def _document(content: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")
