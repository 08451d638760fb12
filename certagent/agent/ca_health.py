"""Whether the CA beside this agent can be used: looked at all the time, and when a person asks, for the CA's own node
may have no certificate of its own that would show it. Changes nothing."""

import asyncio
import ipaddress
from collections.abc import Collection
from datetime import timedelta
from typing import Protocol

import msgspec

from certagent.agent.context import AgentContext
from certagent.domain import catalogue
from certagent.domain.diagnosis.certificate_authority import directory_cannot_be_used
from certagent.domain.diagnosis.evidence import DirectoryCheck, Evidence
from certagent.domain.findings import Finding, Vantage
from certagent.domain.rehearsals import LastWords, Provisioner, Rehearsal, RehearsalOutcome
from certagent.domain.reports import Outcome, RunKind, Trigger, identifier_scope
from certagent.issuance.directory import check_directory, fingerprints_of_files, is_step_ca
from certagent.vantage.node_vantage import NodeVantage

LOOK_EVERY = timedelta(seconds=10)
LOOK_AGAIN_EVERY = timedelta(seconds=5)
"""While it cannot be used: a restart is over soon."""
_REPORTED = "ca-health"


async def find_other_ca(context: AgentContext) -> list[Finding]:
    """ca.not_step_ca: the CA answers, and not as Step-CA does. What then works, and what does not, is said once."""
    section = context.settings.authority
    if await is_step_ca(section.directory, section.root, section.addresses) is not False:
        return []
    finding = catalogue.finding(
        "ca.not_step_ca",
        vantage=Vantage.CLIENT,
        reporter=context.node,
        culprit=None,
        url=section.directory,
    )
    return [context.policy.grade(finding)]


class CaInspector(Protocol):
    """Reads the CA's journal and its configuration: `AuthorityVantage`, beside the CA."""

    async def last_words(self) -> LastWords:
        """What its journal says last. Never raises; bounded."""
        ...

    async def provisioner(self) -> Provisioner | None:
        """What its configuration says; None while it cannot be read, or no CA runs. Never raises."""
        ...


class CaHealth:
    """Looks at the CA's directory as any client does, and at the CA's journal where that fails."""

    def __init__(self, context: AgentContext, node: NodeVantage, inspector: CaInspector) -> None:
        self._context = context
        self._node = node
        self._inspector = inspector

    async def findings(self) -> list[Finding]:
        """What keeps everybody from using the CA, graded; nothing while it can be used."""
        section, here = self._context.settings.authority, self._node.addresses()
        checks = await check_directory(section.directory, section.root, section.addresses)
        if any(_is_reachable(check, here) for check in checks):
            return []
        at_home = await check_directory(section.directory, section.root, here)
        if any(check.by_address and check.error is None for check in at_home):
            return []  # it runs, however its name resolves here
        failed = [check for check in checks if check.error is not None]
        evidence = Evidence(
            identifier="",
            node=self._context.node,
            addresses=self._node.addresses(),
            rehearsal=Rehearsal(
                identifier="",
                outcome=RehearsalOutcome.UNAVAILABLE,
                at=self._context.clock.now(),
                node=self._context.node,
                last_words=await self._inspector.last_words(),
                provisioner=await self._inspector.provisioner(),
            ),
            directory=tuple(failed or (check for check in at_home if check.error is not None)),
        )
        found = (msgspec.structs.replace(finding, identifier=None) for finding in directory_cannot_be_used(evidence))
        return [self._context.policy.grade(finding) for finding in found]


def _is_reachable(check: DirectoryCheck, here: Collection[str]) -> bool:
    """Whether it answered where others can reach it: its own node may know it by a loopback address."""
    address = ipaddress.ip_address(check.address) if check.address else None
    return check.error is None and (address is None or check.address in here or not address.is_loopback)


class CaWatch:
    """Reports it when the CA cannot be used any more, and when it can again. Of all others a word about the CA is an
    accusation, which pages nobody (decision 11). `health`: None where this agent is not beside the CA."""

    def __init__(self, context: AgentContext, health: CaHealth | None) -> None:
        self._context = context
        self._health = health

    async def run(self) -> None:
        """For ever, beside the CA; elsewhere it only ends what this agent said while it was beside it."""
        if self._health is None:
            if self._context.state.read_record(_REPORTED, bool):
                self._report([], Trigger.START)
            return
        said: list[str] | None = None
        trigger = Trigger.START
        root = self._context.settings.authority.root
        while True:
            pause = LOOK_EVERY
            if await asyncio.to_thread(fingerprints_of_files, root):  # else this node can judge no CA
                findings = await self._health.findings()
                codes = [finding.code for finding in findings]
                if codes != said:
                    self._report(findings, trigger)
                said, trigger = codes, Trigger.TIMER
                pause = LOOK_AGAIN_EVERY if findings else LOOK_EVERY
            await self._context.clock.sleep(pause.total_seconds())

    def _report(self, findings: list[Finding], trigger: Trigger) -> None:
        reporter = self._context.reporter
        run = reporter.begin(RunKind.PREFLIGHT, trigger)
        outcome = Outcome.FOUND if findings else Outcome.DONE
        reporter.end(run, outcome, scopes=[identifier_scope(None)], findings=findings)
        self._context.state.note_record(_REPORTED, bool(findings))
