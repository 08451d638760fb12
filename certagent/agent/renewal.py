"""One renewal: order, deploy, prove, report. What a killed one left is finished by the next start."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from certagent.agent.mtls_fallback import MtlsFallback, RenewUnchallenged
from certagent.agent.preflight import Preflight
from certagent.agent.reporter import Reporter, Run
from certagent.agent.schedule import bounded
from certagent.config import CertificateSection
from certagent.domain.catalogue import Trait, has_trait
from certagent.domain.certificates import CertificateFacts, fingerprint_of
from certagent.domain.deployments import Deployment, Generation
from certagent.domain.diagnosis.order_result import agreement, deployment_failed, order_failed, renewal_is_impossible
from certagent.domain.findings import Finding, Severity, Verdict, worst_first
from certagent.domain.orders import Failed, Issued, OrderOutcome
from certagent.domain.policy import Judgement, Policy
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import Rehearsal
from certagent.domain.reports import Outcome, RunKind, Trigger, certificate_scope
from certagent.state import CertificateFolder, Last, State
from certagent.state import RunRecord as Journal

log = logging.getLogger(__name__)

SETTLE_LOOK_SECONDS = 2.0

PlaceOrder = Callable[[CertificateSection, CertificateFolder], Awaitable[OrderOutcome]]
Deploy = Callable[[CertificateSection, Generation], Awaitable[list[Deployment]]]
Expecting = Callable[[CertificateSection], AbstractContextManager[None]]


class Need(StrEnum):
    """How much a new certificate is wanted."""

    NONE = "none"  # it was asked for before its time
    DUE = "due"
    URGENT = "urgent"  # so little life is left that an order is placed although the verdict blocks


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """What a renewal came to; `outcome` is an Outcome, or "not_due"."""

    name: str
    outcome: str
    note: str | None = None
    fingerprint: str | None = None
    retry_at: datetime | None = None  # not before, says the CA
    findings: tuple[Finding, ...] = ()


class RenewalRunner:
    """Renews one certificate at a time; whoever calls sees to it that no certificate is worked on twice."""

    def __init__(
        self,
        node: str,
        *,
        state: State,
        place_order: PlaceOrder,
        renew_unchallenged: RenewUnchallenged,
        deploy: Deploy,
        expecting: Expecting,
        preflight: Preflight,
        reporter: Reporter,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._node = node
        self._state = state
        self._place_order = place_order
        self._keeping = MtlsFallback(node, renew_unchallenged, policy.renewal, clock)
        self._deploy = deploy
        self._expecting = expecting
        self._preflight = preflight
        self._reporter = reporter
        self._policy = policy
        self._clock = clock
        self._blocked_since: dict[str, datetime] = {}

    def facts(self, name: str) -> CertificateFacts | None:
        """The certificate that is proven, or else the newest one that was issued."""
        return self._state.certificate(name).facts()

    def is_unproven(self, certificate: CertificateSection) -> bool:
        """Whether something was issued and not yet proven: to be deployed again, due or not."""
        return self._unproven(self._state.certificate(certificate.name), certificate) is not None

    def standing(self, certificate: CertificateSection) -> Generation | None:
        """The same one with its pair, if it is as wanted: for all identifiers, not revoked, and no newer one waits to
        be deployed."""
        folder = self._state.certificate(certificate.name)
        generation = folder.proven()
        if generation is None or not generation.facts.covers(certificate.identifiers):
            return None
        is_last = self._unproven(folder, certificate) is None and not folder.is_revoked(generation)
        return generation if is_last else None

    def take_back(self, certificate: CertificateSection, trigger: Trigger) -> bool:
        """The certificate stands and is not due: what the last run complained of is no trouble any more, nor is one
        that broke off because it could not write the state. False as long as that cannot be written."""
        folder = self._state.certificate(certificate.name)
        last, broken_off = folder.last(), folder.run()
        try:
            if broken_off is not None:
                folder.save_run(broken_off)  # what cannot be written is no better yet
            elif last is None or last.outcome not in (Outcome.FAILED, Outcome.BLOCKED):
                return True
            run = self._reporter.begin(RunKind.RENEWAL, trigger)
            scope = certificate_scope(certificate.name)
            self._reporter.end(run, Outcome.DONE, scopes=[scope], certificate=certificate.name)
            folder.end_run(Last(outcome=Outcome.DONE, at=self._clock.now()))
        except OSError as error:
            log.warning("what a run of %s left in the state stays: %s", certificate.name, error.strerror)
            return False
        return True

    async def run(
        self,
        certificate: CertificateSection,
        judgements: Sequence[Judgement],
        trigger: Trigger,
        *,
        need: Need,
    ) -> Renewed:
        """From the verdict to the proof. Always ends in a report; what preflight warned of is shown with the result."""
        with self._expecting(certificate):
            renewed = await self._run(certificate, judgements, trigger, need)
        seen = [finding for judgement in judgements for finding in judgement.findings]
        warnings = tuple(finding for finding in seen if finding.severity.at_least(Severity.WARN))
        return msgspec.structs.replace(renewed, findings=(*renewed.findings, *warnings))

    async def _run(
        self, certificate: CertificateSection, judgements: Sequence[Judgement], trigger: Trigger, need: Need
    ) -> Renewed:
        folder = self._state.certificate(certificate.name)
        run = self._reporter.begin(RunKind.RENEWAL, trigger)
        folder.save_run(_journal(run, certificate.name, "preflight"))
        unproven = self._unproven(folder, certificate)
        if unproven is not None:
            return await self._deploy_and_prove(certificate, unproven, run, [])
        blocks = [judgement for judgement in judgements if judgement.verdict is Verdict.BLOCK]
        if not self._may_order(certificate.name, blocks, trigger, need):
            return await self._keep(certificate, judgements, run, [], need, Outcome.BLOCKED)
        await self._settle(judgements, self.facts(certificate.name))
        folder.save_run(_journal(run, certificate.name, "order"))
        outcome = await self._order(certificate, folder)
        findings = agreement(self._node, judgements, outcome)
        if isinstance(outcome, Failed):
            again = await self._preflight.judge(certificate.identifiers)
            findings = [*order_failed(self._node, certificate.identifiers, outcome, again), *findings]
            may_keep = need if blocks or need is Need.URGENT else Need.NONE
            renewed = await self._keep(certificate, judgements, run, findings, may_keep, Outcome.FAILED)
            retry_at = self._clock.now() + outcome.retry_after if outcome.retry_after is not None else None
            return msgspec.structs.replace(renewed, retry_at=retry_at)
        generation = folder.add_generation(outcome.key_pem, outcome.chain_pem)
        folder.forget_order()
        folder.forget_unchallenged()
        return await self._deploy_and_prove(certificate, generation, run, findings)

    async def _order(self, certificate: CertificateSection, folder: CertificateFolder) -> OrderOutcome:
        """An order whose pair is a generation already, because a run was killed just then, has nothing new to give."""
        outcome = await self._place_order(certificate, folder)
        if isinstance(outcome, Issued) and folder.holds(fingerprint_of(outcome.chain_pem)):
            folder.forget_order()
            outcome = await self._place_order(certificate, folder)
        return outcome

    async def _keep(
        self,
        certificate: CertificateSection,
        judgements: Sequence[Judgement],
        run: Run,
        findings: list[Finding],
        need: Need,
        otherwise: Outcome,
    ) -> Renewed:
        """No order, or none that came to anything: what is due is kept alive without a challenge, if that can be."""
        folder = self._state.certificate(certificate.name)
        note = "withheld before any order" if otherwise is Outcome.BLOCKED else None
        if need is Need.NONE:
            return self._end(certificate, run, otherwise, findings, note=note)
        folder.save_run(_journal(run, certificate.name, "keep"))
        generation, said = await self._keeping.keep(certificate, folder, judgements)
        if generation is None:
            return self._end(certificate, run, otherwise, [*said, *findings], note=note)
        return await self._deploy_and_prove(certificate, generation, run, [*said, *findings], Outcome.KEPT)

    async def finish_interrupted(self, certificate: CertificateSection) -> None:
        """Report a killed run under its own id, and bring what is issued into its proven place. Run at each start."""
        folder = self._state.certificate(certificate.name)
        folder.sweep()
        killed = folder.run()
        if killed is not None:
            run = Run(RunKind.RENEWAL, killed.trigger, killed.started_at, killed.id)
            self._reporter.end(run, Outcome.INTERRUPTED, certificate=certificate.name)
            folder.end_run(Last(outcome=Outcome.INTERRUPTED, at=self._clock.now()))
        newest = folder.newest() if killed is not None else self._unproven(folder, certificate)
        if newest is None or newest.facts.not_after <= self._clock.now():
            return
        run = self._reporter.begin(RunKind.RENEWAL, Trigger.START)
        folder.save_run(_journal(run, certificate.name, "deploy", newest.number))
        await self._deploy_and_prove(certificate, newest, run, [])

    async def _deploy_and_prove(
        self,
        certificate: CertificateSection,
        generation: Generation,
        run: Run,
        findings: list[Finding],
        outcome: Outcome = Outcome.DONE,
    ) -> Renewed:
        folder = self._state.certificate(certificate.name)
        folder.save_run(_journal(run, certificate.name, "deploy", generation.number))
        deployments = await self._deploy(certificate, generation)
        failed = [finding for one in deployments for finding in deployment_failed(self._node, one)]
        is_good = all(deployment.is_good for deployment in deployments)
        if is_good:
            folder.set_proven(generation.number)
        if is_good and outcome is not Outcome.KEPT:
            self._blocked_since.pop(certificate.name, None)
        outcome = outcome if is_good else Outcome.FAILED
        return self._end(certificate, run, outcome, [*failed, *findings], fingerprint=generation.facts.fingerprint)

    def _end(
        self,
        certificate: CertificateSection,
        run: Run,
        outcome: Outcome,
        findings: list[Finding],
        *,
        note: str | None = None,
        fingerprint: str | None = None,
    ) -> Renewed:
        """Report, then forget the journal. The preflight's findings have a report of their own."""
        said = [*findings, *self._about_its_life(certificate.name)]
        graded = worst_first([self._policy.grade(finding) for finding in said])
        if outcome is Outcome.DONE and any(finding.severity.at_least(Severity.WARN) for finding in graded):
            outcome = Outcome.FOUND
        scope = certificate_scope(certificate.name)
        self._reporter.end(run, outcome, scopes=[scope], findings=graded, certificate=certificate.name)
        self._state.certificate(certificate.name).end_run(Last(outcome=outcome, at=self._clock.now()))
        return Renewed(
            name=certificate.name,
            outcome=outcome,
            note=note,
            fingerprint=fingerprint,
            findings=tuple(graded),
        )

    def _about_its_life(self, name: str) -> list[Finding]:
        facts = self.facts(name)
        return list(renewal_is_impossible(self._node, name, facts, self._policy)) if facts is not None else []

    def _unproven(self, folder: CertificateFolder, certificate: CertificateSection) -> Generation | None:
        """A generation that was issued but not proven: it is deployed before anything new is ordered."""
        newest, proven = folder.newest(), folder.proven()
        if newest is None or (proven is not None and proven.number == newest.number):
            return None
        is_wanted = newest.facts.covers(certificate.identifiers) and not folder.is_revoked(newest)
        is_usable = is_wanted and newest.facts.not_after > self._clock.now()
        due_at = newest.facts.due_at(self._policy.renewal.due_after)
        return newest if is_usable and due_at > self._clock.now() else None

    def _may_order(self, name: str, blocks: Sequence[Judgement], trigger: Trigger, need: Need) -> bool:
        """The verdict, but for probing: one order per interval, and always near expiry. A request never probes."""
        if not blocks:
            self._blocked_since.pop(name, None)
            return True
        unable = any(
            has_trait(finding.code, Trait.OWN_INABILITY) for judgement in blocks for finding in judgement.findings
        )
        now = self._clock.now()
        since = min(self._blocked_since.setdefault(name, now), now)  # the clock may have been set back
        if unable or trigger is Trigger.REQUEST:
            return False
        if need is Need.URGENT or now - since >= self._policy.renewal.probe_every:
            self._blocked_since[name] = now
            return True
        return False

    async def _settle(self, judgements: Sequence[Judgement], facts: CertificateFacts | None) -> None:
        """Wait, bounded, until the CA has forgotten what it had read and closed what it held open before."""
        longest = bounded(self._policy.renewal.settle_longest, facts, self._clock.now())
        deadline = self._clock.monotonic() + longest.total_seconds()
        for judgement in judgements:
            rehearsal = judgement.rehearsal
            while rehearsal is not None and not self._is_settled(rehearsal) and self._clock.monotonic() < deadline:
                await self._clock.sleep(self._settle_pause(rehearsal))
                rehearsal = await self._preflight.rehearse(judgement.identifier)

    def _is_settled(self, rehearsal: Rehearsal) -> bool:
        return not rehearsal.stale and (rehearsal.settles_at is None or rehearsal.settles_at <= self._clock.now())

    def _settle_pause(self, rehearsal: Rehearsal) -> float:
        if rehearsal.settles_at is None:
            return SETTLE_LOOK_SECONDS
        left = rehearsal.settles_at - self._clock.now()
        return max(left, timedelta(milliseconds=50)).total_seconds()


def _journal(run: Run, name: str, step: str, generation: int | None = None) -> Journal:
    return Journal(
        id=run.id,
        certificate=name,
        trigger=run.trigger,
        step=step,
        started_at=run.started_at,
        generation=generation,
    )
