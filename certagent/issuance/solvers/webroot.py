"""http-01 by files in a folder that a web server serves; the agent opens no port.

A file appears complete and readable by everyone, and is removed when its challenge or rehearsal is over. Tokens are
noted in a journal before their files exist: the files that a killed agent left are removed by the next one.
"""

import asyncio
import hashlib
import logging
import re
from contextlib import suppress
from pathlib import Path

from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.orders import Challenge
from certagent.domain.ports import Journal
from certagent.domain.rehearsals import CHALLENGE_PATH, RehearsalRequest, body_for
from certagent.issuance.order import NotPresentedError
from certagent.system.files import FileContent, read_file, remove_file, write_file

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
        self._troubles: dict[str, str] = {}  # of rehearsals, by token
        self._lock = asyncio.Lock()

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `certagent.issuance.order.Solver`: the answer is visible as soon as the file exists."""
        del identifier
        trouble = await self._put(challenge.token, key_authorization)
        if trouble is not None:
            raise NotPresentedError("http01.responder_absent", trouble)

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
        detail = self._troubles.get(request.token, "")
        if not detail:
            content = await asyncio.to_thread(_read, self._folder / request.token)
            is_ours = hashlib.sha256(content).hexdigest() == request.digest
            detail = "" if is_ours else "the file is gone again, or another one"
        where = str(self._folder)
        return ResponderCheck(listen=where, file=where, answered=not detail, detail=detail)

    async def _put(self, token: str, body: str) -> str | None:
        """Write the file, or return why that is impossible."""
        if not _TOKEN.fullmatch(token):
            return "the CA's token is none that can be a file's name"
        async with self._lock:
            try:
                await asyncio.to_thread(self._write, token, body)
            except OSError as error:
                return f"{error.filename or self._folder} cannot be written: {error.strerror or error}"
        return None

    async def _take_away(self, token: str) -> None:
        async with self._lock:
            try:
                await asyncio.to_thread(self._remove, token)
            except OSError as error:
                log.warning("%s could not be taken away: %s", self._folder / token, error.strerror or error)

    def _write(self, token: str, body: str) -> None:
        if not self._root.is_dir():
            raise FileNotFoundError(2, "there is no such folder", str(self._root))
        self._clear()
        self._keep(self._known() | {token})
        for folder in (self._folder.parent, self._folder):
            _ensure_open_folder(folder)
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


def _ensure_open_folder(folder: Path) -> None:
    """Create the folder so that everyone can enter it; an existing folder is left as it is."""
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o755)


def _read(path: Path) -> bytes:
    try:
        return read_file(path) or b""
    except OSError:
        return b""
