"""http-01 by files in a folder that a web server serves; the agent opens no port.

A file appears complete and readable by everyone, and is removed when its challenge or rehearsal is over. Tokens are
noted in a journal before their files exist: the files that a killed agent left are removed by the next one. The folder
may be the web server's own: see `certagent.system.folders` for what is not done there.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.orders import Challenge
from certagent.domain.ports import Journal
from certagent.domain.rehearsals import CHALLENGE_PATH, RehearsalRequest, body_for
from certagent.issuance.order import NotPresentedError
from certagent.system.files import FileContent, read_file, remove_file, write_file
from certagent.system.path_walk import open_folder
from certagent.system.unsafe_paths import UnsafePathError

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Webroot:
    """The solver of one certificate; the only writer of the journal that it is given."""

    challenge_type = "http-01"
    rehearsed = staticmethod(body_for)

    def __init__(self, path: Path, journal: Journal[str]) -> None:
        self._root = path
        self._folder = path / CHALLENGE_PATH.strip("/")
        self._journal = journal
        self._tokens: set[str] | None = None
        self._troubles: dict[str, _Trouble] = {}  # of rehearsals, by token
        self._lock = asyncio.Lock()

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `certagent.issuance.order.Solver`: the answer is visible as soon as the file exists."""
        del identifier
        trouble = await self._put(challenge.token, key_authorization)
        if trouble is not None:
            raise NotPresentedError("http01.responder_absent", trouble.said)

    async def clean_up(self, identifier: str, challenge: Challenge) -> None:
        """See `certagent.issuance.order.Solver`."""
        del identifier
        await self._take_away(challenge.token)

    async def show(self, request: RehearsalRequest, body: str) -> None:
        """Write the file of a rehearsal; `answers` returns the result."""
        trouble = await self._put(request.token, body)
        if trouble is not None:
            self._troubles[request.token] = trouble

    async def withdraw(self, request: RehearsalRequest) -> None:
        """Remove the file of a rehearsal."""
        self._troubles.pop(request.token, None)
        await self._take_away(request.token)

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Return whether the file exists with the right content; which server serves it is shown by the rehearsal."""
        where, trouble = str(self._folder), self._troubles.get(request.token)
        if trouble is None:
            content = await asyncio.to_thread(_read, self._folder / request.token)
            is_ours = hashlib.sha256(content).hexdigest() == request.digest
            detail = "" if is_ours else "the file was removed or replaced"
            return ResponderCheck(listen=where, file=where, answered=is_ours, detail=detail)
        return ResponderCheck(
            listen=where,
            file=trouble.file or where,
            answered=False,
            detail=trouble.said,
            changeable=trouble.changeable,
        )

    async def _put(self, token: str, body: str) -> "_Trouble | None":
        """Write the file, or return why that is impossible."""
        if not _TOKEN.fullmatch(token):
            return _Trouble("the CA's token cannot be used as a file name")
        async with self._lock:
            try:
                await asyncio.to_thread(self._write, token, body)
            except UnsafePathError as error:
                return _unsafe(error)
            except OSError as error:
                return _Trouble(f"{error.filename or self._folder} cannot be written: {error.strerror or error}")
        return None

    async def _take_away(self, token: str) -> None:
        async with self._lock:
            try:
                await asyncio.to_thread(self._remove, token)
            except OSError as error:
                log.warning("%s could not be removed: %s", self._folder / token, error.strerror or error)

    def _write(self, token: str, body: str) -> None:
        if not self._root.is_dir():
            raise FileNotFoundError(2, "the folder does not exist", str(self._root))
        self._clear()
        self._keep(self._known() | {token})
        for path in (self._folder.parent, self._folder):
            with open_folder(path.parent) as folder:
                folder.make(path.name, 0o755)  # for everybody to enter; one that is there is left as it is
        write_file(self._folder / token, FileContent(content=body.encode(), mode=0o644))

    def _remove(self, token: str) -> None:
        if token in self._known():
            with suppress(FileNotFoundError, NotADirectoryError):
                remove_file(self._folder / token)
            self._keep(self._known() - {token})

    def _clear(self) -> None:
        """Remove, once, the files that an earlier agent left."""
        if self._tokens is None:
            self._tokens = set(self._journal.load())
            for token in tuple(self._tokens):
                self._remove(token)

    def _known(self) -> set[str]:
        return self._tokens or set()

    def _keep(self, tokens: set[str]) -> None:
        self._journal.save(tuple(sorted(tokens)))
        self._tokens = tokens


class _Trouble(msgspec.Struct, frozen=True):
    """Why a challenge's file was not written; `file` and `changeable` as of a `ResponderCheck`."""

    said: str
    file: str | None = None
    changeable: Mapping[str, str] = {}


def _unsafe(error: UnsafePathError) -> _Trouble:
    folder = error.folder
    return _Trouble(
        f"{error.filename} is not used: {error.strerror}; name the real folder as `path`, or make that folder "
        f"writable by root only (chown root {folder.path}; chmod go-w {folder.path})",
        str(error.filename),
        {"folder": str(folder.path), "owner": folder.owner, "mode": f"{folder.mode:04o}"},
    )


def _read(path: Path) -> bytes:
    try:
        return read_file(path) or b""
    except OSError:
        return b""
