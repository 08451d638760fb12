"""Templates to answers, with their filters and pictures, and the policy under which a browser shows them.

Style and script are files of our own under /assets, so the policy needs no exception of any kind.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlencode

import jinja2
import msgspec
from aiohttp import web
from markupsafe import Markup

from certagent.collector.dashboard.path_diagram import draw
from certagent.collector.dashboard.survival_chart import draw_survival
from certagent.collector.incident_text import place_of, remaining, sentence_of, source_words, span
from certagent.collector.views import CertificateView
from certagent.domain.catalogue import explain_command
from certagent.domain.ports import Clock
from certagent.domain.rehearsals import describe_owner

_HERE = FilePath(__file__).parent
_LONGEST_EVIDENCE = 4_000  # characters of one finding's on a page
_LONGEST_NAME = 80
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
        "remaining": lambda expires_at: _with_instant(remaining(expires_at, clock.now()), expires_at),
        "ago": lambda moment: _with_instant(f"{span(max(clock.now() - moment, timedelta(0)))} ago", moment),
        "until": lambda moment: _with_instant(span(moment - clock.now()), moment),
        "moment": lambda moment: _moment(moment, clock.now()),
        "instant": _instant,
        "span": span,
        "place": place_of,
        "name": _in_both_forms,
        "sentence": sentence_of,
        "source": source_words,
        "owner": describe_owner,
        "asset": addresses.__getitem__,
        "plain": _plain,
        "explained": explain_command,
        "evidence": shown_evidence,
        "vantage": lambda vantage: _VANTAGES.get(str(vantage), str(vantage)),
    }
    environment.globals |= {
        "draw": draw,
        "address": page_address,
        "draw_curve": draw_survival,
        "life": lambda certificate: life_left(certificate, clock.now()),
        "low": _LOW,
    }
    return environment


def _in_both_forms(identifier: str) -> str:
    """An international name as DNS has it, and as people write it."""
    if "xn--" not in identifier:
        return identifier
    try:
        written = identifier.encode("ascii").decode("idna")
    except UnicodeError:
        return identifier
    return f"{identifier} ({written})" if written.isprintable() and written != identifier else identifier


def _instant(moment: datetime) -> Markup:
    """When, in UTC."""
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), _utc(moment))


def _moment(moment: datetime, now: datetime) -> Markup:
    """When, in UTC, and how long ago that is or in how long it will be."""
    distance = f"{span(now - moment)} ago" if moment <= now else f"in {span(moment - now)}"
    return Markup('{} <span class="distance">{}</span>').format(_instant(moment), distance)


def _with_instant(words: str, moment: datetime | None) -> str:
    """The words, which tell when on request."""
    if moment is None:
        return words
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment.isoformat(), _utc(moment), words)


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def page_address(here: str, wanted: msgspec.Struct | None, **more: str) -> str:
    """The list's address with its filters, as far as they are not the ordinary ones."""
    chosen = {} if wanted is None else msgspec.to_builtins(wanted)
    query = urlencode({**chosen, **more})
    return f"{here}?{query}" if query else here


class ShownValue(msgspec.Struct, frozen=True):
    """One value of a finding's detail as a page shows it; `parts`: how many it has, where it is folded."""

    name: str
    text: str
    parts: int | None


def shown_evidence(detail: Mapping[str, object]) -> list[ShownValue]:
    """The values that there are, in their order, until there is more than a person reads; the API has all of it."""
    shown: list[ShownValue] = []
    left = _LONGEST_EVIDENCE
    for name, value in detail.items():
        if left <= 0:
            shown.append(ShownValue("further", "not shown here", None))
            break
        if value is not None:
            text = _plain(value, left)
            left -= len(name) + len(text)
            shown.append(ShownValue(name[:_LONGEST_NAME].replace("_", " "), text, _parts_of(value)))
    return shown


def _parts_of(value: object) -> int | None:
    is_list_of_tables = isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)
    return len(value) if is_list_of_tables or isinstance(value, Mapping) else None  # type: ignore[arg-type]


def _plain(value: object, most: int = 4_000) -> str:
    """A piece of evidence for a person: lists with commas, tables as pairs; no longer than that."""
    if isinstance(value, Mapping):
        return _joined((f"{key}: {_plain(inner, most)}" for key, inner in value.items()), most)
    if isinstance(value, list | tuple):
        return _joined((_plain(inner, most) for inner in value), most)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else _cut(str(value), most)


def _joined(pieces: Iterable[str], most: int) -> str:
    """With commas; no more of them are made than fit."""
    taken, length = [], 0
    for piece in pieces:
        taken.append(piece)
        length += len(piece) + 2
        if length > most:
            break
    return _cut(", ".join(taken), most)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} …"
