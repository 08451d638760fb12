"""A path as a picture: intended and actual way, hop by hop, as SVG. Draws only; colours come from the page's style.

Nothing is said by colour alone: each hop carries a sign and, where it matters, a word.
"""

import textwrap
from itertools import pairwise

import msgspec
from markupsafe import Markup

from certagent.domain.hops import HopState, PathHop
from certagent.domain.paths import Path

_SIGNS = {
    HopState.OK: "M-4.5 0.5 L-1.5 3.5 L4.5 -3.5",
    HopState.BROKEN: "M-3.5 -3.5 L3.5 3.5 M3.5 -3.5 L-3.5 3.5",
    HopState.UNKNOWN: "M-4 0 H4",
}
_WORDS = {HopState.OK: "", HopState.BROKEN: "broken", HopState.UNKNOWN: "not known"}
_HEADING = 40


class _Form(msgspec.Struct, frozen=True):
    """How the hops lie: beside each other for a screen, below each other for a phone."""

    name: str
    width: int
    height: int
    gap: int
    columns: int  # characters of detail in a line
    rows: int  # lines of detail
    across: bool

    def place(self, number: int) -> tuple[int, int]:
        """The top left corner of a hop in its lane."""
        return (number * (self.width + self.gap), 0) if self.across else (0, number * (self.height + self.gap))

    def extent(self, hops: int) -> tuple[int, int]:
        """Width and height of a lane of so many hops."""
        x, y = self.place(max(hops, 1) - 1)
        return x + self.width, y + self.height


_FORMS = (
    _Form("wide", 248, 136, 40, 31, 3, True),
    _Form("tall", 340, 112, 26, 44, 2, False),
)


def draw(path: Path, mark: str) -> Markup:
    """Both forms of the picture; the page's style shows the one that fits. `mark` makes its ids unique."""
    figures = Markup("").join(_figure(path, form, f"{mark}-{form.name}") for form in _FORMS)
    return Markup('<div class="picture">{}</div>').format(figures)


def describe(path: Path) -> str:
    """The picture in words, for who cannot see it."""
    intended = ", then ".join(_in_words(hop) for hop in path.intended)
    actual = ", then ".join(_in_words(hop) for hop in path.actual)
    return f"Intended: {intended}. Actual: {actual}."


def _figure(path: Path, form: _Form, mark: str) -> Markup:
    width = max(form.extent(len(path.intended))[0], form.extent(len(path.actual))[0])
    upper = form.extent(len(path.intended))[1]
    lower = form.extent(len(path.actual))[1]
    second = _HEADING + upper + 32
    return Markup(
        '<svg class="path {form}" viewBox="-2 0 {width} {height}" width="{width}" height="{height}" role="img"'
        ' aria-labelledby="{mark}-t {mark}-d"><title id="{mark}-t">{title}</title><desc id="{mark}-d">{text}</desc>'
        "{intended}{actual}</svg>"
    ).format(
        form=form.name,
        width=width + 4,
        height=second + _HEADING + lower + 4,
        mark=mark,
        title=f"Path of the challenge for {path.identifier}: {'broken' if path.broken else 'intact or not known'}",
        text=describe(path),
        intended=_lane("Intended", path.intended, form, 0),
        actual=_lane(_verdict(path), path.actual, form, second),
    )


def _verdict(path: Path) -> str:
    if path.broken:
        first = next(number for number, hop in enumerate(path.actual, 1) if hop.state is HopState.BROKEN)
        return f"Actual: breaks at step {first} of {len(path.actual)}"
    unknown = any(hop.state is HopState.UNKNOWN for hop in path.actual)
    return "Actual: nobody has looked yet" if unknown else "Actual: as intended, proven by rehearsal"


def _lane(heading: str, hops: tuple[PathHop, ...], form: _Form, top: int) -> Markup:
    cards = Markup("").join(_card(hop, form, *form.place(number)) for number, hop in enumerate(hops))
    arrows = Markup("").join(_arrow(*pair, form, number) for number, pair in enumerate(pairwise(hops)))
    return Markup(
        '<g transform="translate(0 {top})"><text class="lane" x="0" y="18">{heading}</text>'
        '<g transform="translate(0 {below})">{arrows}{cards}</g></g>'
    ).format(top=top, heading=heading, below=_HEADING - 8, arrows=arrows, cards=cards)


def _card(hop: PathHop, form: _Form, x: int, y: int) -> Markup:
    state = "culprit" if hop.culprit else str(hop.state)
    place = " · ".join(part for part in (hop.node, hop.role) if part)
    word = "culprit" if hop.culprit else _WORDS[hop.state]
    return Markup(
        '<g class="hop {state}" transform="translate({x} {y})"><title>{title}</title>'
        '<rect class="card" width="{width}" height="{height}" rx="10"/>'
        '<g class="sign" transform="translate(22 24)"><circle r="9"/><path d="{sign}"/></g>'
        '<text class="label" x="40" y="29">{label}</text>{word}'
        '<text class="place" x="14" y="53">{place}</text><text class="address" x="{end}" y="53">{address}</text>'
        "{detail}</g>"
    ).format(
        state=state,
        x=x,
        y=y,
        title=_in_words(hop),
        width=form.width,
        height=form.height,
        sign=_SIGNS[hop.state],
        label=_cut(hop.label, 16 if word else 24),
        word=_tag(word, form.width),
        place=_cut(place, 18),
        end=form.width - 14,
        address=hop.address or "",
        detail=_detail(hop, form),
    )


def _tag(word: str, width: int) -> Markup:
    if not word:
        return Markup("")
    length = 7 * len(word) + 14
    return Markup(
        '<rect class="tag" x="{x}" y="14" width="{length}" height="20" rx="10"/>'
        '<text class="word" x="{middle}" y="28">{word}</text>'
    ).format(x=width - 10 - length, length=length, middle=width - 10 - length / 2, word=word)


def _detail(hop: PathHop, form: _Form) -> Markup:
    lines = textwrap.wrap(hop.detail, form.columns, max_lines=form.rows, placeholder=" …")
    kind = "literal" if hop.kind == "hosts" else "detail"
    return Markup("").join(
        Markup('<text class="{}" x="14" y="{}">{}</text>').format(kind, 79 + 18 * number, line)
        for number, line in enumerate(lines)
    )


def _arrow(before: PathHop, after: PathHop, form: _Form, number: int) -> Markup:
    x, y = form.place(number)
    state = "ok" if HopState.OK is before.state is after.state else "lost"
    state = "broken" if HopState.BROKEN in (before.state, after.state) else state
    if form.across:
        x, y = x + form.width + 5, y + form.height // 2
        line = f"M{x} {y} H{x + form.gap - 12} m-6 -5 l6 5 l-6 5"
    else:
        x, y = x + 22, y + form.height + 4
        line = f"M{x} {y} V{y + form.gap - 9} m-5 -6 l5 6 l5 -6"
    return Markup('<path class="arrow {}" d="{}"/>').format(state, line)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _in_words(hop: PathHop) -> str:
    where = ", ".join(part for part in (hop.node, hop.role, hop.address) if part)
    word = "culprit" if hop.culprit else _WORDS[hop.state]
    place = f" on {where}" if where else ""
    return f"{hop.label}{place}: {hop.detail}{f' ({word})' if word else ''}"
