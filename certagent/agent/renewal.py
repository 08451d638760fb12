"""One renewal: order, deploy, prove, report. What a killed run left is finished by the next start."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from certagent.agent.context import AgentContext
from certagent.agent.deployment import DeploymentService, deployments_failed
from certagent.agent.issuing_chain import issuing_chain, remember_chain
from certagent.agent.orders import MtlsFallback, OrderPlacer
from certagent.agent.preflight import Preflight
from certagent.agent.renewal_attempt import RenewalAttempt
from certagent.agent.reporter import Run
from certagent.agent.schedule import Need, bounded_pause
from certagent.config import CertificateSection
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.certificates import CertificateFacts, fingerprint_of
from certagent.domain.deployments import EndpointProof, Generation, seen_served
from certagent.domain.diagnosis.issued_chain import chain_ends_first
from certagent.domain.diagnosis.order_result import agreement, order_failed, renewal_is_impossible
from certagent.domain.findings import Finding, Severity, Verdict
from certagent.domain.orders import Failed, Issued, OrderOutcome
from certagent.domain.policy import Judgement, worst_first
from certagent.domain.rehearsals import Rehearsal
from certagent.domain.reports import Outcome, RunKind, Trigger, certificate_scope
from certagent.state import CertificateFolder, LastRun

log = logging.getLogger(__name__)

SETTLE_PAUSE = timedelta(seconds=2)
_SHORTEST_SETTLE_PAUSE = timedelta(milliseconds=50)


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """What a renewal came to; `outcome` is an Outcome, or "not_due"."""

    name: str
    outcome: str
    note: str | None = None
    fingerprint: str | None = None
    retry_at: datetime | None = None  # not before, says the CA
    findings: tuple[Finding, ...] = ()
    served: tuple[EndpointProof, ...] | None = None  # as it was proven, where it was


class RenewalRunner:
    """Renews one certificate at a time; whoever calls makes sure that no certificate is worked on twice."""

    def __init__(
        self, context: AgentContext, orders: OrderPlacer, deployment: DeploymentService, preflight: Preflight
    ) -> None:
        self._node = context.node
        self._state = context.state
        self._policy = context.policy
        self._reporter = context.reporter
        self._clock = context.clock
        self._orders = orders
        self._mtls_fallback = MtlsFallback(context, orders)
        self._deployment = deployment
        self._preflight = preflight
        self._blocked_since: dict[str, datetime] = {}

    def facts(self, name: str) -> CertificateFacts | None:
        """Of the certificate that is proven, or else the newest one that was issued."""
        return self._state.certificate(name).facts()

    def has_unproven(self, certificate: CertificateSection) -> bool:
        """Whether something was issued and is not proven yet: it has to be deployed again, due or not."""
        return self._unproven(self._state.certificate(certificate.name), certificate) is not None

    def current_generation(self, certificate: CertificateSection) -> Generation | None:
        """The proven generation, if it is what the configuration wants: it covers all identifiers, is not revoked, and
        no newer one waits to be deployed."""
        folder = self._state.certificate(certificate.name)
        generation = folder.proven()
        if generation is None or not generation.facts.covers(certificate.identifiers):
            return None
        is_last = self._unproven(folder, certificate) is None and not folder.is_revoked(generation)
        return generation if is_last else None

    def short_chained(self, certificate: CertificateSection) -> CertificateFacts | None:
        """The newest certificate, if only its chain makes it due: another order would bring the same chain again unless
        the CA has got a new one."""
        folder = self._state.certificate(certificate.name)
        newest = folder.newest()
        if newest is None or newest.facts.chain_ends_at is None or self._unproven(folder, certificate) is not None:
            return None
        is_wanted = newest.facts.covers(certificate.identifiers) and not folder.is_revoked(newest)
        leaf_due_at = newest.facts.without_chain().due_at(self._policy.renewal.due_after)
        return newest.facts if is_wanted and leaf_due_at > self._clock.now() else None

    def brought_the_same_chain(self, certificate: CertificateSection, facts: CertificateFacts) -> bool:
        """Whether a renewal was tried already, with the same end, and less than a probing interval ago."""
        folder = self._state.certificate(certificate.name)
        before = [folder.generation(number) for number in folder.numbers()[-2:-1]]
        is_same = any(one is not None and one.facts.chain_ends_at == facts.chain_ends_at for one in before)
        return is_same and self._clock.now() - facts.not_before < self._policy.renewal.probe_every

    async def prepare(self) -> None:
        """A preflight begins: what an order takes is loaded meanwhile."""
        await self._orders.prepare()

    async def run(
        self,
        certificate: CertificateSection,
        judgements: Sequence[Judgement],
        trigger: Trigger,
        *,
        need: Need,
        retry_after: timedelta | None = None,
    ) -> Renewed:
        """From the verdict to the proof. Always ends in a report; what preflight warned of is shown with the result.
        `retry_after`: how long until the next one, should this one fail."""
        with self._deployment.expect_reload(certificate):
            begun = self._begin(certificate, trigger, judgements, need)
            renewed = await self._run(msgspec.structs.replace(begun, retry_after=retry_after))
        seen = [finding for judgement in judgements for finding in judgement.findings]
        warnings = tuple(finding for finding in seen if finding.severity.at_least(Severity.WARN))
        return msgspec.structs.replace(renewed, findings=(*renewed.findings, *warnings))

    async def _run(self, attempt: RenewalAttempt) -> Renewed:
        await asyncio.to_thread(attempt.record_step, "preflight")
        unproven = self._unproven(attempt.folder, attempt.certificate)
        if unproven is not None and not await self._is_hopeless(attempt, unproven):
            return await self._deploy_kept(attempt, unproven, [])
        if not self._may_order(attempt):
            return await self._fall_back(attempt, [], Outcome.BLOCKED)
        await self._settle(attempt.judgements, attempt.folder.facts())
        await asyncio.to_thread(attempt.record_step, "order")
        outcome = await self._order(attempt)
        findings = agreement(self._node, attempt.judgements, outcome)
        if isinstance(outcome, Failed):
            return await self._end_failed_order(attempt, outcome, findings)
        generation = await asyncio.to_thread(attempt.keep, outcome)
        return await self._deploy_and_prove(attempt, generation, findings)

    async def _order(self, attempt: RenewalAttempt) -> OrderOutcome:
        """An order whose pair is already a generation, because a run was killed just then, yields nothing new."""
        outcome = await self._orders.place(attempt.certificate, attempt.folder)
        if isinstance(outcome, Issued) and attempt.folder.holds(fingerprint_of(outcome.chain_pem)):
            attempt.folder.forget_order()
            outcome = await self._orders.place(attempt.certificate, attempt.folder)
        return outcome

    async def _end_failed_order(self, attempt: RenewalAttempt, failed: Failed, findings: list[Finding]) -> Renewed:
        """Judge again, for the reason that the CA hides; renew by mTLS if that cannot wait."""
        identifiers = attempt.certificate.identifiers
        again = await self._preflight.judge(identifiers)
        findings = [*order_failed(self._node, identifiers, failed, again), *findings]
        if not _blocks(attempt.judgements) and attempt.need is not Need.URGENT:
            attempt = msgspec.structs.replace(attempt, need=Need.NONE)
        renewed = await self._fall_back(attempt, findings, Outcome.FAILED)
        retry_at = self._clock.now() + failed.retry_after if failed.retry_after is not None else None
        return msgspec.structs.replace(renewed, retry_at=retry_at)

    async def _fall_back(self, attempt: RenewalAttempt, findings: list[Finding], otherwise: Outcome) -> Renewed:
        """No order, or a failed one: what is due is renewed without a challenge, if that is possible."""
        note = "withheld before any order" if otherwise is Outcome.BLOCKED else None
        if attempt.need is Need.NONE:
            return await self._end(attempt, otherwise, findings, note=note)
        await asyncio.to_thread(attempt.record_step, "keep")
        generation, more = await self._mtls_fallback.renew(attempt.certificate, attempt.folder, attempt.judgements)
        findings = [*more, *findings]
        if generation is None:
            return await self._end(attempt, otherwise, findings, note=note)
        return await self._deploy_kept(attempt, generation, findings, Outcome.KEPT)

    async def _deploy_kept(
        self, attempt: RenewalAttempt, generation: Generation, findings: list[Finding], outcome: Outcome = Outcome.DONE
    ) -> Renewed:
        """What is in the state already."""
        await asyncio.to_thread(attempt.record_step, "deploy", generation)
        return await self._deploy_and_prove(attempt, generation, findings, outcome)

    async def _deploy_and_prove(
        self, attempt: RenewalAttempt, generation: Generation, findings: list[Finding], outcome: Outcome = Outcome.DONE
    ) -> Renewed:
        deployments = await self._deployment.deploy(attempt.certificate, generation)
        name, proven = attempt.certificate.name, attempt.folder.proven()
        retry_at = self._clock.now() + attempt.retry_after if attempt.retry_after is not None else None
        failed = deployments_failed(self._node, attempt.certificate, deployments, proven, retry_at)
        is_good = all(deployment.is_good for deployment in deployments)
        if generation.facts.chain_ends_at is not None:
            remember_chain(self._state, attempt.judgements)
            source = issuing_chain(self._state)
            findings = [chain_ends_first(self._node, name, generation.facts, source), *findings]
        if is_good:
            await asyncio.to_thread(attempt.folder.set_proven, generation.number)
        if is_good and outcome is not Outcome.KEPT:
            self._blocked_since.pop(attempt.certificate.name, None)
        outcome = outcome if is_good else Outcome.FAILED
        renewed = await self._end(attempt, outcome, [*failed, *findings], fingerprint=generation.facts.fingerprint)
        return msgspec.structs.replace(renewed, served=seen_served(deployments) if is_good else None)

    async def _end(
        self,
        attempt: RenewalAttempt,
        outcome: Outcome,
        findings: list[Finding],
        *,
        note: str | None = None,
        fingerprint: str | None = None,
    ) -> Renewed:
        """Report, then forget the record of the run. The preflight's findings have a report of their own."""
        name = attempt.certificate.name
        facts = self.facts(name)
        of_life = renewal_is_impossible(self._node, name, facts, self._policy) if facts is not None else ()
        findings = [*findings, *of_life]
        graded = worst_first([self._policy.grade(finding) for finding in findings])
        if outcome is Outcome.DONE and any(finding.severity.at_least(Severity.WARN) for finding in graded):
            outcome = Outcome.FOUND
        scopes = [certificate_scope(name)]
        await self._reporter.end_with_others(attempt.run, outcome, scopes=scopes, findings=graded, certificate=name)
        await asyncio.to_thread(attempt.folder.end_run, LastRun(outcome=outcome, at=self._clock.now()))
        return Renewed(name=name, outcome=outcome, note=note, fingerprint=fingerprint, findings=tuple(graded))

    # --- around the runs ------------------------------------------------------------------------------------------

    def give_up(self, certificate: CertificateSection, run: Run, finding: Finding) -> Renewed:
        """A run that could not even begin, or not write its state: reported as failed; the state stays as it is."""
        graded = self._policy.grade(finding)
        self._report(certificate, run, Outcome.FAILED, [graded])
        return Renewed(name=certificate.name, outcome=Outcome.FAILED, findings=(graded,))

    def clear_failure(self, certificate: CertificateSection, trigger: Trigger) -> bool:
        """The certificate is as wanted and not due: what the last run complained of is over, and so is a run that broke
        off because it could not write the state. False while that cannot be written."""
        folder = self._state.certificate(certificate.name)
        last, broken_off = folder.last(), folder.run()
        try:
            if broken_off is not None:
                folder.save_run(broken_off)  # what cannot be written is no better yet
            elif last is None or last.outcome not in (Outcome.FAILED, Outcome.BLOCKED):
                return True
            self._report(certificate, self._reporter.begin(RunKind.RENEWAL, trigger), Outcome.DONE)
            folder.end_run(LastRun(outcome=Outcome.DONE, at=self._clock.now()))
        except OSError as error:
            log.warning("the record of an earlier run of %s could not be updated: %s", certificate.name, error.strerror)
            return False
        return True

    async def deploy_again(
        self, certificate: CertificateSection, generation: Generation, trigger: Trigger, findings: list[Finding]
    ) -> Renewed:
        """A run without an order. Raises OSError for a state that cannot be written."""
        return await self._deploy_kept(self._begin(certificate, trigger), generation, findings)

    async def finish_interrupted(self, certificate: CertificateSection) -> None:
        """Report a killed run under its own id, and bring what is issued into its proven place. Run at each start."""
        folder = self._state.certificate(certificate.name)
        folder.sweep()
        killed = folder.run()
        if killed is not None:
            run = Run(RunKind.RENEWAL, killed.trigger, killed.started_at, killed.id)
            self._reporter.end(run, Outcome.INTERRUPTED, certificate=certificate.name)
            folder.end_run(LastRun(outcome=Outcome.INTERRUPTED, at=self._clock.now()))
        newest = folder.newest() if killed is not None else self._unproven(folder, certificate)
        if newest is None or newest.facts.ends_at <= self._clock.now():
            return
        await self.deploy_again(certificate, newest, Trigger.START, [])

    def _begin(
        self,
        certificate: CertificateSection,
        trigger: Trigger,
        judgements: Sequence[Judgement] = (),
        need: Need = Need.NONE,
    ) -> RenewalAttempt:
        folder, run = self._state.certificate(certificate.name), self._reporter.begin(RunKind.RENEWAL, trigger)
        return RenewalAttempt(certificate=certificate, folder=folder, run=run, judgements=judgements, need=need)

    def _report(
        self, certificate: CertificateSection, run: Run, outcome: Outcome, findings: Sequence[Finding] = ()
    ) -> None:
        scopes = [certificate_scope(certificate.name)]
        self._reporter.end(run, outcome, scopes=scopes, findings=findings, certificate=certificate.name)

    def _unproven(self, folder: CertificateFolder, certificate: CertificateSection) -> Generation | None:
        """A generation that was issued but not proven: it is deployed before anything new is ordered."""
        newest, proven = folder.newest(), folder.proven()
        if newest is None or (proven is not None and proven.number == newest.number):
            return None
        is_wanted = newest.facts.covers(certificate.identifiers) and not folder.is_revoked(newest)
        is_usable = is_wanted and newest.facts.ends_at > self._clock.now()
        due_at = newest.facts.without_chain().due_at(self._policy.renewal.due_after)
        return newest if is_usable and due_at > self._clock.now() else None

    async def _is_hopeless(self, attempt: RenewalAttempt, unproven: Generation) -> bool:
        """A pair that no deployment can make good, because it is not good itself: another one is ordered when a person
        asks, and otherwise once per probing interval."""
        is_old = self._clock.now() - unproven.facts.not_before >= self._policy.renewal.probe_every
        if attempt.run.trigger is not Trigger.REQUEST and not is_old:
            return False
        return bool(await self._deployment.find_pair_faults(attempt.certificate, unproven))

    def _may_order(self, attempt: RenewalAttempt) -> bool:
        """As the verdict says, except for probing: one order per interval, and always near expiry. A request never
        probes."""
        name, blocks = attempt.certificate.name, _blocks(attempt.judgements)
        if not blocks:
            self._blocked_since.pop(name, None)
            return True
        codes = {finding.code for judgement in blocks for finding in judgement.findings}
        is_unable = any(has_trait(code, Trait.OWN_INABILITY) for code in codes)
        now = self._clock.now()
        since = min(self._blocked_since.setdefault(name, now), now)  # the clock may have been set back
        if is_unable or attempt.run.trigger is Trigger.REQUEST:
            return False
        if attempt.need is Need.URGENT or now - since >= self._policy.renewal.probe_every:
            self._blocked_since[name] = now
            return True
        return False

    async def _settle(self, judgements: Sequence[Judgement], facts: CertificateFacts | None) -> None:
        """Wait, bounded, until the CA has forgotten what it had read and closed what it had open before."""
        longest = bounded_pause(self._policy.renewal.settle_longest, facts, self._clock.now())
        deadline = self._clock.monotonic() + longest.total_seconds()
        for judgement in judgements:
            rehearsal = judgement.rehearsal
            while rehearsal is not None and not self._is_settled(rehearsal) and self._clock.monotonic() < deadline:
                until = rehearsal.settles_at
                pause = SETTLE_PAUSE if until is None else max(until - self._clock.now(), _SHORTEST_SETTLE_PAUSE)
                await self._clock.sleep(pause.total_seconds())
                rehearsal = await self._preflight.rehearse(judgement.identifier)

    def _is_settled(self, rehearsal: Rehearsal) -> bool:
        return not rehearsal.stale and (rehearsal.settles_at is None or rehearsal.settles_at <= self._clock.now())


def _blocks(judgements: Sequence[Judgement]) -> list[Judgement]:
    return [judgement for judgement in judgements if judgement.verdict is Verdict.BLOCK]
