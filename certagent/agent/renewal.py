"""One renewal: order, deploy, prove, report. What a killed one left is finished by the next start."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from certagent.agent.preflight import Preflight
from certagent.agent.reporter import Reporter, Run
from certagent.config import CertificateSection
from certagent.domain.certificates import CertificateFacts
from certagent.domain.conclusions.ordering import agreement, deployment_failed, order_failed
from certagent.domain.deployments import Deployment, Generation
from certagent.domain.findings import Finding, Severity, Verdict, worst_first
from certagent.domain.orders import Failed, OrderOutcome
from certagent.domain.policy import OWN_INABILITY, Judgement, Policy
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import Rehearsal
from certagent.domain.reports import Outcome, RunKind, Trigger
from certagent.state import CertificateFolder, Last, State
from certagent.state import Run as Journal

SETTLE_LOOK_SECONDS = 2.0

PlaceOrder = Callable[[CertificateSection, CertificateFolder], Awaitable[OrderOutcome]]
Deploy = Callable[[CertificateSection, Generation], Awaitable[list[Deployment]]]


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """What a renewal came to; `outcome` is an Outcome, or "not_due"."""

    name: str
    outcome: str
    note: str | None = None
    fingerprint: str | None = None
    findings: tuple[Finding, ...] = ()


class Renewal:
    """Renews one certificate at a time; whoever calls sees to it that no certificate is worked on twice."""

    def __init__(
        self,
        node: str,
        *,
        state: State,
        place_order: PlaceOrder,
        deploy: Deploy,
        preflight: Preflight,
        reporter: Reporter,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._node = node
        self._state = state
        self._place_order = place_order
        self._deploy = deploy
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

    async def run(
        self, certificate: CertificateSection, judgements: Sequence[Judgement], trigger: Trigger, *, urgent: bool
    ) -> Renewed:
        """From the verdict to the proof. Always ends in a report; what preflight warned of is shown with the result."""
        renewed = await self._run(certificate, judgements, trigger, urgent=urgent)
        seen = [finding for judgement in judgements for finding in judgement.findings]
        warnings = tuple(finding for finding in seen if finding.severity.at_least(Severity.WARN))
        return msgspec.structs.replace(renewed, findings=(*renewed.findings, *warnings))

    async def _run(
        self, certificate: CertificateSection, judgements: Sequence[Judgement], trigger: Trigger, *, urgent: bool
    ) -> Renewed:
        folder = self._state.certificate(certificate.name)
        run = self._reporter.begin(RunKind.RENEWAL, trigger)
        folder.save_run(_journal(run, certificate.name, "preflight"))
        unproven = self._unproven(folder, certificate)
        if unproven is not None:
            return await self._deploy_and_prove(certificate, unproven, run, [])
        if not self._may_order(certificate.name, judgements, trigger, urgent=urgent):
            return self._end(certificate, run, Outcome.BLOCKED, [], note="withheld before any order")
        await self._settle(judgements)
        folder.save_run(_journal(run, certificate.name, "order"))
        outcome = await self._place_order(certificate, folder)
        findings = agreement(self._node, judgements, outcome)
        if isinstance(outcome, Failed):
            again = await self._preflight.judge(certificate.identifiers)
            findings = [*order_failed(self._node, certificate.identifiers, outcome, again), *findings]
            return self._end(certificate, run, Outcome.FAILED, findings)
        generation = folder.add_generation(outcome.key_pem, outcome.chain_pem)
        folder.forget_order()
        return await self._deploy_and_prove(certificate, generation, run, findings)

    async def finish_interrupted(self, certificate: CertificateSection) -> None:
        """Report a killed run under its own id, and bring what is issued into its proven place. Run at each start."""
        folder = self._state.certificate(certificate.name)
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
        self, certificate: CertificateSection, generation: Generation, run: Run, findings: list[Finding]
    ) -> Renewed:
        folder = self._state.certificate(certificate.name)
        folder.save_run(_journal(run, certificate.name, "deploy", generation.number))
        deployments = await self._deploy(certificate, generation)
        failed = [finding for one in deployments for finding in deployment_failed(self._node, one)]
        is_good = all(deployment.is_good for deployment in deployments)
        if is_good:
            folder.set_proven(generation.number)
            self._blocked_since.pop(certificate.name, None)
        outcome = Outcome.DONE if is_good else Outcome.FAILED
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
        graded = worst_first([self._policy.grade(finding) for finding in findings])
        if outcome is Outcome.DONE and any(finding.severity.at_least(Severity.WARN) for finding in graded):
            outcome = Outcome.FOUND
        scope = f"certificate:{certificate.name}"
        self._reporter.end(run, outcome, scopes=[scope], findings=graded, certificate=certificate.name)
        self._state.certificate(certificate.name).end_run(Last(outcome=outcome, at=self._clock.now()))
        return Renewed(
            name=certificate.name,
            outcome=outcome,
            note=note,
            fingerprint=fingerprint,
            findings=tuple(graded),
        )

    def _unproven(self, folder: CertificateFolder, certificate: CertificateSection) -> Generation | None:
        """A generation that was issued but not proven: it is deployed before anything new is ordered."""
        newest, proven = folder.newest(), folder.proven()
        if newest is None or (proven is not None and proven.number == newest.number):
            return None
        is_usable = newest.facts.covers(certificate.identifiers) and newest.facts.not_after > self._clock.now()
        due_at = newest.facts.due_at(self._policy.renewal.due_after)
        return newest if is_usable and due_at > self._clock.now() else None

    def _may_order(self, name: str, judgements: Sequence[Judgement], trigger: Trigger, *, urgent: bool) -> bool:
        """The verdict, but for probing: one order per interval, and always near expiry. A request never probes."""
        blocks = [judgement for judgement in judgements if judgement.verdict is Verdict.BLOCK]
        if not blocks:
            self._blocked_since.pop(name, None)
            return True
        unable = any(finding.code in OWN_INABILITY for judgement in blocks for finding in judgement.findings)
        now = self._clock.now()
        since = self._blocked_since.setdefault(name, now)
        if unable or trigger is Trigger.REQUEST:
            return False
        if urgent or now - since >= self._policy.renewal.probe_every:
            self._blocked_since[name] = now
            return True
        return False

    async def _settle(self, judgements: Sequence[Judgement]) -> None:
        """Wait, bounded, until the CA has forgotten what it had read and closed what it held open before."""
        deadline = self._clock.now() + self._policy.renewal.settle_longest
        for judgement in judgements:
            rehearsal = judgement.rehearsal
            while rehearsal is not None and not self._is_settled(rehearsal) and self._clock.now() < deadline:
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
