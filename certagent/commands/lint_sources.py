"""`certagent lint --sources`: what provisioning code would write into resolver files, judged against the fleet's zone.

Nothing of the tree is run. Without `--nameserver` nothing is asked on the network.
"""

import asyncio
import platform
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from certagent.commands import UnableError
from certagent.commands.finding_output import hint_for, status_of
from certagent.config import AgentSettings
from certagent.config.policy_files import load_policy
from certagent.domain.diagnosis.provisioning_code import SourceObservation, conclude_from_sources
from certagent.domain.policy import worst_first
from certagent.domain.sources.fleet_zone import FleetZone, names_pinned, zone_of_dnsmasq, zone_of_writes
from certagent.domain.sources.shell_syntax import MissingParserError
from certagent.domain.sources.survey import NodeRule, SourceSurvey, survey
from certagent.domain.sources.writes import Write
from certagent.system.dns import ask
from certagent.system.files import read_given
from certagent.vantage.source_tree import CheckoutFiles, MissingLibraryError

MOST_FINDINGS = 500
_MOST_NAMES = 500
_AT_ONCE = 20
_ANSWER_WITHIN = timedelta(seconds=3)
_CA_LABELS = ("ca", "step-ca")
_LEVELS = {"fatal": "error", "error": "error", "warn": "warning", "info": "notice"}


class SourcesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked at, and against what. `authorities`: nodes that are the CA's, as the code names them;
    `node_rules`: patterns of paths that tell the node."""

    root: Path
    dnsmasq: tuple[Path, ...] = ()
    nameserver: str | None = None
    zones: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    node_rules: tuple[str, ...] = ()


def lint_sources(settings: AgentSettings | None, request: SourcesRequest) -> dict[str, Any]:
    """The document of `lint`: `{"node", "files": {}, "gateways": [], "findings": [Finding], "left_out": int}`, with
    `"sources": {"path", "files": int, "skipped": {kind: int}, "zone": str|null, "zones", "writes": [Write]}`.

    Write: `{"node", "file", "text", "source", "line", "sureness", "mode", "guarded"}`. Raises `UnableError`.
    """
    try:
        checkout = CheckoutFiles(request.root)
        found = survey(checkout, tuple(map(NodeRule, request.node_rules)))
    except (MissingParserError, MissingLibraryError) as error:
        raise UnableError(str(error)) from error
    found = msgspec.structs.replace(found, notes=(*found.notes, *checkout.notes))
    zone = _zone(settings, request, found, checkout)
    observation = SourceObservation(
        reporter=settings.agent.name if settings is not None else platform.node(),
        survey=found,
        zone=zone,
        authorities=(*request.authorities, *_addresses_of_ca(settings, zone)),
        source_lines=checkout.lines(write.place for write in found.writes),
    )
    policy = load_policy(settings.agent.policy if settings is not None else None)
    findings = worst_first([policy.grade(finding) for finding in conclude_from_sources(observation)])
    document = {
        "node": observation.reporter,
        "files": {},
        "gateways": [],
        "findings": findings[:MOST_FINDINGS],
        "left_out": max(0, len(findings) - MOST_FINDINGS),
        "sources": {
            "path": str(request.root),
            "files": len(checkout),
            "skipped": checkout.skipped(),
            "zone": zone.source,
            "zones": zone.zones,
            "writes": [_write(write) for write in found.writes],
        },
    }
    return dict(msgspec.to_builtins(document))


def exit_status(document: Mapping[str, Any]) -> int:
    """4 with findings of `error` and above, 3 with warnings, else 0."""
    return status_of(document["findings"])


def render(document: Mapping[str, Any]) -> str:
    """For a person: each finding with its line and what to change; then what was looked at."""
    lines = [line for finding in document["findings"] for line in _finding(finding)]
    if document["left_out"]:
        lines.append(f"and {document['left_out']} more findings")
    sources = document["sources"]
    zone = f"against {sources['zone']}" if sources["zone"] else "without a zone to compare with"
    writes = sources["writes"]
    unknown = sum(write["sureness"] == "unknown part" for write in writes)
    skipped = ", ".join(f"{kind} {count}" for kind, count in sources["skipped"].items() if count)
    left_out = f" (left out: {skipped})" if skipped else ""
    lines.append(
        f"checked {sources['files']} files in {sources['path']}{left_out}, {zone}: {len(writes)} lines would be"
        f" written to resolver files, {unknown} of them with unknown parts; findings: {len(document['findings'])}"
    )
    return "\n".join([*lines, *hint_for(document["findings"])])


def render_github(document: Mapping[str, Any]) -> str:
    """As GitHub's workflow commands, which show each finding at its line."""
    return "\n".join(_annotation(document["sources"]["path"], finding) for finding in document["findings"])


def _annotation(root: str, finding: Mapping[str, Any]) -> str:
    culprit = finding["culprit"]
    path = culprit["file"] if root in (".", "") else f"{root.rstrip('/')}/{culprit['file']}"
    message = f"{finding['explanation']} {finding['fix'] or ''}".strip()
    line = f",line={culprit['line']}" if culprit["line"] else ""
    level = _LEVELS.get(finding["severity"], "error")
    title = _escaped(f"certagent {finding['code']}", is_property=True)
    return f"::{level} file={_escaped(path, is_property=True)}{line},title={title}::{_escaped(message)}"


def _escaped(text: str, *, is_property: bool = False) -> str:
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return escaped.replace(":", "%3A").replace(",", "%2C") if is_property else escaped


def _finding(finding: Mapping[str, Any]) -> list[str]:
    culprit = finding["culprit"]
    place = ":".join(str(part) for part in (culprit["file"], culprit["line"]) if part is not None)
    code = finding["detail"].get("code")
    return [
        f"{finding['severity']:5} {finding['code']}",
        f"      {place}{f': {code}' if code else ''}",
        f"      {finding['explanation']}",
        f"      fix: {finding['fix']}",
    ]


def _write(write: Write) -> dict[str, Any]:
    return {
        "node": write.node,
        "file": write.file,
        "text": write.text,
        "source": write.place.source,
        "line": write.place.line,
        "sureness": write.sureness,
        "mode": write.mode,
        "guarded": write.guarded,
    }


# --- the zone ---


def _zone(
    settings: AgentSettings | None, request: SourcesRequest, found: SourceSurvey, checkout: Mapping[str, str]
) -> FleetZone:
    """By the files that are given, else the nameserver, else the tree itself."""
    zones = request.zones or (settings.dns.zones if settings is not None else ())
    plain = tuple(zone.lower().strip(".") for zone in zones)
    nameservers = tuple(settings.dns.nameservers) if settings is not None else ()
    if request.dnsmasq:
        try:
            contents = [(str(path), read_given(path)) for path in request.dnsmasq]
        except OSError as error:
            raise UnableError(f"{error.filename or 'a file'} cannot be read: {error.strerror or error}") from error
        source = str(request.dnsmasq[0]) if len(request.dnsmasq) == 1 else "the dnsmasq files"
        zone = zone_of_dnsmasq(contents, plain, source)
    elif request.nameserver is not None:
        zone = asyncio.run(_asked(request.nameserver, plain, found))
        nameservers = (*nameservers, request.nameserver)
    else:
        files = [(path, (checkout.get(path) or "").encode()) for path in found.dnsmasq]
        zone = zone_of_writes(found.writes, files, plain)
    return msgspec.structs.replace(zone, nameservers=tuple(dict.fromkeys(nameservers)))


async def _asked(nameserver: str, zones: tuple[str, ...], found: SourceSurvey) -> FleetZone:
    """What the nameserver says of every name that the tree pins."""
    asking = FleetZone(zones=zones)
    names = dict.fromkeys(name for _, name, _ in names_pinned(found.writes) if not zones or asking.is_of_fleet(name))
    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask_for(name: str) -> tuple[str, tuple[str, ...] | None]:
        async with turns:
            answers = [await ask(nameserver, f"{name}.", record, _ANSWER_WITHIN) for record in ("A", "AAAA")]
        if answers[0].status not in ("ok", "nxdomain", "nodata"):
            return name, None
        return name, tuple(address for answer in answers for address in answer.addresses)

    told = await asyncio.gather(*(ask_for(name) for name in list(names)[:_MOST_NAMES]))
    if told and all(addresses is None for _, addresses in told):
        raise UnableError(f"the nameserver {nameserver} does not answer")
    answers = {name: addresses for name, addresses in told if addresses is not None}
    return FleetZone(source=nameserver, zones=zones, answers=answers)


def _addresses_of_ca(settings: AgentSettings | None, zone: FleetZone) -> tuple[str, ...]:
    """The addresses, and the name, by which code may reach the CA's node."""
    known: list[str] = []
    if settings is not None:
        host = (urlsplit(settings.authority.directory).hostname or "").lower()
        known += [*settings.authority.addresses, host, *(zone.addresses_of(host) or ())]
    for label in _CA_LABELS:
        for domain in zone.zones:
            known += [f"{label}.{domain}", *(zone.addresses_of(f"{label}.{domain}") or ())]
    return tuple(dict.fromkeys(known))
