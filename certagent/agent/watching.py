"""The resolver files under watch: what changed while the agent was down, and from then on."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from certagent.agent.reporter import Reporter
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.policy import Policy
from certagent.domain.reports import Outcome, RunKind, Trigger
from certagent.domain.resolution.files import RESOLVER_FILES
from certagent.state import State
from certagent.watch import ChangeSet, Watch, read_contents, watching

KNOWN_FILES = "resolver-files"
"""The state's record of the files as they were when a run last looked at them."""

Changed = Callable[[ChangeSet, Trigger], Awaitable[None]]


async def watch_files(changed: Changed, policy: Policy, reporter: Reporter, state: State) -> None:
    """Call `changed` once at the start, whatever the files hold, and then for each change set; never returns."""
    paths = tuple(Path(path) for path in RESOLVER_FILES)
    now = await asyncio.to_thread(read_contents, paths)
    known = await asyncio.to_thread(state.read_record, KNOWN_FILES, dict[str, bytes | None]) or now
    async with watching(paths, policy.watch.quiet_for, policy.watch.reconcile_every) as watch:
        _say_degraded(watch, policy, reporter)
        await changed((), Trigger.START)
        await asyncio.to_thread(state.write_record, KNOWN_FILES, known)
        async for changes in watch.changes(known):
            await changed(changes, Trigger.FILE)
            await asyncio.to_thread(state.write_record, KNOWN_FILES, await asyncio.to_thread(read_contents, paths))


def _say_degraded(watch: Watch, policy: Policy, reporter: Reporter) -> None:
    """The fall-back is an ordinary case in unprivileged containers; it is slower, so it is said."""
    if watch.degraded is None:
        return
    finding = Finding(
        code="agent.watch_degraded",
        vantage=Vantage.STATIC,
        reporter=reporter.agent,
        explanation=f"Changes of files are found by comparing, once a second: {watch.degraded}.",
        culprit=Culprit(node=reporter.agent),
        fix="Raise fs.inotify.max_user_instances on the host.",
    )
    reporter.end(reporter.begin(RunKind.INVENTORY, Trigger.START), Outcome.FOUND, findings=[policy.grade(finding)])
