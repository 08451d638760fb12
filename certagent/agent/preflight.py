"""Preflight: observe from this node, rehearse from beside the CA, conclude, grade, judge. Changes nothing.

A rehearsal plants a token in this agent's own responder and has the agent beside the CA fetch it: this one, where
the CA runs in the same container. Planting is never remote.
"""

import asyncio
import hashlib
import random
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec

from certagent.agent.context import AgentContext
from certagent.agent.deployment import DeploymentService
from certagent.agent.rehearsal_history import PathMemory, RehearsalHistory
from certagent.agent.schedule import Schedule
from certagent.domain.backoff import Backoff
from certagent.domain.diagnosis import conclude
from certagent.domain.diagnosis.evidence import DirectoryCheck, Evidence, ResponderCheck
from certagent.domain.diagnosis.flapping import settled_later
from certagent.domain.diagnosis.order_result import fault_found
from certagent.domain.findings import Finding, Impact, TargetState, without_secrets
from certagent.domain.policy import Judgement, judged, with_impact
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import (
    BUSY,
    MOST_PER_CALLER,
    REHEARSAL_MARK,
    Rehearsal,
    RehearsalOutcome,
    RehearsalRequest,
)
from certagent.issuance.directory import check_directory
from certagent.system.pinned_http import PinnedClient, failure_words
from certagent.system.processes import ReloadCoordinator
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.web_server_config import WebServerConfigs

ANSWER_SECONDS = 38.0  # as long as the CA's own fetch may take, and the way there and back
TURN_SECONDS = 60.0
_LOOKS_APART, _WAY_SECONDS = 0.2, 2.0  # the latter: of the time for an answer, what is left for the way there and back
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=8)


class Preflight:
    """Judges identifiers of this node. `responders` are by certificate; `rehearsals` is None where nobody beside the CA
    can be asked."""

    def __init__(
        self,
        context: AgentContext,
        node: NodeVantage,
        *,
        responders: Mapping[str, "Responder"],
        rehearsals: "Rehearsals | None",
        deployment: DeploymentService,
        schedule: Schedule,
        web_servers: WebServerConfigs,
    ) -> None:
        self._context = context
        self._node = node
        self._authority = context.settings.authority
        sections = [(name, section) for section in context.settings.certificate for name in section.identifiers]
        self._certificates = {name: section for name, section in sections if section.manage}
        self._challenges = {name: section.challenge for name, section in sections}
        self._responders = {name: responders[section.name] for name, section in sections if section.name in responders}
        self._rehearsals = rehearsals
        self._history, self._memory = RehearsalHistory(), PathMemory()
        self._looks = ReloadCoordinator(context.clock)
        self._turns = asyncio.Semaphore(MOST_PER_CALLER)
        self._turns_of: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._web_servers = web_servers
        self._deployment = deployment
        self._schedule = schedule

    async def judge(self, identifiers: Sequence[str]) -> list[Judgement]:
        """All of them concurrently, in their order. The CA's directory is checked once for all."""
        async with asyncio.TaskGroup() as group:
            directory = group.create_task(self._check_directory(), name="check the directory")
            tasks = [group.create_task(self._collect(name), name=f"collect evidence: {name}") for name in identifiers]
        completed = await self._complete([task.result() for task in tasks], directory.result())
        return [await self._conclude(evidence) for evidence in completed]

    async def rehearse(self, identifier: str) -> Rehearsal:
        """The rehearsal alone."""
        return (await self._rehearse(identifier))[1]

    def impact_on(self, identifier: str) -> Impact | None:
        """What a problem with the identifier will cost; None if it is in no certificate that is renewed here."""
        certificate = self._certificates.get(identifier)
        if certificate is None:
            return None
        facts = self._context.state.certificate(certificate.name).facts()
        if facts is None:
            return Impact(certificate=certificate.name)
        due_at = self._schedule.due_at(certificate.name, facts)
        return Impact(certificate=certificate.name, due_at=due_at, expires_at=facts.ends_at)

    async def _collect(self, identifier: str) -> Evidence:
        """Everything but the directory. A failure by a configuration that was changed meanwhile cannot be explained by
        it: then once more."""
        began_at = self._context.clock.now()
        evidence = await self._observe(identifier)
        if evidence.has_failed and await asyncio.to_thread(self._web_servers.have_changed_since, began_at):
            return await self._observe(identifier)
        return evidence

    async def _complete(self, collected: Sequence[Evidence], checks: tuple[DirectoryCheck, ...]) -> list[Evidence]:
        """With the directory; and with who listens on this node, where that may explain what is wrong."""
        found = [msgspec.structs.replace(evidence, directory=checks) for evidence in collected]
        listeners = () if all(one.is_well for one in found) else await self._node.listeners_now()
        return [evidence if evidence.is_well else evidence.with_listeners(listeners) for evidence in found]

    async def _observe(self, identifier: str) -> Evidence:
        host = urlsplit(self._authority.directory).hostname or ""
        async with asyncio.TaskGroup() as group:
            rehearsed = group.create_task(self._rehearse(identifier), name=f"rehearse {identifier}")
            here = group.create_task(self._node.observe(identifier, host), name=f"observe this node: {identifier}")
        responder, rehearsal = rehearsed.result()
        evidence = Evidence(
            identifier=identifier,
            node=self._context.node,
            addresses=self._node.addresses(),
            rehearsal=rehearsal,
            responder=responder,
            here=here.result(),
            past=self._history.of(identifier),
        )
        if rehearsal.outcome is not RehearsalOutcome.FAILED:
            return evidence
        gateways = await asyncio.to_thread(self._web_servers.observe, identifier, evidence.first_address())
        return msgspec.structs.replace(evidence, gateways=gateways)

    async def _check_directory(self) -> tuple[DirectoryCheck, ...]:
        """Once for all who ask at the same time; by a look that begins after each of them did."""
        section = self._authority
        look = partial(check_directory, section.directory, section.root, section.addresses)
        return tuple(await self._looks.run_shared("directory", look, apart=_LOOKS_APART))

    async def _conclude(self, evidence: Evidence) -> Judgement:
        identifier = evidence.identifier
        findings = [*await self._find_faults(identifier), *conclude(evidence)]
        judgement = judged(self._context.policy, identifier, findings, evidence.rehearsal)
        return self._memory.complete(with_impact(judgement, self.impact_on(identifier)))

    def forget(self, identifiers: Sequence[str]) -> list[str]:
        """The CA has issued for them, so their paths are good. Of which something else was still reported."""
        return self._memory.forget(identifiers)

    async def _find_faults(self, identifier: str) -> list[Finding]:
        """What keeps the targets of the identifier's certificate from being written."""
        certificate = self._certificates.get(identifier)
        if certificate is None:
            return []
        faults = await self._deployment.find_faults(certificate)
        states = [TargetState(certificate=certificate.name, name=str(fault.facts.get("target"))) for fault in faults]
        node, found = self._context.node, zip(faults, states, strict=True)
        return [fault_found(node, fault, identifier, target=state) for fault, state in found]

    async def _rehearse(self, identifier: str) -> tuple[ResponderCheck | None, Rehearsal]:
        """In its turn: of one node only a few are under way at once, and one of each identifier."""
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await turn.enter_async_context(self._turns_of[identifier])
                    await turn.enter_async_context(self._turns)
            except TimeoutError:
                request = unplanted(identifier, self._challenges.get(identifier, "http-01"))
                reason = f"{BUSY}: other rehearsals of this node took longer than {TURN_SECONDS:.0f} s"
                return None, unavailable(request, self._context.clock.now(), reason)
            return await self._rehearse_now(identifier)

    async def _rehearse_now(self, identifier: str) -> tuple[ResponderCheck | None, Rehearsal]:
        now = self._context.clock.now
        responder = self._responders.get(identifier)
        if responder is None:
            request = unplanted(identifier, self._challenges.get(identifier, "http-01"))
            if self._rehearsals is None:
                return None, unavailable(request, now(), "no responder of this node answers for it")
            return None, await self._rehearsals.request(request)
        async with planted(responder, identifier) as request:
            check = await responder.answers(request)
            if check.withheld:
                return check, unavailable(request, now(), check.withheld)
            if self._rehearsals is None:
                return check, unavailable(request, now(), "no collector is configured")
            rehearsal = await self._rehearsals.request(request)
        self._history.note(rehearsal)
        return check, settled_later(rehearsal, self._history.of(identifier))


# --- rehearsals -------------------------------------------------------------------------------------------------------


class Responder(Protocol):
    """Answers challenges on this node; can show the body of a rehearsal in place of a key authorization."""

    challenge_type: str

    def rehearsed(self, token: str, secret: str) -> str:
        """The answer that is expected for that token: as a rule the body that is planted for it, which nobody can know
        who does not know the secret."""
        ...

    async def show(self, request: RehearsalRequest, body: str) -> None:
        """Show `body` for the request's token and identifier, for `LONGEST_PLANTING_SECONDS` at most."""
        ...

    async def withdraw(self, request: RehearsalRequest) -> None:
        """Stop showing it."""
        ...

    async def answers(self, request: RehearsalRequest) -> ResponderCheck:
        """Whether the planted body comes back on this node (for dns-01: whether it was published)."""
        ...


@asynccontextmanager
async def planted(responder: Responder, identifier: str) -> AsyncIterator[RehearsalRequest]:
    """Plant a fresh token in the responder, and withdraw it at the end; yields what to request: the token and the
    digest. The body, with its secret, goes nowhere but into the responder."""
    token = REHEARSAL_MARK + secrets.token_urlsafe(32)
    body = responder.rehearsed(token, secrets.token_urlsafe(32))
    digest = hashlib.sha256(body.encode()).hexdigest()
    request = RehearsalRequest(identifier=identifier, challenge=responder.challenge_type, token=token, digest=digest)
    try:
        await responder.show(request, body)
        yield request
    finally:
        await responder.withdraw(request)


def unplanted(identifier: str, challenge: str) -> RehearsalRequest:
    """What to request where somebody else answers the challenges: how far the path leads. Nothing is planted, and the
    digest is of nothing."""
    token, digest = REHEARSAL_MARK + secrets.token_urlsafe(32), secrets.token_hex(32)
    return RehearsalRequest(identifier=identifier, challenge=challenge, token=token, digest=digest, planted=False)


class Rehearsals(Protocol):
    """Whoever has the agent beside the CA rehearse."""

    async def request(self, request: RehearsalRequest) -> Rehearsal:
        """The result; every failure on the way is an unavailable rehearsal."""
        ...


class RehearsalClient:
    """Requests rehearsals from the collector, which passes them to the agent beside the CA."""

    def __init__(self, client: PinnedClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def request(self, request: RehearsalRequest) -> Rehearsal:
        """The result; every failure on the way is an unavailable rehearsal. While too many are under way, it is
        requested again."""
        now = self._clock.now
        try:
            status, body = await self._request(request)
        except (aiohttp.ClientError, TimeoutError) as error:
            return unavailable(request, now(), f"the collector cannot be reached: {failure_words(error)}")
        if status != 200:
            return unavailable(request, now(), f"the collector answered {status}: {_detail(body)}")
        try:
            return _decode_rehearsal(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return unavailable(request, now(), f"the collector's answer cannot be read: {error}")

    async def _request(self, request: RehearsalRequest) -> tuple[int, bytes]:
        """(status, body) of the last attempt. Raises as `PinnedClient.request`."""
        until, backoff = self._clock.monotonic() + ANSWER_SECONDS, Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            left = until - self._clock.monotonic()
            status, body = await self._client.request(
                "POST",
                f"/v1/rehearsals?timeout={left - _WAY_SECONDS:.1f}",
                timeout=left,
                data=msgspec.json.encode(request),
                headers={"Content-Type": "application/json"},
            )
            pause = backoff.next_pause().total_seconds() * random.uniform(1.0, 1.5)  # noqa: S311 - not for secrets
            if status != HTTPStatus.TOO_MANY_REQUESTS or self._clock.monotonic() + pause >= until - _WAY_SECONDS:
                return status, body
            await self._clock.sleep(pause)


class OwnRehearsals:
    """Of an agent that is beside the CA itself: by the collector, as everybody's are; here where there is no collector,
    or none can be had from it."""

    def __init__(self, authority: "Rehearser", node: str, collectors: Rehearsals | None) -> None:
        self._authority = authority
        self._node = node
        self._collectors = collectors

    async def request(self, request: RehearsalRequest) -> Rehearsal:
        """The result; unavailable if the CA's view cannot be had here, either."""
        if self._collectors is not None:
            rehearsal = await self._collectors.request(request)
            is_all_there_is = not request.planted and rehearsal.resolution is not None
            if rehearsal.outcome is not RehearsalOutcome.UNAVAILABLE or is_all_there_is:
                return rehearsal
        return without_secrets(await self._authority.rehearse(request, self._node, is_own=True))


class Rehearser(Protocol):
    """Fetches a planted token as the CA would: `AuthorityVantage`."""

    async def rehearse(self, request: RehearsalRequest, caller: str = "", *, is_own: bool = False) -> Rehearsal:
        """The result. Never raises. `is_own`: this very agent asks."""
        ...


_decode_rehearsal = msgspec.json.Decoder(Rehearsal).decode


class _Problem(msgspec.Struct):
    """RFC 9457, as much of it as is shown."""

    detail: str = ""


def _detail(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Problem).detail
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "without a reason"


def unavailable(request: RehearsalRequest, at: datetime, reason: str) -> Rehearsal:
    """No rehearsal could be had, and why."""
    return Rehearsal(
        identifier=request.identifier,
        challenge=request.challenge,
        outcome=RehearsalOutcome.UNAVAILABLE,
        at=at,
        reason=reason,
    )
