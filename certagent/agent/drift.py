"""What is served, on disk, and proven, compared: on events, by the timer, of our own certificates and of others'.

Changes nothing: what somebody else put there is reported, not undone.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from certagent.agent.context import AgentContext
from certagent.agent.deployment import DeploymentService
from certagent.agent.issuing_chain import issuing_chain
from certagent.agent.schedule import in_turns
from certagent.config import CertificateSection, TraefikTarget
from certagent.domain.certificates import CertificateFacts, fingerprint_of
from certagent.domain.deployments import EndpointProof, ServedAs
from certagent.domain.diagnosis.drift import LiveTarget, Serving, conclude_serving, nobody_owns, renews_too_late
from certagent.domain.diagnosis.foreign_files import files_are_unreadable
from certagent.domain.findings import Finding, Severity
from certagent.domain.observations import Unreadable
from certagent.domain.policy import worst_first
from certagent.domain.reports import Outcome, RunKind, Trigger, certificate_scope, served_scope
from certagent.proof import Prover, Trust
from certagent.state import CertificateFolder
from certagent.vantage.configured_certificates import ConfiguredCertificates

TAKEOVER_TIME = timedelta(seconds=1.5)
"""How long an endpoint that serves something else is observed again: a service may just be loading what is new."""
_MOST_REMEMBERED = 6
_MOST_SCOPES = 500  # in one report; the collector takes a thousand
_REPORTED = "reported-certificates"

_Essence = tuple[str, object]


class ForeignFiles(Protocol):
    """Files that others write and this agent reads: the web servers', the resolver's and the nameserver's, the CA's."""

    def unreadable(self) -> tuple[Unreadable, ...]:
        """What of them cannot be read now. Blocks; never raises."""
        ...


class DriftMonitor:
    """Observes certificates, and reports what is new."""

    def __init__(
        self,
        context: AgentContext,
        deployment: DeploymentService,
        prover: Prover,
        configured: ConfiguredCertificates,
        files: Sequence["ForeignFiles"],
    ) -> None:
        self._context = context
        self._sections = context.settings.certificate
        self._state = context.state
        self._reporter = context.reporter
        self._deployment = deployment
        self._prover = prover
        self._configured = configured
        self._files = files
        self._unreadable: tuple[Unreadable, ...] = ()
        self._reported: dict[str, list[_Essence]] = {}
        self._well: dict[str, str] = {}
        self._inspected_at = float("-inf")
        self._is_misconfigured = False

    async def observe(
        self, certificate: CertificateSection, served: tuple[EndpointProof, ...] | None = None
    ) -> Serving:
        """The certificate now: on disk, served, proven. `served`: what was just seen, if it was."""
        on_disk = await asyncio.to_thread(self._read, certificate)
        if served is None:
            served = await self._served(certificate, on_disk.proven or _on_disk(certificate, on_disk.live))
        return msgspec.structs.replace(on_disk, served=served)

    def _read(self, certificate: CertificateSection) -> Serving:
        """What is on disk of it; as yet served by nobody. Blocks."""
        folder = self._state.certificate(certificate.name)
        after = _ended_at(folder)
        proven = folder.proven() if certificate.manage else None
        return Serving(
            node=self._context.node,
            name=certificate.name,
            identifiers=certificate.identifiers,
            at=self._context.clock.now(),
            after=after,
            manage=certificate.manage,
            proven=proven.facts if proven is not None else None,
            live=tuple(self._deployment.read_live(certificate)),
            issuer=issuing_chain(self._state),
            targets=self._deployment.target_names(certificate),
            seen=self._state.read_record(_record(certificate.name), tuple[CertificateFacts, ...]) or (),
            expiring_below=self._context.policy.proof.expiring_below,
        )

    async def report(self, observed: Sequence[Serving], trigger: Trigger) -> None:
        """Conclude, and report what was not reported yet; those that are well in one report, unless that was said.

        Nothing of a certificate while a renewal is at work on it, or was since the observation began: half of what was
        seen may be from before, and the renewal has it observed again."""
        well = []
        for serving in observed:
            if not self._is_settled(serving):
                continue
            new = _new_foreign(serving)
            seen = await asyncio.to_thread(self._remember, serving, new) if new else serving.seen
            findings = conclude_serving(msgspec.structs.replace(serving, seen=seen))
            self._note_well(serving, findings)
            if findings or (self._reported.get(serving.name) and trigger is not Trigger.START):
                self._report(serving.name, findings, trigger)
            elif trigger is Trigger.START or serving.name not in self._reported:
                self._reported[serving.name] = []
                well.append(served_scope(serving.name))
        for at in range(0, len(well), _MOST_SCOPES):
            run = self._reporter.begin(RunKind.SERVING, trigger)
            self._reporter.end(run, Outcome.DONE, scopes=well[at : at + _MOST_SCOPES])

    def is_well_served(self, name: str, chain_pem: bytes) -> bool:
        """Whether that chain is what the last observation found on disk, proven and served, with nothing wrong."""
        fingerprint = self._well.get(name)
        with suppress(ValueError):
            return fingerprint is not None and fingerprint_of(chain_pem) == fingerprint
        return False

    def find_troubled(self) -> frozenset[str]:
        """The certificates of which something is reported to be wrong."""
        return frozenset(name for name, essence in self._reported.items() if essence)

    def findings(self, observed: Sequence[Serving]) -> list[Finding]:
        """What is wrong with them now, graded; reported already or not, and likewise nothing during a renewal. With
        what cannot be read of the files that others write."""
        settled = (serving for serving in observed if self._is_settled(serving))
        unreadable = files_are_unreadable(self._context.node, self._read_unreadable())
        return self._graded([*(finding for serving in settled for finding in conclude_serving(serving)), *unreadable])

    async def inspect_web_servers(self, trigger: Trigger) -> None:
        """What this node's web servers serve beside what is configured here, and what cannot be read of the files that
        others write. Seldom, for many files are read; but each time while a mistake is reported, for it may have been
        fixed, and when what can be read has changed."""
        now = self._context.clock.monotonic()
        every = self._context.policy.preflight.repeat_every.total_seconds()
        unreadable = self._unreadable  # a renewal writes beside these files: not each of a hundred has all of them read
        if trigger in (Trigger.START, Trigger.TIMER):
            unreadable = await asyncio.to_thread(self._read_unreadable)
        is_recent = now - self._inspected_at < every and not self._is_misconfigured and unreadable == self._unreadable
        if trigger is not Trigger.START and is_recent:
            return
        self._unreadable = unreadable
        self._inspected_at = now
        if trigger is Trigger.START:
            self._clear_removed()
        pairs = await asyncio.to_thread(self._configured.pairs)
        resolvers = await asyncio.to_thread(self._configured.resolvers)
        node = self._context.node
        late = [finding for resolver in resolvers.value if (finding := renews_too_late(node, resolver)) is not None]
        broken = files_are_unreadable(node, (*unreadable, *pairs.unreadable, *resolvers.unreadable))
        self._is_misconfigured = bool(late or broken)
        self._report("", [*broken, *late, *nobody_owns(node, pairs.value, self._owned())], trigger)

    def live_files(self) -> tuple[Path, ...]:
        """The files that decide what is live: certificates and YAML, no key."""
        targets = [(section.name, target) for section in self._sections for target in section.deploy]
        return tuple(
            target.dynamic / f"certagent-{name}.yml" if isinstance(target, TraefikTarget) else target.certificate
            for name, target in targets
        )

    async def _served(
        self, certificate: CertificateSection, wanted: CertificateFacts | None
    ) -> tuple[EndpointProof, ...]:
        fingerprint, key = (wanted.fingerprint, wanted.key) if wanted is not None else ("", None)
        split = [await self._deployment.split_provable(target) for target in certificate.deploy]
        endpoints = [endpoint for kept, _ in split for endpoint in kept]
        trust = Trust(root=certificate.root, is_watched=not certificate.manage)
        names = certificate.identifiers
        proofs = await self._prover.served_now(fingerprint, endpoints, names, key=key, trust=trust)
        if wanted is None or all(proof.served_as is ServedAs.PROVEN for proof in proofs):
            return proofs
        return (await self._prover.prove(fingerprint, endpoints, names, TAKEOVER_TIME, key=key, trust=trust)).endpoints

    def _note_well(self, serving: Serving, findings: Sequence[Finding]) -> None:
        if serving.proven is not None and not findings:
            self._well[serving.name] = serving.proven.fingerprint
        else:
            self._well.pop(serving.name, None)

    def _is_settled(self, serving: Serving) -> bool:
        """Whether no renewal is at work on it, or was since the observation began."""
        folder = self._state.certificate(serving.name)
        return folder.run() is None and _ended_at(folder) == serving.after

    def _remember(self, serving: Serving, leaves: Sequence[CertificateFacts]) -> tuple[CertificateFacts, ...]:
        """Remember what somebody else has issued, and when; what we issued is in the state. Blocks."""
        folder = self._state.certificate(serving.name)
        new = [leaf for leaf in leaves if not folder.holds(leaf.fingerprint)]
        if not new:
            return serving.seen
        seen = tuple(sorted((*serving.seen, *new), key=lambda leaf: leaf.not_before))[-_MOST_REMEMBERED:]
        self._state.note_record(_record(serving.name), seen)
        return seen

    def _clear_removed(self) -> None:
        """What was reported of certificates that are no longer configured here is over."""
        names = {section.name for section in self._sections}
        reported = self._state.read_record(_REPORTED, tuple[str, ...]) or ()
        for gone in in_turns([name for name in reported if name not in names]):
            scopes = [scope for name in gone for scope in (served_scope(name), certificate_scope(name))]
            self._reporter.end(self._reporter.begin(RunKind.SERVING, Trigger.START), Outcome.DONE, scopes=scopes)
        self._state.note_record(_REPORTED, tuple(sorted(names)))

    def _report(self, name: str, findings: list[Finding], trigger: Trigger) -> None:
        """Unless the same was reported last, by this process: what an earlier one reported is over only when it is said
        so, and the report of the start leaves out whatever a renewal was at work on. No name: about the node's web
        servers."""
        essence = [_essence(finding) for finding in findings]
        if self._reported.get(name) == essence and trigger is not Trigger.START:
            return
        self._reported[name] = essence
        graded = worst_first(self._graded(findings))
        found = any(finding.severity.at_least(Severity.WARN) for finding in graded)
        self._reporter.end(
            self._reporter.begin(RunKind.SERVING, trigger),
            Outcome.FOUND if found else Outcome.DONE,
            scopes=[served_scope(name)],
            findings=graded,
            certificate=name or None,
        )

    def _read_unreadable(self) -> tuple[Unreadable, ...]:
        return tuple(dict.fromkeys(one for files in self._files for one in files.unreadable()))

    def _graded(self, findings: list[Finding]) -> list[Finding]:
        return [self._context.policy.grade(finding) for finding in findings]

    def _owned(self) -> frozenset[str]:
        paths = {str(path) for path in self.live_files()}
        return frozenset(paths | {identifier for section in self._sections for identifier in section.identifiers})


def _essence(finding: Finding) -> _Essence:
    """What makes it another finding; a file that is still broken, at another line, is the same."""
    culprit = finding.culprit
    return finding.code, culprit.file if culprit is not None and finding.code == "config.unreadable" else culprit


def _on_disk(certificate: CertificateSection, live: Sequence[LiveTarget]) -> CertificateFacts | None:
    """What somebody else has put there, of a certificate that somebody else renews."""
    facts = [target.pair.facts for target in live if target.pair.facts is not None]
    return facts[0] if facts and not certificate.manage else None


def _ended_at(folder: CertificateFolder) -> datetime | None:
    last = folder.last()
    return last.at if last is not None else None


def _new_foreign(serving: Serving) -> list[CertificateFacts]:
    """What is served under its names, is not the proven one, and was not seen before: perhaps of somebody else."""
    known = {facts.fingerprint for facts in (*serving.seen, *((serving.proven,) if serving.proven is not None else ()))}
    leaves = {proof.leaf.fingerprint: proof.leaf for proof in serving.served if proof.leaf is not None}
    names = set(serving.identifiers)
    return [leaf for leaf in leaves.values() if leaf.fingerprint not in known and names & set(leaf.identifiers)]


def _record(name: str) -> str:
    return f"seen-{name}"
