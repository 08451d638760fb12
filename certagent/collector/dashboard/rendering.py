"""Templates to answers, with their filters and pictures, and the policy under which a browser shows them.

Style and script are files of our own under /assets, so the policy needs no exception of any kind.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path as FilePath
from typing import Any

import jinja2
from aiohttp import web
from markupsafe import Markup

from certagent.collector.dashboard.path_diagram import draw
from certagent.collector.dashboard.survival_chart import draw_survival
from certagent.collector.incident_text import place_of, remaining, span
from certagent.collector.views import CertificateView
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import describe_owner

_HERE = FilePath(__file__).parent
_LOW = 15  # percent of the lifetime
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_KINDS = {".css": "text/css", ".js": "text/javascript"}


_VANTAGES = {
    "authority": "From the CA's node",
    "client": "On the node, by its own resolver",
    "wire": "From the nameservers",
    "peer": "From another node",
    "static": "From files",
}


class Renderer:
    """Fills templates. What every page shows is handed in with each call: nothing is kept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._assets = {path.name: path.read_bytes() for path in (_HERE / "assets").iterdir()}
        self._templates = _templates(clock, self._assets)

    def page(self, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """The filled template as an answer."""
        text = self._templates.get_template(template).render(now=self._clock.now(), **values)
        return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)

    async def show_asset(self, request: web.Request) -> web.Response:
        """Style or script. Its address changes with its content, so it is never asked for twice."""
        name = request.match_info["name"]
        if name not in self._assets:
            raise web.HTTPNotFound(text=f"there is no {name!r}")
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        kind = _KINDS[FilePath(name).suffix]
        return web.Response(body=self._assets[name], content_type=kind, charset="utf-8", headers=headers)


def life_left(certificate: CertificateView, now: datetime) -> int | None:
    """How much of the certificate's lifetime is left, in percent."""
    on_disk = certificate.on_disk
    if on_disk is None:
        return None
    left: float = (on_disk.ends_at - now) / max(on_disk.lifetime(), timedelta(seconds=1))
    return round(100 * min(1.0, max(0.0, left)))


def _templates(clock: Clock, assets: Mapping[str, bytes]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    addresses = {name: f"/assets/{name}?{hashlib.sha256(body).hexdigest()[:12]}" for name, body in assets.items()}
    environment.filters |= {
        "remaining": lambda expires_at: remaining(expires_at, clock.now()),
        "ago": lambda moment: f"{span(max(clock.now() - moment, timedelta(0)))} ago",
        "until": lambda moment: span(moment - clock.now()),
        "span": span,
        "moment": _moment,
        "place": place_of,
        "owner": describe_owner,
        "asset": addresses.__getitem__,
        "plain": _plain,
        "vantage": lambda vantage: _VANTAGES.get(str(vantage), str(vantage)),
    }
    environment.globals |= {
        "draw": draw,
        "draw_curve": draw_survival,
        "life": lambda certificate: life_left(certificate, clock.now()),
        "low": _LOW,
    }
    return environment


def _moment(moment: datetime) -> Markup:
    text = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), text)


def _plain(value: object) -> str:
    """A piece of evidence for a person: lists with commas, tables as pairs."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
