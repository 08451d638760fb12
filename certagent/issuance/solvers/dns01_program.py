"""dns-01 by an external program: `COMMAND... present|cleanup NAME TEXT`, an argument list, never a shell.

The program returns when the record is visible to the CA, and MUST add to existing records: a name and its wildcard
share one record name. Its environment is clean and its time is bounded; its output is not reported, because it may
contain a secret. A presented record is first noted in a journal: what a killed agent left is cleaned up before the next
record.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from certagent.config import HookSolver
from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.dns01_record import TROUBLE_CODES, Publication, record_name, text_of
from certagent.domain.orders import Challenge
from certagent.domain.ports import Journal
from certagent.domain.rehearsals import RehearsalRequest, body_for
from certagent.issuance.order import NotPresentedError
from certagent.system.files import UnknownOwnerError, find_user
from certagent.system.processes import run

log = logging.getLogger(__name__)


class HookRecord(msgspec.Struct, frozen=True):
    """The name and text of a record that the program was asked to present."""

    name: str
    text: str


class Dns01Program:
    """The solver of one certificate; the only writer of the journal that it is given."""

    challenge_type = "dns-01"
    rehearsed = staticmethod(body_for)

    def __init__(self, settings: HookSolver, journal: Journal[HookRecord]) -> None:
        self._command: Sequence[str] = settings.command
        self._seconds = settings.timeout
        self._user = settings.user
        self._journal = journal
        self._left_over: tuple[HookRecord, ...] | None = None
        self._presented: dict[str, HookRecord] = {}  # by token
        self._published: dict[str, Publication] = {}  # of rehearsals, by token
        self._lock = asyncio.Lock()

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `certagent.issuance.order.Solver`: the record is visible when the program exits successfully."""
        publication = await self._publish(challenge.token, identifier, key_authorization)
        if publication.trouble is not None:
            raise NotPresentedError(TROUBLE_CODES[publication.trouble], publication.detail)

    async def clean_up(self, identifier: str, challenge: Challenge) -> None:
        """See `certagent.issuance.order.Solver`."""
        del identifier
        await self._clean_up(challenge.token)

    async def show(self, request: RehearsalRequest, body: str) -> None:
        """Present the record of a rehearsal; `answers` returns the result."""
        self._published[request.token] = await self._publish(request.token, request.identifier, body)

    async def withdraw(self, request: RehearsalRequest) -> None:
        """Have the record of a rehearsal cleaned up."""
        self._published.pop(request.token, None)
        await self._clean_up(request.token)

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Return the result of presenting the record of that rehearsal."""
        publication = self._published[request.token]
        return ResponderCheck(
            listen=self._command[0],
            answered=publication.trouble is None,
            detail=publication.detail,
            challenge=self.challenge_type,
            publication=publication,
            withheld="" if publication.trouble is None else "the record could not be presented",
        )

    async def _publish(self, token: str, identifier: str, body: str) -> Publication:
        """Note the record in the journal, then have it presented."""
        record = HookRecord(record_name(identifier.rstrip(".")), text_of(hashlib.sha256(body.encode()).digest()))
        begun = Publication(server=self._command[0], name=f"{record.name}.")
        async with self._lock:
            try:
                await self._clear()
                await self._keep({**self._presented, token: record})
            except OSError as error:
                return begun.unkept(error)
        trouble = await self._run("present", record)
        return msgspec.structs.replace(begun, trouble="hook", detail=trouble) if trouble else begun

    async def _clean_up(self, token: str) -> None:
        record = self._presented.get(token)
        if record is None:
            return
        trouble = await self._run("cleanup", record)
        async with self._lock:
            if trouble:
                log.warning("%s could not be cleaned up: %s", record.name, trouble)
                self._left_over = (*(self._left_over or ()), record)
            self._presented = {name: record for name, record in self._presented.items() if name != token}
            try:
                await self._keep(self._presented)
            except OSError as error:
                log.warning("the cleanup of %s could not be recorded: %s", record.name, error.strerror or error)

    async def _clear(self) -> None:
        """Clean up what earlier runs left."""
        if self._left_over is None:
            self._left_over = await asyncio.to_thread(self._journal.load)
        self._left_over = tuple([record for record in self._left_over if await self._run("cleanup", record)])

    async def _keep(self, presented: dict[str, HookRecord]) -> None:
        await asyncio.to_thread(self._journal.save, (*(self._left_over or ()), *presented.values()))
        self._presented = presented

    async def _run(self, what: str, record: HookRecord) -> str:
        command = (*self._command, what, record.name, record.text)
        program = Path(self._command[0]).name
        try:
            user = find_user(self._user) if self._user is not None else None
            finished = await run(command, timeout=self._seconds, user=user)
        except UnknownOwnerError as error:
            return f"{program} cannot be run: {error}"
        except OSError as error:
            return f"{self._command[0]} cannot be started: {error.strerror}"
        if finished.status is None:
            return f"{program} {what} did not finish within {self._seconds:g} s"
        return "" if finished.is_good else f"{program} {what} exited with status {finished.status}"
