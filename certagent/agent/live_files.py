"""The files that our targets are served from, under watch: what changes is looked at, what is lost is put back.

Lost is what is gone and has nothing in its place, or an older one of ours: a folder that was made anew, a release link
that was swung to a folder without our files, or back to one with those of its time. What somebody else wrote there is
told, and left as it is.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from certagent.agent.context import AgentContext
from certagent.agent.deployment import CertificateLocks, DeploymentService, Surroundings
from certagent.agent.inventory import InventoryReporter
from certagent.agent.lifecycle import Lifecycle
from certagent.agent.renewal import RenewalRunner
from certagent.config import CertificateSection, TraefikTarget
from certagent.deployers.traefik import READ_AGAIN_SECONDS, Loss
from certagent.domain import catalogue
from certagent.domain.backoff import Backoff
from certagent.domain.deployments import Generation
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.reports import Contents, Outcome, Trigger
from certagent.watch import ChangeSet, WatchedPaths, open_watch, read_contents

log = logging.getLogger(__name__)

_LOOK_AGAIN = timedelta(seconds=5)
_MOST_TRIES = 5  # in a row, while others change the files; a later change is seen by the watch
_MOST_AT_ONCE = 120  # certificates of one look by the timer: each is a handshake, and with many each waits for its turn


class LiveFiles:
    """Reports on certificates whose live files change, and by the timer; deploys again what was lost, without an
    order, and proves it."""

    def __init__(
        self,
        context: AgentContext,
        *,
        lifecycle: Lifecycle,
        inventory: InventoryReporter,
        renewal: RenewalRunner,
        deployment: DeploymentService,
        locks: CertificateLocks,
    ) -> None:
        self._context = context
        self._sections = {section.name: section for section in context.settings.certificate}
        self._lifecycle = lifecycle
        self._inventory = inventory
        self._renewal = renewal
        self._deployment = deployment
        self._locks = locks
        self._names: dict[str, set[str]] = {}
        self._retry_at: dict[str, float] = {}
        self._unserved: dict[str, Surroundings] = {}
        self._turns = list(self._sections)
        self._turned_at = context.clock.monotonic()

    async def run(self) -> None:
        """Report by the timer; never returns. What is served can change without anything happening here; what has just
        gone wrong is looked at again soon, for it may be no more than a restart."""
        look_every = self._context.policy.proof.look_every
        soon, troubles = Backoff(min(_LOOK_AGAIN, look_every), look_every), self._inventory.troubles()
        pause: timedelta = look_every
        while True:
            await self._context.clock.sleep(pause.total_seconds())
            names = self._choose()
            await self.put_back(names, Trigger.TIMER)
            await self._prove_again()
            await self._inventory.report(Trigger.TIMER, names)
            before, troubles = troubles, self._inventory.troubles()
            if troubles != before:
                soon.reset()
            pause = soon.next_pause() if troubles else look_every

    def _choose(self) -> list[str]:
        """Whom the timer looks at now: all; where they are many, some in their turn, and in between who is troubled."""
        now, troubled = self._context.clock.monotonic(), self._inventory.troubles()
        if len(self._turns) <= _MOST_AT_ONCE:
            return self._turns
        is_regular = now - self._turned_at >= self._context.policy.proof.look_every.total_seconds()
        self._turned_at = now if is_regular else self._turned_at
        chosen = [name for name in self._turns if is_regular or name in troubled][:_MOST_AT_ONCE] or self._turns[:1]
        self._turns = [name for name in self._turns if name not in set(chosen)] + chosen
        return chosen

    async def watch(self) -> None:
        """Report on certificates whose live files change; never returns, unless there are no such files. What changes
        while the first look puts something back is seen after it."""
        policy, paths = self._context.policy.watch, (await asyncio.to_thread(self._watched)).files
        known = await asyncio.to_thread(read_contents, paths)
        await self.put_back(list(self._sections), Trigger.START)
        if not paths:
            return
        async with open_watch(paths, policy.quiet_for, policy.reconcile_every, self._watched) as watch:
            async for changes in watch.changes(known):
                concerned = await asyncio.to_thread(self._concerned, changes, watch.contents)
                names = [name for name in self._sections if name in concerned]
                if names:
                    await self.put_back(names, Trigger.FILE)
                    await self._inventory.report(Trigger.FILE, names)

    def _concerned(self, changes: ChangeSet, contents: Contents) -> set[str]:
        """The certificates of which something has changed that was not our own doing. Blocks."""
        return {
            name
            for change in changes
            for name in self._names[change.file]
            if not self._is_own(name, contents.get(change.file))
        }

    def _is_own(self, name: str, chain_pem: bytes | None) -> bool:
        """Whether that was put there by a renewal that has it observed in the end, or has had."""
        if not chain_pem:
            return False
        if self._inventory.is_known(name, chain_pem):
            return True
        newest = self._context.state.certificate(name).newest() if self._lifecycle.is_busy(name) else None
        return newest is not None and newest.chain_pem == chain_pem

    async def put_back(self, names: Sequence[str], trigger: Trigger) -> None:
        """Put back what those certificates have lost. A failure is reported, and tried again later; at once where
        somebody changed the files meanwhile."""
        for name in names:
            section = self._sections[name]
            may_lose = section.manage and any(isinstance(target, TraefikTarget) for target in section.deploy)
            if may_lose and not self._is_waiting(name, trigger) and (await self._find_losses(section))[1]:
                async with self._lifecycle.exclusive(name):
                    for _ in range(_MOST_TRIES):
                        if not await self._put_back(section, trigger):
                            break
                        log.info("what %s is served from changed meanwhile: looking again", name)

    async def _put_back(self, section: CertificateSection, trigger: Trigger) -> bool:
        """Inside `exclusive`: what seemed to be lost may just have been deployed, and only now it is known whose it
        is. Whether to look again: somebody changed the files meanwhile, or it failed, and what is lost belongs to
        another place by now."""
        narrowed, losses = await self._find_losses(section)
        generation = self._find_deployable(section)
        if not losses or generation is None:
            return False
        places = await asyncio.to_thread(_places, losses)
        await asyncio.to_thread(self._deployment.restore, narrowed, generation)
        before = await asyncio.to_thread(self._read_live, narrowed)
        # Traefik may have read the loss and serve it for a while yet, or only begin to: a proof before is none.
        await self._context.clock.sleep(READ_AGAIN_SECONDS)
        if await asyncio.to_thread(self._read_live, narrowed) != before:
            return True  # somebody is at work there: what is there now is looked at, before anything is written over it
        findings = [files_put_back(self._context.node, section, loss) for loss in losses]
        if await self._deploy(narrowed, generation, trigger, findings):
            return False
        now = await asyncio.to_thread(_places, (await self._find_losses(section))[1])
        return bool(now) and now != places

    async def _prove_again(self) -> None:
        """What was put back and not seen to be served, once anything around its targets is another: a Traefik that was
        restarted, say."""
        for name, before in list(self._unserved.items()):
            section = self._sections[name]
            seen = await asyncio.to_thread(self._deployment.surroundings, section)
            if seen == before and self._is_waiting(name, Trigger.TIMER):
                continue
            async with self._lifecycle.exclusive(name):
                generation = self._find_deployable(section)
                if generation is not None:
                    await self._deploy(section, generation, Trigger.TIMER, [])

    def _find_deployable(self, section: CertificateSection) -> Generation | None:
        """What was proven last, while it is this agent's to deploy and not expired."""
        generation = self._renewal.current_generation(section) if self._locks.holds(section.name) else None
        is_over = generation is None or generation.facts.ends_at <= self._context.clock.now()
        return None if is_over else generation

    async def _deploy(
        self, section: CertificateSection, generation: Generation, trigger: Trigger, findings: list[Finding]
    ) -> bool:
        """Whether it is served, or could not even be tried; else it is tried again later. Inside `exclusive`."""
        try:
            renewed = await self._renewal.deploy_again(section, generation, trigger, findings)
        except OSError as error:
            log.warning("the missing files of %s could not be restored: %s", section.name, error.strerror)
            return True
        if renewed.outcome != Outcome.FAILED:
            self._unserved.pop(section.name, None)
            return True
        pause = self._context.policy.preflight.blocked_longest.total_seconds()
        self._retry_at[section.name] = self._context.clock.monotonic() + pause
        whole = self._sections[section.name]
        self._unserved[section.name] = await asyncio.to_thread(self._deployment.surroundings, whole)
        return False

    def _is_waiting(self, name: str, trigger: Trigger) -> bool:
        """Whether it is too early to try again, with nothing new."""
        return trigger is Trigger.TIMER and self._context.clock.monotonic() < self._retry_at.get(name, 0.0)

    async def _find_losses(self, section: CertificateSection) -> tuple[CertificateSection, list[Loss]]:
        """(the certificate with only those targets that have lost something, what each has lost)."""
        folder, proven = self._context.state.certificate(section.name), self._renewal.current_generation(section)

        def is_older(fingerprint: str) -> bool:
            """An older one of ours: a release that was swung back to, say."""
            return proven is not None and fingerprint != proven.facts.fingerprint and folder.holds(fingerprint)

        return await asyncio.to_thread(self._deployment.find_losses, section, is_older)

    def _read_live(self, section: CertificateSection) -> Contents:
        return read_contents(tuple(self._deployment.live_files(section)))

    def _watched(self) -> WatchedPaths:
        """Certificates and YAML, no key; of a YAML of ours also the certificate that it names, and the folder that it
        lies in: what was lost with that is put back when there is one again. Blocks."""
        files: dict[str, set[str]] = {}
        for section in self._sections.values():
            folders = [target.dynamic for target in section.deploy if isinstance(target, TraefikTarget)]
            for path in (*folders, *self._deployment.live_files(section)):
                files.setdefault(str(path), set()).add(section.name)
        self._names |= files
        return WatchedPaths(tuple(map(Path, files)))


def _places(losses: Sequence[Loss]) -> set[Path]:
    """Where those files are in truth, by whatever links. Blocks."""
    return {loss.file.resolve() for loss in losses}


def files_put_back(node: str, section: CertificateSection, loss: Loss) -> Finding:
    """deploy.put_back: files of ours were gone, or were older ones, and are there again."""
    return catalogue.finding(
        "deploy.put_back",
        vantage=Vantage.CLIENT,
        reporter=node,
        identifier=section.identifiers[0],
        culprit=Culprit(node=node, file=str(loss.file)),
        variant="older" if loss.is_older else "",
        certificate=section.name,
    )
