"""A path as a picture: intended and actual way, hop by hop, as SVG. Draws only; colours come from the page's style.

Nothing is said by colour alone: each hop carries a sign and, where it matters, a word. No text is wider than its card:
it is wrapped or cut, and the whole of it is the card's title.
"""

from itertools import pairwise

import msgspec
from markupsafe import Markup

from certagent.collector.dashboard.text_fit import Typeface
from certagent.domain.path_trace import HopState, Path, PathHop

_SIGNS = {
    HopState.OK: "M-4.5 0.5 L-1.5 3.5 L4.5 -3.5",
    HopState.BROKEN: "M-3.5 -3.5 L3.5 3.5 M3.5 -3.5 L-3.5 3.5",
    HopState.UNKNOWN: "M-4 0 H4",
}
_PLANNED = "M-1 0 H1"
_WORDS = {HopState.OK: "", HopState.BROKEN: "broken", HopState.UNKNOWN: "not known"}
_KINDS = {"hosts": "hosts file", "dns": "DNS", "server": "box", "authority": "CA", "responder": "responder"}
_HEADING = 42  # from a lane's top to its cards
_APART = 36  # between the lanes
_INSET, _LABEL_AT = 16, 42
_FIRST_LINE, _LINE, _SPACE = 56, 17, 7  # below the label; between the lines; above what happens
_ADDRESS_LINES = 2
_LABEL, _TEXT, _LITERAL = Typeface(15, is_bold=True), Typeface(13), Typeface(12, is_fixed=True)  # as in style.css


class _Form(msgspec.Struct, frozen=True):
    """How the hops lie: beside each other for a screen, below each other for a phone."""

    name: str
    width: int  # of a card
    height: int
    gap: int
    rows: int  # lines below the label
    across: bool

    def place(self, number: int) -> tuple[int, int]:
        """The top left corner of a hop in its lane."""
        return (number * (self.width + self.gap), 0) if self.across else (0, number * (self.height + self.gap))

    def extent(self, hops: int) -> tuple[int, int]:
        """Width and height of a lane of so many hops."""
        x, y = self.place(max(hops, 1) - 1)
        return x + self.width, y + self.height

    @property
    def room(self) -> int:
        """For a line of a card."""
        return self.width - 2 * _INSET


_WIDE, _NARROWEST, _WIDEST = 1104, 190, 262
_GAP = 26
_TALL = _Form("tall", 340, 132, 28, 4, False)


def draw(path: Path, mark: str) -> Markup:
    """Both forms of the picture; the page's style shows the one that fits. `mark` makes its ids unique."""
    forms = (_wide(max(len(path.intended), len(path.actual), 1)), _TALL)
    figures = Markup("").join(_figure(path, form, f"{mark}-{form.name}") for form in forms)
    return Markup('<div class="picture">{}</div>').format(figures)


def describe(path: Path) -> str:
    """The picture in words, for who cannot see it."""
    intended = ", then ".join(_in_words(hop) for hop in path.intended)
    actual = ", then ".join(_in_words(hop) for hop in path.actual)
    return f"Intended: {intended}. Actual: {actual}."


def _wide(hops: int) -> _Form:
    """Cards as wide as the page lets them be."""
    width = (_WIDE - _GAP * (hops - 1)) // hops
    return _Form("wide", min(_WIDEST, max(_NARROWEST, width)), 158, _GAP, 6, True)


def _figure(path: Path, form: _Form, mark: str) -> Markup:
    width = max(form.extent(len(path.intended))[0], form.extent(len(path.actual))[0])
    upper = form.extent(len(path.intended))[1]
    lower = form.extent(len(path.actual))[1]
    second = _HEADING + upper + _APART
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
        intended=_lane("intended", "Intended", path.intended, form, 0),
        actual=_lane("actual", _verdict(path), path.actual, form, second),
    )


def _verdict(path: Path) -> str:
    if path.broken:
        first = next(number for number, hop in enumerate(path.actual, 1) if hop.state is HopState.BROKEN)
        return f"Actual: breaks at step {first} of {len(path.actual)}"
    unknown = any(hop.state is HopState.UNKNOWN for hop in path.actual)
    return "Actual: not checked yet" if unknown else "Actual: as intended, proven by rehearsal"


def _lane(kind: str, heading: str, hops: tuple[PathHop, ...], form: _Form, top: int) -> Markup:
    planned = kind == "intended"
    cards = Markup("").join(_card(hop, form, *form.place(number), planned) for number, hop in enumerate(hops))
    arrows = Markup("").join(_arrow(*pair, form, number) for number, pair in enumerate(pairwise(hops)))
    broken = " broken" if any(hop.state is HopState.BROKEN for hop in hops) else ""
    return Markup(
        '<g class="lane {kind}{broken}" transform="translate(0 {top})"><text class="heading" x="0" y="18">{heading}'
        '</text><g transform="translate(0 {below})">{arrows}{cards}</g></g>'
    ).format(kind=kind, broken=broken, top=top, heading=heading, below=_HEADING, arrows=arrows, cards=cards)


def _card(hop: PathHop, form: _Form, x: int, y: int, planned: bool) -> Markup:
    """One hop. What is planned was not seen, so it has neither the sign nor the colour of what was."""
    place = " · ".join(dict.fromkeys(part for part in (hop.node, hop.role) if part)) or _KINDS.get(hop.kind, hop.kind)
    word = "culprit" if hop.culprit else _WORDS[hop.state]
    return Markup(
        '<g class="hop {state}" data-kind="{kind}" data-state="{is_now}" transform="translate({x} {y})">'
        '<title>{title}</title><rect class="card" width="{width}" height="{height}" rx="12"/>'
        '<g class="sign" transform="translate(25 27)"><circle r="9"/><path d="{sign}"/></g>'
        '<text class="label" x="{inset}" y="32">{label}</text>{lines}{word}</g>'
    ).format(
        state="culprit" if hop.culprit else str(hop.state),
        kind=hop.kind,
        is_now=str(hop.state),
        x=x,
        y=y,
        title=_in_words(hop),
        width=form.width,
        height=form.height,
        sign=_PLANNED if planned else _SIGNS[hop.state],
        inset=_LABEL_AT,
        label=_LABEL.cut(hop.label, form.width - _LABEL_AT - _INSET),
        word=_tag(word, form.width),
        lines=_lines(hop, form, place),
    )


def _lines(hop: PathHop, form: _Form, place: str) -> Markup:
    """Node, address and what happens, below each other."""
    literal = hop.kind == "hosts"
    address = _LITERAL.wrap(hop.address or "", form.room, _ADDRESS_LINES)
    told = (_LITERAL if literal else _TEXT).wrap(hop.detail, form.room, form.rows - 1 - len(address))
    lines = [
        ("place", _TEXT.cut(place, form.room), 0),
        *(("address", line, 0) for line in address),
        *(("literal" if literal else "detail", line, _SPACE) for line in told),
    ]
    return Markup("").join(
        Markup('<text class="{}" x="{}" y="{}">{}</text>').format(
            kind, _INSET, _FIRST_LINE + _LINE * number + space, line
        )
        for number, (kind, line, space) in enumerate(lines)
    )


def _tag(word: str, width: int) -> Markup:
    """A word on the card's upper edge."""
    if not word:
        return Markup("")
    length = round(6.6 * len(word)) + 22
    return Markup(
        '<rect class="tag" x="{x}" y="-11" width="{length}" height="22" rx="11"/>'
        '<text class="word" x="{middle}" y="4">{word}</text>'
    ).format(x=width - 12 - length, length=length, middle=width - 12 - length / 2, word=word)


def _arrow(before: PathHop, after: PathHop, form: _Form, number: int) -> Markup:
    x, y = form.place(number)
    state = "ok" if HopState.OK is before.state is after.state else "lost"
    state = "broken" if HopState.BROKEN in (before.state, after.state) else state
    if form.across:
        x, y = x + form.width + 4, y + 27
        line = f"M{x} {y} H{x + form.gap - 9} m-5 -5 l5 5 l-5 5"
    else:
        x, y = x + 25, y + form.height + 4
        line = f"M{x} {y} V{y + form.gap - 9} m-5 -5 l5 5 l5 -5"
    return Markup('<path class="arrow {}" d="{}"/>').format(state, line)


def _in_words(hop: PathHop) -> str:
    where = ", ".join(part for part in (hop.node, hop.role, hop.address) if part)
    word = "culprit" if hop.culprit else _WORDS[hop.state]
    place = f" on {where}" if where else ""
    return f"{hop.label}{place}: {hop.detail}{f' ({word})' if word else ''}"
