"""The resolver files under watch: what changed while the agent was down, and from then on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from certagent.agent.reporter import Reporter
from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.domain.policy import Policy
from certagent.domain.reports import Contents, FileChange, Outcome, RunKind, Trigger, compare, file_scope
from certagent.domain.resolution.files import RESOLVER_FILES
from certagent.state import State
from certagent.watch import ChangeSet, Watch, read_contents, watching

log = logging.getLogger(__name__)

KNOWN_FILES = "resolver-files"
"""The state's record of the files as they were when a run last looked at them."""

INOTIFY_LIMIT = "/proc/sys/fs/inotify/max_user_instances"

Changed = Callable[[ChangeSet, Trigger, Sequence[Finding]], Awaitable[None]]


async def watch_resolver_files(
    changed: Changed, policy: Policy, reporter: Reporter, state: State, others: Sequence[str] = ()
) -> None:
    """Call `changed` once at the start, whatever the files hold, and then for each change set; never returns. `others`:
    further files that decide on names here (those of a DNS server).

    The record is written after `changed` has come back: a change that a killed run left unsaid is found at the next
    start.
    """
    paths = tuple(Path(path) for path in (*RESOLVER_FILES, *others))
    async with watching(paths, policy.watch.quiet_for, policy.watch.reconcile_every) as watch:
        said = _say_how(watch, policy, reporter)
        now = await asyncio.to_thread(read_contents, paths)
        known = await asyncio.to_thread(state.read_record, KNOWN_FILES, dict[str, bytes | None])
        remembered = known if known is not None else now
        missed = compare(remembered, {path: content for path, content in now.items() if path in remembered})
        while_down = [policy.grade(changed_while_down(reporter.agent, change, now)) for change in missed]
        await changed(missed, Trigger.START, while_down)
        await asyncio.to_thread(_remember, state, now)
        async for changes in watch.changes(now):
            if watch.degraded != said:
                said = _say_how(watch, policy, reporter)
            if changes:
                contents = watch.contents
                await changed(changes, Trigger.FILE, ())
                await asyncio.to_thread(_remember, state, contents)


def _remember(state: State, contents: Contents) -> None:
    """On a full disk the older record stays: the next start then says a change once more."""
    try:
        state.write_record(KNOWN_FILES, contents)
    except OSError as error:
        log.warning("the resolver files cannot be remembered: %s", error.strerror)


def changed_while_down(node: str, change: FileChange, now: Contents) -> Finding:
    """agent.changed_while_down: what the state folder remembered of that file is not what it holds now."""
    lines = (now[change.file] or b"").decode("utf-8", "replace").splitlines()
    text = next((line for line in change.added if line in lines), None)
    shown = [*(f"- {line}" for line in change.removed), *(f"+ {line}" for line in change.added)]
    return catalogue.finding(
        "agent.changed_while_down",
        vantage=Vantage.STATIC,
        reporter=node,
        culprit=Culprit(
            node=node, file=change.file, line=lines.index(text) + 1 if text is not None else None, text=text
        ),
        detail={"removed": list(change.removed), "added": list(change.added)},
        changes=shown if change.exists else [],
    )


def _say_how(watch: Watch, policy: Policy, reporter: Reporter) -> str | None:
    """The fall-back is an ordinary case in unprivileged containers; it is slower, so it is said, and taken back."""
    findings = []
    if watch.degraded is not None:
        finding = catalogue.finding(
            "agent.watch_degraded",
            vantage=Vantage.STATIC,
            reporter=reporter.agent,
            culprit=Culprit(node=reporter.agent, file=INOTIFY_LIMIT),
            said=watch.degraded,
        )
        findings = [policy.grade(finding)]
    outcome = Outcome.FOUND if findings else Outcome.DONE
    run = reporter.begin(RunKind.WATCH, Trigger.START)
    reporter.end(run, outcome, scopes=[file_scope(INOTIFY_LIMIT)], findings=findings)
    return watch.degraded
