"""The straight path: event or timer -> plan -> preflight -> order -> deploy -> prove -> report."""

import asyncio
import errno
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

import msgspec

from certagent.agent.ca_outage import CaOutage
from certagent.agent.certificate_locks import CertificateLocks
from certagent.agent.preflight import Preflight
from certagent.agent.recheck import RecheckSchedule
from certagent.agent.renewal import Need, RenewalRunner, Renewed
from certagent.agent.reporter import Reporter, Run
from certagent.agent.resolver_changes import ResolverChangeHandler
from certagent.agent.revocation import Revoker
from certagent.agent.schedule import Schedule
from certagent.config import CertificateSection
from certagent.domain.certificates import CertificateFacts
from certagent.domain.diagnosis.order_result import state_refused
from certagent.domain.findings import Finding, Severity, Verdict, worst_first
from certagent.domain.policy import Judgement, Policy
from certagent.domain.ports import Clock
from certagent.domain.reports import FileChange, Outcome, RunKind, Trigger, certificate_scope, identifier_scope
from certagent.watch import ChangeSet

log = logging.getLogger(__name__)

MOST_JUDGED_AT_ONCE = 8
_LONGEST_WAIT_SECONDS = 30.0  # a clock that was set, or a suspend, costs no more than this; each waking costs the node


class Taking(Protocol):
    """Takes stock of this node and reports it."""

    async def report(self, trigger: Trigger, names: Sequence[str] = ()) -> None:
        """One inventory report, with a look at those certificates (default: all)."""
        ...

    async def states(self) -> tuple[list[Any], list[Finding]]:
        """`certagent.domain.reports.CertificateState` of each certificate, and what is wrong with them, graded."""
        ...


class Lifecycle:
    """What this node does about its certificates. `authority` is the CA's name, `own` what is found about the agent
    itself. Every public coroutine may run beside the others."""

    def __init__(
        self,
        node: str,
        certificates: Sequence[CertificateSection],
        *,
        authority: str,
        preflight: Preflight,
        renewal: RenewalRunner,
        files: ResolverChangeHandler,
        stock: Taking,
        revoking: Revoker,
        schedule: Schedule,
        attention: RecheckSchedule,
        claims: CertificateLocks,
        own: Callable[[], Sequence[Finding]],
        policy: Policy,
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self._node = node
        self._authority = authority
        self._certificates: Mapping[str, CertificateSection] = {one.name: one for one in certificates}
        self._preflight = preflight
        self._renewal = renewal
        self._files = files
        self._stock = stock
        self._revoking = revoking
        self._schedule = schedule
        self._reporter = reporter
        self._clock = clock
        self._attention = attention
        self._claims = claims
        self._own = own
        self._policy = policy
        self._outage = CaOutage()
        self._again: set[str] = set()
        self._woken = asyncio.Event()
        self._begun = asyncio.Event()
        self._locks = {name: asyncio.Lock() for name in self._certificates}
        self._slots = asyncio.Semaphore(MOST_JUDGED_AT_ONCE)

    # --- file event -> what it does, and which identifiers it touches ---------------------------------------------

    async def files_changed(self, changes: ChangeSet, trigger: Trigger, besides: Sequence[Finding] = ()) -> None:
        """Say what the change does at once (and the findings `besides`); then judge again what it touches here."""
        await self._files.run(changes, trigger, besides)
        self.judge_again(self._touched_by(changes))

    def judge_again(self, identifiers: Sequence[str]) -> None:
        """Soon, and once for however many times it was asked."""
        self._again.update(one for one in identifiers if one in self._own_identifiers())
        self._woken.set()

    def wake(self) -> None:
        """The dates have changed."""
        self._woken.set()

    # --- timer ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work off what is to be judged again and what is due, for ever."""
        await self._begin()
        async with asyncio.TaskGroup() as group:
            while True:
                self._woken.clear()
                if self._again:
                    identifiers, self._again = sorted(self._again), set()
                    group.create_task(self._judge(identifiers, Trigger.JUDGE_AGAIN), name="judge again")
                if self._files.is_due(self._clock.now()):
                    self._files.again_at = None
                    group.create_task(self._look_at_files_again(), name="look at the files again")
                if unwatched := self._attention.ready(self._clock.now()):
                    group.create_task(self._judge(unwatched, Trigger.TIMER), name="judge by the timer")
                for name in self._schedule.ready(self._clock.now()):
                    self._schedule.take(name)
                    group.create_task(self._renew(name, Trigger.TIMER, force=False), name=f"renew {name}")
                await self._wait()

    async def _look_at_files_again(self) -> None:
        await self._files.run((), Trigger.TIMER)
        self._woken.set()  # there may be a new date

    # --- request --------------------------------------------------------------------------------------------------

    def unknown(self, *, identifiers: Sequence[str] = (), names: Sequence[str] = ()) -> str | None:
        """A sentence about the first identifier that is not this node's, or certificate that is not its to renew, else
        None."""
        for identifier in identifiers:
            if identifier not in self._own_identifiers():
                return f"{identifier} is none of this node's identifiers: {', '.join(self._own_identifiers())}"
        for name in names:
            if name not in self._certificates:
                return f"{name} is none of this node's certificates: {', '.join(self._certificates)}"
            if not self._certificates[name].manage:
                return f"{name} is renewed by somebody else (manage = false)"
        return None

    async def check(self, identifiers: Sequence[str]) -> list[Judgement]:
        """Preflight now; all of this node's identifiers when none is given."""
        await self._begun.wait()
        return await self._judge(identifiers or self._own_identifiers(), Trigger.REQUEST)

    async def renew_named(self, names: Sequence[str], *, force: bool) -> list[dict[str, Any]]:
        """Renew what is due (or all, by force), each on its own; waits for all of them, then raises what any raised."""
        wanted = [name for name in names or self._certificates if self._certificates[name].manage]
        await self._begun.wait()
        urgent_first = self._schedule.by_urgency(wanted)
        renewals = (self._renew(name, Trigger.REQUEST, force=force) for name in urgent_first)
        ended = dict(zip(urgent_first, await asyncio.gather(*renewals, return_exceptions=True), strict=True))
        for result in ended.values():
            if isinstance(result, BaseException):
                raise result
        return [msgspec.to_builtins(ended[name]) for name in wanted]

    async def revoke(self, name: str, reason: int) -> dict[str, Any]:
        """Have the CA revoke what is served, then renew it, for it is due now. The document of `certagent revoke`."""
        await self._begun.wait()
        async with self._locks[name]:
            revoked, problem = await self._revoking.revoke(name, reason)
            if revoked is not None:
                self._schedule.set(name, None, self._clock.now())
        renewed = await self._renew(name, Trigger.REQUEST, force=False) if revoked is not None else None
        return {"name": name, "revoked": revoked, "problem": problem, "renewed": msgspec.to_builtins(renewed)}

    async def account(self) -> dict[str, Any]:
        """The document of `certagent account`."""
        return await self._revoking.account()

    async def findings(self) -> Sequence[Finding]:
        """About this node itself, whatever becomes of its certificates."""
        return await asyncio.to_thread(self._own)

    async def status(self) -> dict[str, Any]:
        """The document of `certagent status`."""
        certificates, found = await self._stock.states()
        return {
            "agent": self._node,
            "at": self._clock.now(),
            "certificates": certificates,
            "reports_waiting": self._reporter.waiting(),
            "findings": worst_first([*found, *await self.findings()]),
        }

    # --- the steps ------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """After a start: say who we are, finish what a killed run left, then go by what is on disk."""
        for name, certificate in self._certificates.items():
            if certificate.manage:
                if await asyncio.to_thread(self._claims.take, certificate) is None:
                    await self._finish_interrupted(certificate)
                self._plan(name, Trigger.START)
        self._begun.set()
        await self._stock.report(Trigger.START)
        now = self._clock.now()
        due = {name for name, one in self._certificates.items() if one.manage and self._schedule.is_due(name, now)}
        self.judge_again(  # what is due is judged by its renewal
            [
                identifier
                for name, one in self._certificates.items()
                if name not in due
                for identifier in one.identifiers
            ]
        )

    async def _finish_interrupted(self, certificate: CertificateSection) -> None:
        """A state that cannot be written now keeps its journal for the next start; what waits to be deployed is due."""
        try:
            await self._renewal.finish_interrupted(certificate)
        except OSError as error:
            log.warning("what a killed run left of %s waits: %s", certificate.name, error.strerror)

    async def _judge(self, identifiers: Sequence[str], trigger: Trigger) -> list[Judgement]:
        run = self._reporter.begin(RunKind.PREFLIGHT, trigger)
        judgements = await self._preflight.judge(identifiers)
        is_new = [self._attention.note(judgement, self._clock.now()) for judgement in judgements]
        if any(is_new) or trigger is not Trigger.TIMER:
            scopes = [identifier_scope(judgement.identifier) for judgement in judgements]
            self._reporter.end(run, _outcome_of(judgements), scopes=scopes, judgements=judgements)
        self._hasten(judgements)
        if self._outage.note(judgements):
            self._hasten_all()
        self._woken.set()  # there is a new date for the next look
        return judgements

    async def _renew(self, name: str, trigger: Trigger, *, force: bool) -> Renewed:
        async with self._locks[name]:
            now = self._clock.now()
            unproven = self._renewal.is_unproven(self._certificates[name])
            if not force and not unproven and not self._schedule.is_due(name, now):
                self._plan(name, trigger)
                return Renewed(name=name, outcome="not_due", note=self._due_note(name))
            need = self._need(name, now)
            if trigger is Trigger.TIMER and self._outage.spares(name, self._stage(name, need), now):
                self._schedule.postpone(name, self._renewal.facts(name), now)
                self._woken.set()
                return Renewed(name=name, outcome="not_due", note="the CA cannot be had")
            with self._taken(name):
                renewed = await self._renew_owned(self._certificates[name], trigger, need)
                self._plan_next(name, renewed)
        await self._stock.report(trigger, [name])
        return renewed

    @contextmanager
    def _taken(self, name: str) -> Iterator[None]:
        """Out of the schedule while it is worked on; whatever is raised meanwhile, it is tried again."""
        self._schedule.take(name)
        try:
            yield
        except BaseException:
            self._schedule.postpone(name, None, self._clock.now())
            self._woken.set()
            raise

    async def _renew_owned(self, certificate: CertificateSection, trigger: Trigger, need: Need) -> Renewed:
        """Preflight and renewal, where this agent owns the certificate and can keep what comes of it."""
        run = self._reporter.begin(RunKind.RENEWAL, trigger)
        if (taken := await asyncio.to_thread(self._claims.take, certificate)) is not None:
            return self._left_alone(run, certificate, taken)
        async with self._slots:
            judgements = await self._judge(certificate.identifiers, trigger)
        try:
            return await self._renewal.run(certificate, judgements, trigger, need=need)
        except OSError as error:
            file = str(error.filename) if error.filename is not None else None
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            words = error.strerror or str(error)
            refused = state_refused(self._node, certificate.name, file, words, is_full=is_full)
            return self._left_alone(run, certificate, refused)

    def _left_alone(self, run: Run, certificate: CertificateSection, finding: Finding) -> Renewed:
        graded = self._policy.grade(finding)
        scope = certificate_scope(certificate.name)
        self._reporter.end(run, Outcome.FAILED, scopes=[scope], findings=[graded], certificate=certificate.name)
        return Renewed(name=certificate.name, outcome=Outcome.FAILED, findings=(graded,))

    def _standing(self, name: str) -> CertificateFacts | None:
        generation = self._renewal.standing(self._certificates[name])
        return generation.facts if generation is not None else None

    def _stage(self, name: str, need: Need) -> str:
        facts = self._renewal.facts(name)
        return "expired" if facts is not None and facts.not_after <= self._clock.now() else need

    def _need(self, name: str, now: datetime) -> Need:
        if self._schedule.is_urgent(self._renewal.facts(name), now):
            return Need.URGENT
        return Need.DUE if self._schedule.is_due(name, now) else Need.NONE

    def _plan(self, name: str, trigger: Trigger) -> None:
        """By what is on disk."""
        now = self._clock.now()
        self._schedule.set(name, self._standing(name), now)
        is_good = self._claims.holds(name) and not self._schedule.is_due(name, now)
        if is_good and not self._renewal.take_back(self._certificates[name], trigger):
            self._schedule.postpone(name, self._renewal.facts(name), now)

    def _plan_next(self, name: str, renewed: Renewed) -> None:
        now = self._clock.now()
        if renewed.outcome in (Outcome.DONE, Outcome.FOUND, Outcome.KEPT):
            self._schedule.renewed(name, self._standing(name), now)
        else:
            self._schedule.postpone(name, self._renewal.facts(name), now, renewed.retry_at)
        self._woken.set()

    def _hasten(self, judgements: Sequence[Judgement]) -> None:
        """A path that is good again needs no waiting for the next retry."""
        good = {judgement.identifier for judgement in judgements if judgement.verdict is not Verdict.BLOCK}
        for name, certificate in self._certificates.items():
            if certificate.manage and set(certificate.identifiers) <= good:
                self._schedule.hasten(name, self._clock.now())
                self._woken.set()

    def _hasten_all(self) -> None:
        """The CA is back: for all certificates, whatever stands in the way of each."""
        for name, certificate in self._certificates.items():
            if certificate.manage:
                self._schedule.hasten(name, self._clock.now())

    async def _wait(self) -> None:
        """Until something is asked for, or due."""
        now = self._clock.now()
        dates = (self._schedule.next_at(now), self._attention.next_at(now), self._files.again_at)
        seconds = min([(at - now).total_seconds() for at in dates if at is not None], default=_LONGEST_WAIT_SECONDS)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(self._woken.wait(), name="wait for a reason")
            bound = min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)
            timer = group.create_task(self._clock.sleep(bound), name="wait for the next date")
            await asyncio.wait({waiting, timer}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            timer.cancel()

    def _own_identifiers(self) -> list[str]:
        return list(dict.fromkeys(name for one in self._certificates.values() for name in one.identifiers))

    def _touched_by(self, changes: Sequence[FileChange]) -> list[str]:
        """Of a hosts file those that its lines name, all of them where the CA's own name is there; of others all."""
        if any(change.left_out or not change.file.endswith("hosts") for change in changes):
            return self._own_identifiers()
        lines = (line for change in changes for line in (*change.removed, *change.added))
        words = {word.rstrip(".") for line in lines for word in line.lower().split()}
        if self._authority in words:
            return self._own_identifiers()
        return [identifier for identifier in self._own_identifiers() if identifier.lower() in words]

    def _due_note(self, name: str) -> str:
        facts = self._renewal.facts(name)
        return f"due {self._schedule.due_at(name, facts).isoformat()}" if facts else "due now"


def _outcome_of(judgements: Sequence[Judgement]) -> Outcome:
    if any(judgement.verdict is Verdict.BLOCK for judgement in judgements):
        return Outcome.BLOCKED
    worst = (finding.severity for judgement in judgements for finding in judgement.findings)
    return Outcome.FOUND if any(severity.at_least(Severity.WARN) for severity in worst) else Outcome.DONE
