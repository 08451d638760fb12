"""`certagent lint`: what is wrong with the files of this node, provable from them alone. No network, no agent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from certagent.commands import UnableError
from certagent.commands.finding_output import hint_for, status_of
from certagent.config import AgentSettings
from certagent.config.policy_files import load_policy
from certagent.domain.diagnosis.static import StaticObservation, conclude_statically
from certagent.domain.policy import worst_first
from certagent.system.files import read_beginning
from certagent.vantage.static_observation import find_configurations, look_at_files

MOST_FINDINGS = 200


def lint(settings: AgentSettings | None, given: Mapping[str, Path]) -> dict[str, Any]:
    """`{"node", "files": {path: File}, "gateways": [path], "findings": [Finding], "left_out": int}`, worst first.

    `given` maps a live path to the file that is looked at in its place. File: `{"path", "exists", "link", "lines",
    "managed_by": [str]}`. `left_out`: findings beyond the bound, at least. Raises `UnableError`: a file cannot be read.
    """
    try:
        observation = look_at_files(settings, {live: read_beginning(path) for live, path in given.items()})
    except OSError as error:
        raise UnableError(f"{error.filename or 'a file'} cannot be read: {error.strerror or error}") from error
    policy = load_policy(settings.agent.policy if settings is not None else None)
    findings = worst_first([policy.grade(finding) for finding in conclude_statically(observation)])
    document = {
        "node": observation.node,
        "files": {live: _file(observation, live) for live in observation.contents},
        "gateways": [str(path) for path in find_configurations()],
        "findings": findings[:MOST_FINDINGS],
        "left_out": max(0, len(findings) - MOST_FINDINGS),
    }
    return dict(msgspec.to_builtins(document))


def exit_status(document: dict[str, Any]) -> int:
    """4 with findings of `error` and above, 3 with warnings, else 0."""
    return status_of(document["findings"])


def render(document: dict[str, Any]) -> str:
    """For a person: each finding with its line and what to change; then what was looked at."""
    lines = [line for finding in document["findings"] for line in _finding(finding)]
    if document["left_out"]:
        lines.append(f"and at least {document['left_out']} more findings")
    looked = [*(file["path"] for file in document["files"].values()), *document["gateways"]]
    lines.append(f"checked {', '.join(looked)}; findings: {len(document['findings'])}")
    return "\n".join([*lines, *hint_for(document["findings"])])


def _file(observation: StaticObservation, live: str) -> dict[str, Any]:
    content = observation.contents[live]
    return {
        "path": observation.shown.get(live, live),
        "exists": content is not None,
        "link": observation.links.get(live),
        "lines": len((content or b"").splitlines()),
        "managed_by": sorted(set(observation.managers.get(live, {}).values())),
    }


def _finding(finding: dict[str, Any]) -> list[str]:
    culprit = finding["culprit"]
    place = ":".join(str(part) for part in (culprit["file"], culprit["line"]) if part is not None)
    manager = finding["detail"].get("managed_by")
    lines = [
        f"{finding['severity']:5} {finding['code']}",
        f"      {finding['explanation']}",
        f"      {place}: {culprit['text'] or ''}{f'   (managed by {manager})' if manager else ''}".rstrip(": "),
    ]
    for other in finding["detail"].get("lines", ()):
        if other["line"] != culprit["line"]:
            lines.append(f"      {culprit['file']}:{other['line']}: {other['text']}")
    return [*lines, f"      fix: {finding['fix']}"]
