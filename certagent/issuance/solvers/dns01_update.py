"""dns-01 by dynamic update (RFC 2136): the record is written to the zone's primary server, and always removed again.

A record is noted in a journal before it is written: those of a killed agent are removed before the next one is written.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from certagent.config import Rfc2136Solver, read_secret
from certagent.domain.diagnosis.evidence import ResponderCheck
from certagent.domain.dns01_record import TROUBLE_CODES, Publication, TxtAnswer, record_name, text_of
from certagent.domain.orders import Challenge
from certagent.domain.ports import Clock, Journal
from certagent.domain.rehearsals import RehearsalRequest, body_for
from certagent.issuance.order import NotPresentedError
from certagent.system.dns_update import TsigKey, UpdateAnswer, ask_txt, update_txt
from certagent.system.zones import find_zone, servers_of

log = logging.getLogger(__name__)

UPDATING_SECONDS = 3.0
ASKING_FOR = timedelta(seconds=1)
SPREADING_FOR = timedelta(seconds=8)  # to the zone's other servers, for a rehearsal: BIND notifies them after 5 s
PRESENTING_FOR = timedelta(seconds=60)  # the same for an order
PAUSE_SECONDS = 0.2

_NOT_THE_ZONE = ("NOTAUTH", "NOTZONE")


class WrittenRecord(msgspec.Struct, frozen=True):
    """The zone, name and text of a record that this agent has written, or was about to write."""

    server: str
    zone: str
    name: str
    text: str


class Dns01Updater:
    """The solver of one certificate; the only writer of the journal that it is given."""

    challenge_type = "dns-01"
    rehearsed = staticmethod(body_for)

    def __init__(
        self,
        settings: Rfc2136Solver,
        journal: Journal[WrittenRecord],
        clock: Clock,
        spreading_for: timedelta = SPREADING_FOR,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._spreading_for = spreading_for
        self._written: dict[str, WrittenRecord] = {}  # by token
        self._published: dict[str, Publication] = {}  # of rehearsals, by token
        self._left_over: tuple[WrittenRecord, ...] | None = None
        self._lock = asyncio.Lock()

    async def present(self, identifier: str, challenge: Challenge, key_authorization: str) -> None:
        """See `certagent.issuance.order.Solver`: the record is visible when every server of the zone has it, or when
        time is up (a challenge whose record the CA does not find stays pending and can be retried)."""
        publication = await self._publish(challenge.token, identifier, key_authorization, PRESENTING_FOR)
        if publication.trouble is not None:
            raise NotPresentedError(TROUBLE_CODES[publication.trouble], publication.detail)

    async def clean_up(self, identifier: str, challenge: Challenge) -> None:
        """See `certagent.issuance.order.Solver`."""
        del identifier
        await self._take_away(challenge.token)

    async def show(self, request: RehearsalRequest, body: str) -> None:
        """Write the record of a rehearsal; `answers` returns the result."""
        self._published[request.token] = await self._publish(
            request.token, request.identifier, body, self._spreading_for
        )

    async def withdraw(self, request: RehearsalRequest) -> None:
        """Remove the record of a rehearsal."""
        self._published.pop(request.token, None)
        await self._take_away(request.token)

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Return the result of writing the record of that rehearsal."""
        publication = self._published[request.token]
        return ResponderCheck(
            listen=f"{self._settings.server}:{self._settings.port}",
            answered=publication.trouble is None,
            detail=publication.detail,
            challenge=self.challenge_type,
            publication=publication,
            withheld="" if publication.trouble is None else "the record could not be written to the zone",
        )

    async def _publish(self, token: str, identifier: str, body: str, spreading_for: timedelta) -> Publication:
        name = record_name(identifier.rstrip(".")) + "."
        text = text_of(hashlib.sha256(body.encode()).digest())
        publication = await self._find_zone(name)
        if publication.trouble is not None:
            return publication
        async with self._lock:
            zone = publication.zone or ""
            record = WrittenRecord(self._settings.server, zone, name, text)
            try:
                publication = msgspec.structs.replace(publication, removed=await self._clear(zone))
                await self._keep({**self._written, token: record})
            except OSError as error:
                return publication.unkept(error)
        answer = await self._update(record, add=True)
        if answer.error is not None:
            return _refused(publication, answer)
        return await self._spread(publication, text, spreading_for)

    async def _find_zone(self, name: str) -> Publication:
        settings = self._settings
        begun = Publication(
            server=settings.server,
            name=name,
            wanted_zone=_absolute(settings.zone) if settings.zone else None,
            key_name=settings.key_name,
            key_file=str(settings.key_file),
        )
        found = await find_zone(settings.server, name, ASKING_FOR, settings.port)
        begun = msgspec.structs.replace(begun, zone=found.zone)
        if found.status in ("timeout", "unreachable"):
            return _troubled(begun, "unreachable", f"{settings.server} did not answer ({found.status})")
        if found.delegated_to or (begun.wanted_zone and found.zone and found.zone.lower() != begun.wanted_zone):
            return _troubled(begun, "wrong_zone", f"{name} is in the zone {found.zone}")
        if found.zone is None or not found.is_own:
            return _troubled(begun, "zone_not_found", f"{settings.server} has no zone for {name} ({found.status})")
        return begun

    async def _spread(self, publication: Publication, text: str, spreading_for: timedelta) -> Publication:
        """Wait until every server of the zone has the record; a server that does not answer is not waited for."""
        settings, zone = self._settings, publication.zone or ""
        servers = await servers_of(settings.server, zone, ASKING_FOR, settings.port)
        until = self._clock.monotonic() + spreading_for.total_seconds()
        while True:
            seen = await asyncio.gather(*(self._ask(server, publication.name, text) for server in servers))
            behind = [
                answer for answer in seen if not answer.matched and answer.status not in ("timeout", "unreachable")
            ]
            if not behind or self._clock.monotonic() > until:
                break
            await self._clock.sleep(PAUSE_SECONDS)
        now = await find_zone(settings.server, publication.name, ASKING_FOR, settings.port)
        written = sum(record.name == publication.name for record in self._written.values())
        return msgspec.structs.replace(
            publication, servers=tuple(seen), serial=now.serial, strangers=max(0, seen[0].records - written)
        )

    async def _ask(self, server: str, name: str, text: str) -> TxtAnswer:
        port = self._settings.port if server == self._settings.server else 53
        return await ask_txt(server, name, text, ASKING_FOR, port=port)

    async def _take_away(self, token: str) -> None:
        """Remove the records written for the token; one that cannot be removed now stays in the journal."""
        record = self._written.get(token)
        if record is None:
            return
        answer = await self._update(record, add=False)
        async with self._lock:
            if answer.error is not None:
                log.warning("%s could not be removed (%s)", record.name, answer.rcode or answer.detail)
                self._left_over = (*(self._left_over or ()), record)
            self._written = {name: record for name, record in self._written.items() if name != token}
            try:
                await self._keep(self._written)
            except OSError as error:
                log.warning("the removal of %s could not be recorded: %s", record.name, error.strerror or error)

    async def _clear(self, zone: str) -> int:
        """Remove the records that earlier runs left in that zone, and return how many there were."""
        if self._left_over is None:
            self._left_over = await asyncio.to_thread(self._journal.load)
        ours = [record for record in self._left_over if (record.server, record.zone) == (self._settings.server, zone)]
        removed = [record for record in ours if (await self._update(record, add=False)).error is None]
        self._left_over = tuple(record for record in self._left_over if record not in removed)
        return len(removed)

    async def _keep(self, written: dict[str, WrittenRecord]) -> None:
        await asyncio.to_thread(self._journal.save, (*(self._left_over or ()), *written.values()))
        self._written = written

    async def _update(self, record: WrittenRecord, *, add: bool) -> UpdateAnswer:
        settings = self._settings
        try:
            secret = await asyncio.to_thread(read_secret, settings.key_file)
        except (OSError, ValueError) as error:
            return UpdateAnswer(error="tsig", rcode="BADKEY", detail=f"{settings.key_file} {error}")
        key = TsigKey(settings.key_name, secret, settings.key_algorithm)
        text = record.text
        change: tuple[Sequence[str], Sequence[str]] = ((text,), ()) if add else ((), (text,))
        return await update_txt(
            record.server, record.zone, record.name, change, key=key, seconds=UPDATING_SECONDS, port=settings.port
        )


def _refused(publication: Publication, answer: UpdateAnswer) -> Publication:
    if answer.error == "rcode":
        kind = "zone_not_found" if answer.rcode in _NOT_THE_ZONE else "refused"
        return _troubled(publication, kind, f"{publication.server} answered {answer.rcode}", answer.rcode)
    return _troubled(publication, answer.error or "", answer.detail, answer.rcode)


def _troubled(publication: Publication, trouble: str, detail: str, rcode: str | None = None) -> Publication:
    return msgspec.structs.replace(publication, trouble=trouble, detail=detail, rcode=rcode)


def _absolute(zone: str) -> str:
    return zone.lower().strip(".") + "."
