"""The pages: overview, one incident, one path. Reads the store, fills templates; changes nothing."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path as FilePath
from typing import Any

import jinja2
from aiohttp import web
from markupsafe import Markup

from certagent.collector.access import caller_of
from certagent.collector.channel import Channels
from certagent.collector.dashboard.picture import draw
from certagent.collector.problems import Problem
from certagent.collector.store import Store, TokenRole
from certagent.collector.views import CertificateView, show_agent, show_certificate, show_evidence, trace_path
from certagent.collector.wording import place_of, remaining, span
from certagent.domain.incidents import Incident, IncidentState
from certagent.domain.owners import describe_owner
from certagent.domain.paths import Path, to_mermaid
from certagent.domain.ports import Clock

_MOST_INCIDENTS = 20
_MOST_RESOLVED = 5
_MOST_ROWS = 1_000
_MOST_PICTURES = 3
_STANDING = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)


class Dashboard:
    """The handlers of the pages, all for operators."""

    def __init__(self, store: Store, channels: Channels, clock: Clock) -> None:
        self._store = store
        self._channels = channels
        self._clock = clock
        self._templates = _templates(clock)

    def routes(self) -> list[web.RouteDef]:
        """Path and handler."""
        return [
            web.get("/", self.show_overview),
            web.get("/incidents/{id}", self.show_incident),
            web.get("/paths/{identifier}", self.show_path),
        ]

    async def show_overview(self, request: web.Request) -> web.Response:
        """Incidents, certificates, nodes."""
        caller_of(request, TokenRole.OPERATOR)
        standing = await self._store.incidents(None, _MOST_INCIDENTS, states=_STANDING)
        resolved = await self._store.incidents(None, _MOST_RESOLVED, states=(IncidentState.RESOLVED,))
        certificates = await self._store.certificates(None, _MOST_ROWS)
        agents = await self._store.agents(None, _MOST_ROWS)
        connected = self._channels.names()
        return self._render(
            "overview.html",
            incidents=[(one, await self._paths_of(one, 1)) for one in standing.items],
            resolved=resolved.items,
            certificates=sorted((show_certificate(one) for one in certificates.items), key=_urgency),
            agents=[show_agent(one, connected=one.name in connected) for one in agents.items],
            endangered=_endangered(standing.items),
        )

    async def show_incident(self, request: web.Request) -> web.Response:
        """One incident: culprit, fix, victims, path, history, evidence."""
        caller_of(request, TokenRole.OPERATOR)
        found = await self._store.incident(request.match_info["id"])
        if found is None:
            raise Problem(404, "Not Found", f"there is no incident {request.match_info['id']!r}")
        incident, history, sightings = found
        paths = await self._paths_of(incident, _MOST_PICTURES)
        return self._render(
            "incident.html", incident=incident, paths=paths, history=history, evidence=show_evidence(sightings)
        )

    async def show_path(self, request: web.Request) -> web.Response:
        """The path of any identifier, as a picture, a table and Mermaid text."""
        caller_of(request, TokenRole.OPERATOR)
        identifier = request.match_info["identifier"].lower()
        known, sightings, fleet = await self._store.path_facts(identifier)
        if known is None and not sightings and not fleet.victims:
            raise Problem(404, "Not Found", f"nothing is known of {identifier!r}")
        path = trace_path(identifier, known, sightings, fleet)
        return self._render("path.html", path=path, mermaid=to_mermaid(path))

    async def _path(self, identifier: str) -> Path:
        return trace_path(identifier, *await self._store.path_facts(identifier))

    async def _paths_of(self, incident: Incident, most: int) -> list[Path]:
        identifiers = list(dict.fromkeys(victim.identifier for victim in incident.victims))
        return [await self._path(identifier) for identifier in identifiers[:most]]

    def _render(self, template: str, **values: Any) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        text = self._templates.get_template(template).render(nonce=nonce, now=self._clock.now(), **values)
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self';"
            " img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        )
        headers = {
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(text=text, content_type="text/html", headers=headers)


def _templates(clock: Clock) -> jinja2.Environment:
    folder = FilePath(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "remaining": lambda expires_at: remaining(expires_at, clock.now()),
        "ago": lambda moment: f"{span(clock.now() - moment)} ago",
        "until": lambda moment: span(moment - clock.now()),
        "span": span,
        "moment": _moment,
        "place": place_of,
        "owner": describe_owner,
    }
    environment.globals |= {"draw": draw, "life": lambda certificate: _life(certificate, clock.now())}
    return environment


def _moment(moment: datetime) -> Markup:
    text = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), text)


def _life(certificate: CertificateView, now: datetime) -> int | None:
    """How much of the certificate's lifetime is left, in percent."""
    facts = certificate.on_disk
    if facts is None:
        return None
    left: float = (facts.not_after - now) / max(facts.lifetime(), timedelta(seconds=1))
    return round(100 * min(1.0, max(0.0, left)))


def _urgency(certificate: CertificateView) -> tuple[bool, float, str, str]:
    facts = certificate.on_disk
    ends = facts.not_after.timestamp() if facts is not None else 0.0
    return facts is not None, ends, certificate.node, certificate.name


def _endangered(incidents: Sequence[Incident]) -> frozenset[tuple[str, str]]:
    """(node, certificate) of all victims."""
    return frozenset((victim.node, victim.certificate) for one in incidents for victim in one.victims)
