"""`certagent trace`: the intended and the actual path of the challenge, hop by hop. Works alone.

The collector knows the whole fleet and the latest rehearsal, so it is asked first; without it, or where it has no such
path, this node looks by itself, and says so: beside the CA in the CA's own ca, elsewhere in this node's.
"""

import asyncio
import socket
from datetime import UTC, datetime
from pathlib import Path as File
from typing import Any
from urllib.parse import urlsplit

import msgspec

from certagent.commands import UnableError
from certagent.commands.collector_client import ask_collector
from certagent.config import AgentSettings, ConfigurationError
from certagent.config.policy_files import load_policy
from certagent.domain.findings import Culprit, Vantage
from certagent.domain.local_path import LocalObservation, trace_locally
from certagent.domain.mermaid import to_mermaid
from certagent.domain.path_trace import HopState, Path, PathHop
from certagent.domain.rehearsals import Rehearsal, RehearsalOutcome
from certagent.system.clock import SystemClock
from certagent.system.procfs import ProcFs
from certagent.vantage.ca_process import BlindError, CaEnvironment, CaProcess
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.proxy import proxy_for
from certagent.vantage.resolver_files import read_files
from certagent.vantage.unplanted_probe import UnplantedProbe, limits_for

_ROOT = File("/")
_STATES = {HopState.OK: "ok", HopState.BROKEN: "BROKEN", HopState.UNKNOWN: "not known"}
_INDENT = 15


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Who saw it. `kind`: "collector", or "node": `node`'s own view from `vantage`, and `reason` says why no better."""

    kind: str
    collector: str | None = None
    node: str | None = None
    vantage: Vantage | None = None
    reason: str | None = None


def trace(settings: AgentSettings | None, name: str, challenge: str | None = None) -> dict[str, Any]:
    """`{"identifier", "intended": [Hop], "actual": [Hop], "broken", "culprit", "source": Source}`: the collector's
    `Path`, and where it came from. `challenge`: what this node asks by, where it has to look by itself; by default
    that of the certificate in the configuration, else http-01."""
    identifier = name.lower().removesuffix(".")
    try:
        path, source = _ask(settings, identifier)
    except (ConfigurationError, UnableError) as error:  # no token of ours that can be read, or no collector
        path, source = asyncio.run(_look(settings, identifier, challenge, str(error)))
    return {**msgspec.to_builtins(path), "source": msgspec.to_builtins(source)}


def exit_status(document: dict[str, Any]) -> int:
    """4 when the path is broken, 3 when it has not been seen to its end, else 0."""
    if document["broken"]:
        return 4
    return 3 if any(hop["state"] == HopState.UNKNOWN for hop in document["actual"]) else 0


def render(document: dict[str, Any]) -> str:
    """For a person: the verdict, who saw it, both ways hop by hop, and what to change."""
    path, source = msgspec.convert(document, Path), msgspec.convert(document["source"], Source)
    return "\n".join(
        [
            f"{path.identifier}: {_verdict(path)}",
            *_source_text(source),
            "",
            "intended",
            *_lane(path.intended, is_actual=False),
            "actual",
            *_lane(path.actual, is_actual=True),
            *_culprit_text(path.culprit),
        ]
    )


def render_mermaid(document: dict[str, Any]) -> str:
    """As a Mermaid flow chart; a comment says who saw it."""
    source = msgspec.convert(document["source"], Source)
    comments = [f"%% {line.strip()}" for line in _source_text(source)]
    return "\n".join([*comments, to_mermaid(msgspec.convert(document, Path)).rstrip()])


def _ask(settings: AgentSettings | None, identifier: str) -> tuple[Path, Source]:
    document = ask_collector(settings, "paths", identifier)
    url = settings.collector.url if settings is not None and settings.collector is not None else None
    try:
        return msgspec.convert(document, Path), Source(kind="collector", collector=url)
    except msgspec.ValidationError as error:
        raise UnableError(f"the collector at {url} did not answer with a path: {error}") from error


async def _look(
    settings: AgentSettings | None, identifier: str, challenge: str | None, reason: str
) -> tuple[Path, Source]:
    """What this node sees by itself."""
    ca, blindness = await asyncio.to_thread(_ca_environment, settings)
    vantage = Vantage.CLIENT if ca is None else Vantage.AUTHORITY
    node = settings.agent.name if settings is not None else socket.gethostname()
    challenge = challenge or (settings.challenge_of(identifier) if settings is not None else None) or "http-01"
    here = NodeVantage()
    observation = LocalObservation(
        node=node,
        vantage=vantage,
        role=await asyncio.to_thread(here.role),
        addresses=here.addresses(),
        responder=node if settings is not None and settings.challenge_of(identifier) is not None else None,
        seen=await _probe(settings, identifier, challenge, node, ca),
    )
    policy = load_policy(settings.agent.policy if settings is not None else None)
    reasons = "; ".join(part for part in (reason, blindness) if part)
    return trace_locally(observation, policy), Source(kind="node", node=node, vantage=vantage, reason=reasons)


def _ca_environment(settings: AgentSettings | None) -> tuple[CaEnvironment | None, str | None]:
    """The CA's ca on its own node, else None; and why not, where there should be one."""
    if settings is None or settings.vantage is None:
        return None, None
    try:
        return CaProcess(settings.vantage, SystemClock()).observe(), None
    except BlindError as error:
        return None, f"the CA's own view is unavailable: {error}"


async def _probe(
    settings: AgentSettings | None, identifier: str, challenge: str, node: str, ca: CaEnvironment | None
) -> Rehearsal:
    files = ca.files if ca is not None else (await asyncio.to_thread(read_files, _ROOT, ProcFs()))[0]
    probe = UnplantedProbe(
        files,
        settings.dns.nameservers if settings is not None else (),
        limits_for(settings, identifier),
        ca.fetch_options if ca is not None else None,
        ca.environment if ca is not None else None,
    )
    seen = await probe.run(identifier, challenge)
    return Rehearsal(
        identifier=identifier,
        challenge=challenge,
        outcome=RehearsalOutcome.UNAVAILABLE,
        reason="no token was planted",
        at=datetime.now(UTC),
        node=node,
        resolution=seen.resolution,
        attempts=seen.attempts,
        txt=seen.record,
        authority_flags=ca.shown_flags() if ca is not None else (),
        proxy=_proxy(ca, identifier) if ca is not None and challenge == "http-01" else None,
        started_by=ca.started_by if ca is not None else (),
    )


def _proxy(ca: CaEnvironment, identifier: str) -> str | None:
    return proxy_for(ca.environment, identifier, ca.fetch_options.http_port)


def _verdict(path: Path) -> str:
    broken = next((number for number, hop in enumerate(path.actual, 1) if hop.state is HopState.BROKEN), None)
    if path.broken:
        return f"BROKEN at step {broken} of {len(path.actual)}" if broken else "BROKEN"
    unknown = [hop.state is HopState.UNKNOWN for hop in path.actual]
    if all(unknown):
        return "not checked yet (run `certagent check` on the node that has the certificate)"
    return "not broken as far as visible; the rest of the path is unknown" if any(unknown) else "as intended"


def _source_text(source: Source) -> list[str]:
    if source.kind == "collector":
        return [f"  as the collector knows it ({urlsplit(source.collector or '').netloc})"]
    whose = "the CA's own view of it" if source.vantage is Vantage.AUTHORITY else "this node's own view, not the CA's"
    why = f"  because {source.reason}"
    return [f"  as {source.node} sees it by itself: {whose} (vantage {source.vantage}); no token was planted", why]


def _lane(hops: tuple[PathHop, ...], *, is_actual: bool) -> list[str]:
    width = max(len(hop.label) for hop in hops)
    return [_hop(number, hop, width, is_actual=is_actual) for number, hop in enumerate(hops, 1)]


def _hop(number: int, hop: PathHop, width: int, *, is_actual: bool) -> str:
    state = ("CULPRIT" if hop.culprit else _STATES[hop.state]) if is_actual else ""
    place = ", ".join(part for part in (hop.node, hop.role, hop.address) if part and part != hop.label)
    return f"  {number} {state:{_INDENT - 5}}{hop.label:{width}}  {f'({place}) ' if place else ''}{hop.detail}".rstrip()


def _culprit_text(culprit: Culprit | None) -> list[str]:
    if culprit is None:
        return []
    place = ":".join(str(part) for part in (culprit.node, culprit.file, culprit.line) if part is not None)
    whose = ", ".join(part for part in (culprit.address, culprit.role) if part)
    said = f"{place}: {culprit.text}" if culprit.text else place
    return ["", f"CULPRIT  {said}{f'   ({whose})' if whose else ''}" if said else f"CULPRIT  whatever is at {whose}"]
