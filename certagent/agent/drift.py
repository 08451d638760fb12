"""What is served, on disk, and proven, compared: on events, by the timer, of our own certificates and of others'.

Changes nothing: what somebody else put there is told, not fought.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from certagent.agent.reporter import Reporter
from certagent.config import CertificateSection, TraefikTarget
from certagent.domain.certificates import CertificateFacts
from certagent.domain.deployments import EndpointProof, ServedAs
from certagent.domain.diagnosis.drift import (
    CertResolver,
    ConfiguredPair,
    LiveTarget,
    Serving,
    conclude_serving,
    nobody_owns,
    renews_too_late,
)
from certagent.domain.findings import Finding, Severity, worst_first
from certagent.domain.policy import Policy
from certagent.domain.ports import Clock
from certagent.domain.reports import Outcome, RunKind, Trigger, certificate_scope, served_scope
from certagent.proof import Prover
from certagent.state import CertificateFolder, State
from certagent.watch import read_contents, watching

SECOND_LOOK = timedelta(seconds=1.5)
"""A look that shows something else is looked at again for so long: a service may just be taking up what is new."""
_KEPT = 6
_MOST_SCOPES = 500  # in one report; the collector takes a thousand
_TOLD = "reported-certificates"

ReadLive = Callable[[CertificateSection], list[LiveTarget]]
_Essence = tuple[str, object]


class ConfiguredSource(Protocol):
    """What the web servers of this node are configured with. Blocks."""

    def pairs(self) -> Sequence[ConfiguredPair]:
        """Every certificate that they name."""
        ...

    def resolvers(self) -> Sequence[CertResolver]:
        """Traefik's own."""
        ...


class DriftMonitor:
    """Looks at certificates, and reports what is new."""

    def __init__(
        self,
        certificates: Sequence[CertificateSection],
        *,
        live: ReadLive,
        configured: ConfiguredSource,
        prover: Prover,
        state: State,
        reporter: Reporter,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._certificates = certificates
        self._live = live
        self._configured = configured
        self._prover = prover
        self._state = state
        self._reporter = reporter
        self._policy = policy
        self._clock = clock
        self._told: dict[str, list[_Essence]] = {}
        self._looked_around_at = float("-inf")
        self._is_mistaken = False

    async def look(self, certificate: CertificateSection) -> Serving:
        """The certificate now: on disk, served, proven."""
        folder = self._state.certificate(certificate.name)
        after = _ended_at(folder)
        proven = await asyncio.to_thread(folder.proven) if certificate.manage else None
        live = tuple(await asyncio.to_thread(self._live, certificate))
        wanted = proven.facts if proven is not None else _on_disk(certificate, live)
        return Serving(
            node=self._reporter.agent,
            name=certificate.name,
            identifiers=certificate.identifiers,
            at=self._clock.now(),
            after=after,
            manage=certificate.manage,
            proven=proven.facts if proven is not None else None,
            live=live,
            served=await self._served(certificate, wanted.fingerprint if wanted is not None else ""),
            seen=self._state.read_record(_record(certificate.name), tuple[CertificateFacts, ...]) or (),
            expiring_below=self._policy.proof.expiring_below,
        )

    async def report(self, looks: Sequence[Serving], trigger: Trigger) -> None:
        """Conclude, and report what was not told yet; at a start those that are well in one report.

        Nothing of a certificate while a renewal is at work on it, or was since the look began: half of what was seen
        may be from before, and who renews has it looked at again."""
        well = []
        for serving in looks:
            if not self._is_settled(serving):
                continue
            seen = await asyncio.to_thread(self._note, serving)
            findings = conclude_serving(msgspec.structs.replace(serving, seen=seen))
            if findings or trigger is not Trigger.START:
                self._tell(serving.name, findings, trigger)
            else:
                well.append(served_scope(serving.name))
        for at in range(0, len(well), _MOST_SCOPES):
            run = self._reporter.begin(RunKind.SERVING, trigger)
            self._reporter.end(run, Outcome.DONE, scopes=well[at : at + _MOST_SCOPES])

    def findings(self, looks: Sequence[Serving]) -> list[Finding]:
        """What is wrong with them now, graded; told already or not, and likewise nothing while a renewal is at work."""
        found = [finding for one in looks if self._is_settled(one) for finding in conclude_serving(one)]
        return [self._policy.grade(finding) for finding in found]

    async def look_around(self, trigger: Trigger) -> None:
        """What this node's web servers serve beside what is configured here; seldom, for it is read from many files,
        but each time as long as a mistake is told: it may have been mended."""
        now = self._clock.monotonic()
        every = 0.0 if self._is_mistaken else self._policy.preflight.repeat_every.total_seconds()
        if trigger is not Trigger.START and now - self._looked_around_at < every:
            return
        self._looked_around_at = now
        if trigger is Trigger.START:
            self._forget_the_gone()
        pairs = await asyncio.to_thread(self._configured.pairs)
        resolvers = await asyncio.to_thread(self._configured.resolvers)
        late = [renews_too_late(self._reporter.agent, one) for one in resolvers]
        self._is_mistaken = any(late)
        unowned = nobody_owns(self._reporter.agent, pairs, self._owned())
        self._tell("", [*(one for one in late if one is not None), *unowned], trigger)

    def live_files(self) -> tuple[Path, ...]:
        """The files that decide on what is live: certificates and YAML, no key."""
        targets = [(one.name, target) for one in self._certificates for target in one.deploy]
        return tuple(
            target.dynamic / f"certagent-{name}.yml" if isinstance(target, TraefikTarget) else target.certificate
            for name, target in targets
        )

    def names_of(self, files: Sequence[str]) -> list[str]:
        """The certificates that those files are of."""
        paths = self.live_files()
        owners = [one.name for one in self._certificates for _ in one.deploy]
        return list(dict.fromkeys(name for name, path in zip(owners, paths, strict=True) if str(path) in files))

    async def _served(self, certificate: CertificateSection, wanted: str) -> tuple[EndpointProof, ...]:
        endpoints = [endpoint for target in certificate.deploy for endpoint in target.prove]
        seen = await self._prover.served_now(wanted, endpoints, certificate.identifiers)
        if not wanted or all(one.served_as is ServedAs.PROVEN for one in seen):
            return seen
        return (await self._prover.prove(wanted, endpoints, certificate.identifiers, SECOND_LOOK)).endpoints

    def _is_settled(self, serving: Serving) -> bool:
        """Whether no renewal is at work on it, or was since the look began."""
        folder = self._state.certificate(serving.name)
        return folder.run() is None and _ended_at(folder) == serving.after

    def _note(self, serving: Serving) -> tuple[CertificateFacts, ...]:
        """Remember what somebody else has issued, and when; of our own the state tells."""
        known = {one.fingerprint for one in serving.seen}
        leaves = {one.leaf.fingerprint: one.leaf for one in serving.served if one.leaf is not None}
        folder = self._state.certificate(serving.name)
        new = [leaf for leaf in leaves.values() if leaf.fingerprint not in known and _is_foreign(serving, leaf)]
        new = [leaf for leaf in new if not folder.holds(leaf.fingerprint)]
        if not new:
            return serving.seen
        seen = tuple(sorted((*serving.seen, *new), key=lambda leaf: leaf.not_before))[-_KEPT:]
        self._state.note_record(_record(serving.name), seen)
        return seen

    def _forget_the_gone(self) -> None:
        """What was told of certificates that are configured here no longer is nobody's trouble."""
        names = {one.name for one in self._certificates}
        told = self._state.read_record(_TOLD, tuple[str, ...]) or ()
        gone = [scope for name in told if name not in names for scope in (served_scope(name), certificate_scope(name))]
        if gone:
            self._reporter.end(self._reporter.begin(RunKind.SERVING, Trigger.START), Outcome.DONE, scopes=gone)
        self._state.note_record(_TOLD, tuple(sorted(names)))

    def _tell(self, name: str, findings: list[Finding], trigger: Trigger) -> None:
        essence: list[_Essence] = [(finding.code, finding.culprit) for finding in findings]
        if self._told.get(name, []) == essence and trigger is not Trigger.START:
            return
        self._told[name] = essence
        graded = worst_first([self._policy.grade(finding) for finding in findings])
        found = any(finding.severity.at_least(Severity.WARN) for finding in graded)
        self._reporter.end(
            self._reporter.begin(RunKind.SERVING, trigger),
            Outcome.FOUND if found else Outcome.DONE,
            scopes=[served_scope(name)],
            findings=graded,
            certificate=name or None,
        )

    def _owned(self) -> frozenset[str]:
        paths = {str(path) for path in self.live_files()}
        return frozenset(paths | {identifier for one in self._certificates for identifier in one.identifiers})


async def watch_live_files(
    runs: DriftMonitor, changed: Callable[[Sequence[str]], Awaitable[None]], policy: Policy
) -> None:
    """Call `changed` with the names of the certificates whose live files changed; never returns."""
    paths = runs.live_files()
    if not paths:
        return
    async with watching(paths, policy.watch.quiet_for, policy.watch.reconcile_every) as watch:
        async for changes in watch.changes(await asyncio.to_thread(read_contents, paths)):
            if changes:
                await changed(runs.names_of([change.file for change in changes]))


def _on_disk(certificate: CertificateSection, live: Sequence[LiveTarget]) -> CertificateFacts | None:
    """Of what others renew: what they have put there."""
    facts = [one.pair.facts for one in live if one.pair.facts is not None]
    return facts[0] if facts and not certificate.manage else None


def _ended_at(folder: CertificateFolder) -> datetime | None:
    last = folder.last()
    return last.at if last is not None else None


def _is_foreign(serving: Serving, leaf: CertificateFacts) -> bool:
    return bool(set(leaf.identifiers) & set(serving.identifiers))


def _record(name: str) -> str:
    return f"seen-{name}"
