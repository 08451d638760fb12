"""The straight path: event or timer -> plan -> preflight -> order -> deploy -> prove -> report.

Events come from elsewhere: changed files from `resolver_changes`, requests from `control_socket`, "judge again" from
`collector_link`, new dates from `renewal_info`. From the order to the proof it is `renewal`.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

from certagent.agent.context import AgentContext
from certagent.agent.deployment import CertificateLocks, TargetWatch
from certagent.agent.inventory import InventoryReporter
from certagent.agent.issuing_chain import IssuingChain
from certagent.agent.preflight import Preflight
from certagent.agent.renewal import RenewalRunner, Renewed
from certagent.agent.schedule import CaOutage, Need, RecheckSchedule, Schedule, bounded_pause, in_turns
from certagent.config import CertificateSection
from certagent.domain.certificates import CertificateFacts
from certagent.domain.diagnosis.order_result import state_refused
from certagent.domain.findings import Finding, Severity, Verdict
from certagent.domain.policy import Judgement
from certagent.domain.reports import FileChange, Outcome, RunKind, Trigger, identifier_scope, touched_identifiers

log = logging.getLogger(__name__)

MOST_JUDGED_AT_ONCE = 8
_CHAIN_LOOK_EVERY = timedelta(minutes=1)
_LONGEST_WAIT_SECONDS = 30.0  # a clock that was set, or a suspend, costs no more than this; each waking costs the node


class Lifecycle:
    """What this node does about its certificates. Every public coroutine may run beside the others."""

    def __init__(
        self,
        context: AgentContext,
        *,
        preflight: Preflight,
        renewal: RenewalRunner,
        inventory: InventoryReporter,
        schedule: Schedule,
        locks: CertificateLocks,
        targets: TargetWatch,
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._reporter = context.reporter
        self._preflight = preflight
        self._renewal = renewal
        self._inventory = inventory
        self._schedule = schedule
        self._rechecks = RecheckSchedule(context.policy.preflight)
        self._plan = RenewalPlan(context, schedule, renewal, locks)
        self._locks, self._targets = locks, targets
        sections = context.settings.certificate
        self._certificates = {section.name: section for section in sections}
        self._managed = {section.name: section for section in sections if section.manage}
        self._identifiers = dict.fromkeys(name for section in sections for name in section.identifiers)
        self._to_judge: set[str] = set()
        self._woken = asyncio.Event()
        self._started = asyncio.Event()
        self._work_locks = {name: asyncio.Lock() for name in self._certificates}
        self._judging = asyncio.Semaphore(MOST_JUDGED_AT_ONCE)

    # --- events ---------------------------------------------------------------------------------------------------

    def files_changed(self, changes: Sequence[FileChange]) -> None:
        """Resolver files changed, and that is reported: judge again what they touch."""
        authority = urlsplit(self._context.settings.authority.directory).hostname or ""
        self.judge_again(touched_identifiers(changes, list(self._identifiers), authority.rstrip(".")))

    def judge_again(self, identifiers: Sequence[str]) -> None:
        """Soon, and once however often it was asked; identifiers of other nodes are ignored."""
        self._to_judge.update(name for name in identifiers if name in self._identifiers)
        self._woken.set()

    def wake(self) -> None:
        """The dates of the schedule have changed."""
        self._woken.set()

    async def check(self, identifiers: Sequence[str]) -> list[Judgement]:
        """Preflight now; all of this node's identifiers when none is given. A node that has none reports that it was
        asked."""
        await self._started.wait()
        turns = list(in_turns(identifiers or list(self._identifiers))) or [()]
        return [judgement for names in turns for judgement in await self._judge(names, Trigger.REQUEST)]

    async def renew_requested(self, names: Sequence[str], *, force: bool) -> list[Renewed]:
        """Renew what is due (or all, by force), each on its own; waits for all of them, then raises what any raised."""
        wanted = [name for name in names or self._managed if name in self._managed]
        await self._started.wait()
        urgent_first = self._schedule.by_urgency(wanted)
        renewals = (self._renew(name, Trigger.REQUEST, force=force) for name in urgent_first)
        ended = dict(zip(urgent_first, await asyncio.gather(*renewals, return_exceptions=True), strict=True))
        for result in ended.values():
            if isinstance(result, BaseException):
                raise result
        return [result for name in wanted if isinstance(result := ended[name], Renewed)]

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[None]:
        """Nobody else works on that certificate meanwhile."""
        await self._started.wait()
        async with self._work_locks[name]:
            yield

    def is_busy(self, name: str) -> bool:
        """Whether somebody works on that certificate; who renews it has it observed in the end."""
        return self._work_locks[name].locked()

    def make_due(self, name: str) -> None:
        """From now on the certificate is due, whatever its validity says. Only inside `exclusive`."""
        self._schedule.plan(name, None, self._clock.now())

    # --- the path -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work off what is to be judged and what is due; never returns."""
        await self._start()
        async with asyncio.TaskGroup() as group:
            while True:
                self._woken.clear()
                await self._targets.hurry(self._schedule)
                self._begin_ready(group)
                await self._wait()

    async def _start(self) -> None:
        """Finish what a killed run left and plan by what is on disk; report who we are; judge what is not due."""
        for certificate in self._managed.values():
            if await self._locks.acquire(certificate) is None:
                await self._finish_interrupted(certificate)
            self._plan.plan(certificate, Trigger.START)
        self._started.set()
        await self._inventory.report(Trigger.START)
        now = self._clock.now()
        due = {name for name in self._managed if self._schedule.is_due(name, now)}  # judged by its renewal
        others = (certificate for name, certificate in self._certificates.items() if name not in due)
        self.judge_again([identifier for certificate in others for identifier in certificate.identifiers])

    def _begin_ready(self, group: asyncio.TaskGroup) -> None:
        """A task for what is to be judged again, for what is to be judged by the timer, and for each certificate that
        is due."""
        now = self._clock.now()
        if self._to_judge:
            identifiers, self._to_judge = sorted(self._to_judge), set()
            group.create_task(self._judge_all(identifiers, Trigger.JUDGE_AGAIN), name="judge again")
        if rechecks := self._rechecks.ready(now):
            group.create_task(self._judge_all(rechecks, Trigger.TIMER), name="judge by the timer")
        for name in self._schedule.ready(now):
            self._schedule.mark_in_progress(name)
            group.create_task(self._renew(name, Trigger.TIMER, force=False), name=f"renew {name}")

    async def _wait(self) -> None:
        """Until something is asked for, or due."""
        now = self._clock.now()
        dates = (self._schedule.next_at(now), self._rechecks.next_at(now))
        seconds = min([(at - now).total_seconds() for at in dates if at is not None], default=_LONGEST_WAIT_SECONDS)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(self._woken.wait(), name="wait for an event")
            bounded = min(max(seconds, 0.0), self._targets.longest_wait(_LONGEST_WAIT_SECONDS))
            timer = group.create_task(self._clock.sleep(bounded), name="wait for the next date")
            await asyncio.wait({waiting, timer}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            timer.cancel()

    async def _judge_all(self, identifiers: Sequence[str], trigger: Trigger) -> None:
        """However many; each turn is reported by itself."""
        for names in in_turns(identifiers):
            await self._judge(names, trigger)

    async def _judge(self, identifiers: Sequence[str], trigger: Trigger) -> list[Judgement]:
        """Preflight; its report, unless the timer finds what was reported last."""
        run = self._reporter.begin(RunKind.PREFLIGHT, trigger)
        judgements = await self._preflight.judge(identifiers)
        is_new = [self._rechecks.note(judgement, self._clock.now()) for judgement in judgements]
        if any(is_new) or trigger is not Trigger.TIMER:
            scopes = [identifier_scope(judgement.identifier) for judgement in judgements]
            await self._reporter.end_with_others(run, _outcome_of(judgements), scopes=scopes, judgements=judgements)
        self._plan.expedite(judgements)
        self._woken.set()  # there are new dates
        return judgements

    async def _renew(self, name: str, trigger: Trigger, *, force: bool) -> Renewed:
        """Renew one certificate if it is due, or by force. Nobody else works on it meanwhile."""
        certificate = self._managed[name]
        try:
            async with self._work_locks[name]:
                if (skipped := self._plan.skip(certificate, trigger, force=force)) is not None:
                    return skipped
                if trigger is Trigger.TIMER and (held := await self._plan.hold(certificate)) is not None:
                    return held
                with self._plan.in_progress(name):
                    renewed = await self._judge_and_renew(certificate, trigger)
                    self._plan.plan_next(certificate, renewed)
                await self._targets.note(certificate, is_unproven=self._renewal.has_unproven(certificate))
        finally:
            self._woken.set()  # there is a new date
        await self._inventory.report(trigger, [name], renewed.served)
        return renewed

    async def _judge_and_renew(self, certificate: CertificateSection, trigger: Trigger) -> Renewed:
        """Preflight and renewal, where this agent owns the certificate and can store the result."""
        need, run = self._plan.need(certificate.name), self._reporter.begin(RunKind.RENEWAL, trigger)
        if (other_owner := await self._locks.acquire(certificate)) is not None:
            return self._renewal.give_up(certificate, run, other_owner)
        await self._renewal.prepare()
        async with self._judging:
            judgements = await self._judge(certificate.identifiers, trigger)
        try:
            pause = self._plan.pause_after_failure(certificate.name)
            renewed = await self._renewal.run(certificate, judgements, trigger, need=need, retry_after=pause)
        except OSError as error:
            return self._renewal.give_up(certificate, run, self._state_refused(certificate, error))
        if renewed.outcome in (Outcome.DONE, Outcome.FOUND):
            self.judge_again(self._preflight.forget(certificate.identifiers))
        return renewed

    # --- a state that cannot be written ---------------------------------------------------------------------------

    async def _finish_interrupted(self, certificate: CertificateSection) -> None:
        """A state that cannot be written now keeps its record for the next start; what waits to be deployed is due."""
        try:
            await self._renewal.finish_interrupted(certificate)
        except OSError as error:
            log.warning("an interrupted run of %s cannot be completed yet: %s", certificate.name, error.strerror)

    def _state_refused(self, certificate: CertificateSection, error: OSError) -> Finding:
        file = str(error.filename) if error.filename is not None else None
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        identifier, said = certificate.identifiers[0], error.strerror or str(error)
        return state_refused(self._context.node, certificate.name, file, said, is_full=is_full, identifier=identifier)


class RenewalPlan:
    """Which certificates are due: the schedule, kept by what is on disk and by what renewals come to."""

    def __init__(
        self,
        context: AgentContext,
        schedule: Schedule,
        renewal: RenewalRunner,
        locks: CertificateLocks,
        issuing_chain: IssuingChain | None = None,
    ) -> None:
        self._clock = context.clock
        self._managed = [section for section in context.settings.certificate if section.manage]
        self._schedule = schedule
        self._renewal = renewal
        self._locks = locks
        self._ca_outage = CaOutage()
        self._issuing_chain = issuing_chain or IssuingChain(context)

    def plan(self, certificate: CertificateSection, trigger: Trigger) -> None:
        """By what is on disk."""
        name, now = certificate.name, self._clock.now()
        self._schedule.plan(name, self._current_facts(certificate), now)
        is_good = self._locks.holds(name) and not self._schedule.is_due(name, now)
        if is_good and not self._renewal.clear_failure(certificate, trigger):
            self._schedule.postpone(name, self._renewal.facts(name), now)

    def plan_next(self, certificate: CertificateSection, renewed: Renewed) -> None:
        """By what a renewal came to."""
        name, now = certificate.name, self._clock.now()
        if renewed.outcome in (Outcome.DONE, Outcome.FOUND, Outcome.KEPT):
            self._schedule.plan_after_renewal(name, self._current_facts(certificate), now)
        else:
            self._schedule.postpone(name, self._renewal.facts(name), now, renewed.retry_at)

    @contextmanager
    def in_progress(self, name: str) -> Iterator[None]:
        """Out of the schedule while it is worked on; whatever is raised meanwhile, it is tried again."""
        self._schedule.mark_in_progress(name)
        try:
            yield
        except BaseException:
            self._schedule.postpone(name, None, self._clock.now())
            raise

    def skip(self, certificate: CertificateSection, trigger: Trigger, *, force: bool) -> Renewed | None:
        """Why there is nothing to do: it is not due, or the CA is unavailable and another certificate tries."""
        name, now = certificate.name, self._clock.now()
        has_unproven = self._renewal.has_unproven(certificate)
        if not force and not has_unproven and not self._schedule.is_due(name, now):
            self.plan(certificate, trigger)
            return Renewed(name=name, outcome="not_due", note=self._due_note(name))
        if trigger is Trigger.TIMER and self._ca_outage.may_skip(name, self._stage(name), now):
            self._schedule.postpone(name, self._renewal.facts(name), now)
            return Renewed(name=name, outcome="not_due", note="the CA is unavailable")
        return None

    async def hold(self, certificate: CertificateSection) -> Renewed | None:
        """Why an order would change nothing: only the chain is about to end, and the CA still issues with it."""
        facts = self._renewal.short_chained(certificate)
        if facts is None:
            return None
        has_changed = await self._issuing_chain.has_changed(facts)
        if has_changed or (has_changed is None and not self._renewal.brought_the_same_chain(certificate, facts)):
            return None
        now = self._clock.now()
        self._schedule.hold(certificate.name, bounded_pause(_CHAIN_LOOK_EVERY, facts, now), now)
        note = f"the CA still issues with {facts.chain_ends_with}, which expires {facts.ends_at.isoformat()}"
        return Renewed(name=certificate.name, outcome="not_due", note=note)

    def need(self, name: str) -> Need:
        """How much a new certificate is needed now."""
        return self._schedule.need(name, self._renewal.facts(name), self._clock.now())

    def pause_after_failure(self, name: str) -> timedelta:
        """How long until the next try, should the one that begins now fail."""
        return self._schedule.pause_after_failure(name, self._renewal.facts(name), self._clock.now())

    def expedite(self, judgements: Sequence[Judgement]) -> None:
        """A path that is good again needs no waiting for the next retry; nor does anything once the CA is back,
        whatever stands in the way of each certificate. What is issued and was not served needs neither: a path is no
        reason to swap it in and out once more."""
        good = {judgement.identifier for judgement in judgements if judgement.verdict is not Verdict.BLOCK}
        is_back = self._ca_outage.note(judgements)
        for certificate in self._managed:
            is_free = is_back or set(certificate.identifiers) <= good
            if is_free and self._schedule.waits(certificate.name) and not self._renewal.has_unproven(certificate):
                self._schedule.expedite(certificate.name, self._clock.now())

    def _stage(self, name: str) -> str:
        facts = self._renewal.facts(name)
        return "expired" if facts is not None and facts.ends_at <= self._clock.now() else self.need(name)

    def _current_facts(self, certificate: CertificateSection) -> CertificateFacts | None:
        generation = self._renewal.current_generation(certificate)
        return generation.facts if generation is not None else None

    def _due_note(self, name: str) -> str:
        facts = self._renewal.facts(name)
        return f"due {self._schedule.due_at(name, facts).isoformat()}" if facts else "due now"


def _outcome_of(judgements: Sequence[Judgement]) -> Outcome:
    if any(judgement.verdict is Verdict.BLOCK for judgement in judgements):
        return Outcome.BLOCKED
    severities = (finding.severity for judgement in judgements for finding in judgement.findings)
    return Outcome.FOUND if any(severity.at_least(Severity.WARN) for severity in severities) else Outcome.DONE
