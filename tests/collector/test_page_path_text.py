"""Whatever stands in a path, its picture holds it: no text is wider than its card, in either form."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.collector.dashboard.path_diagram import draw
from certagent.collector.dashboard.text_fit import Typeface
from certagent.domain.path_trace import HopState, Path, PathHop

_REGULAR = (
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636,
    636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656,
    557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, 500, 613,
    635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818,
    592, 592, 525, 636, 337, 636, 838,
)  # fmt: skip
_BOLD = (
    348, 456, 521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415, 380, 365, 696, 696, 696, 696, 696, 696,
    696, 696, 696, 696, 400, 400, 838, 838, 838, 580, 1000, 774, 762, 734, 830, 683, 683, 821, 837, 372, 372, 775,
    637, 995, 837, 850, 733, 850, 770, 720, 682, 812, 774, 1103, 771, 724, 725, 457, 365, 457, 838, 500, 500, 675,
    716, 593, 716, 678, 435, 716, 712, 343, 343, 665, 343, 1042, 712, 687, 716, 716, 493, 595, 478, 712, 652, 924,
    645, 652, 582, 712, 365, 712, 838,
)  # fmt: skip
"""How wide DejaVu Sans sets the printable letters of ASCII, in thousandths of its size: the widest font of the page."""
_OTHERS = {"…": 1000, "·": 380}
_FIXED = 602
_LABELS = {"n": "n" * 63, "W": "W" * 63, "m": "m" * 63, "i": "i" * 63, "0": "0" * 63, "_": "a_b-" * 15 + "xyz"}
_IPV6 = "2001:0db8:ffff:ffff:ffff:ffff:ffff:ffff"
_TEXT = Typeface(13)
_SIZES = {"label": 15, "place": 13, "detail": 13, "address": 12, "literal": 12}


def _width(kind: str, text: str) -> float:
    """In pixels, as DejaVu Sans sets it."""
    if kind in ("address", "literal"):
        return len(text) * _FIXED * _SIZES[kind] / 1000
    return _thousandths(text, is_bold=kind == "label") * _SIZES[kind] / 1000


def _thousandths(text: str, *, is_bold: bool) -> int:
    known = _BOLD if is_bold else _REGULAR
    return sum(_OTHERS[letter] if letter in _OTHERS else known[ord(letter) - 32] for letter in text)


def _hop(kind: str, letters: str, state: HopState = HopState.OK) -> PathHop:
    """With everything as long as it comes."""
    name = f"{letters}.{letters}.zone1.test"
    literal = kind == "hosts"
    return PathHop(
        kind=kind,
        label=f"/etc/{letters}/{letters}.conf:300" if literal else letters,
        node=letters,
        role="certificate authority",
        address=_IPV6,
        detail=f"{_IPV6} {name}" if literal else f"answers for {name} with a redirect to https://{name}/{letters}",
        state=state,
    )


def _path(letters: str, hops: int) -> Path:
    kinds = ("authority", "hosts", *["server"] * (hops - 3), "responder")
    intended = tuple(_hop(kind, letters) for kind in kinds)
    actual = tuple(_hop(kind, letters, HopState.BROKEN if kind == "hosts" else HopState.OK) for kind in kinds)
    return Path(identifier=f"{letters}.zone1.test", intended=intended, actual=actual, broken=True)


@pytest.mark.parametrize("hops", [3, 4, 5, 7])
@pytest.mark.parametrize("letters", _LABELS.values(), ids=list(_LABELS))
def test_every_text_fits_its_card(letters: str, hops: int) -> None:
    """Labels of 63 letters, narrow and wide, and a whole IPv6 address; what is cut is whole in the card's title."""
    path = _path(letters, hops)
    figures = list(ElementTree.fromstring(str(draw(path, "p"))))  # noqa: S314 - our own
    assert [figure.attrib["class"] for figure in figures] == ["path wide", "path tall"]
    for figure in figures:
        cards = [one for one in figure.iter("g") if one.attrib.get("class", "").startswith("hop")]
        assert len(cards) == 2 * hops
        for card, hop in zip(cards, path.intended + path.actual, strict=True):
            _check_card(card, hop)


def _check_card(card: ElementTree.Element, hop: PathHop) -> None:
    frame = card.find("rect[@class='card']")
    assert frame is not None
    texts = [one for one in card.iter("text") if one.attrib["class"] in _SIZES]
    lines = [int(one.attrib["y"]) for one in texts]
    assert len(set(lines)) == len(lines) == len(texts), "two texts on one line"
    for text in texts:
        kind, written = text.attrib["class"], text.text or ""
        right = float(text.attrib["x"]) + _width(kind, written)
        assert right <= float(frame.attrib["width"]) - 8, (kind, written, right)
    assert max(lines) <= float(frame.attrib["height"]) - 6
    assert min(after - before for before, after in zip(sorted(lines), sorted(lines)[1:], strict=False)) >= 15
    address = "".join(one.text or "" for one in texts if one.attrib["class"] == "address")
    assert address == hop.address
    title = card.findtext("title") or ""
    assert all(part in title for part in (hop.label, hop.node, hop.role, hop.address, hop.detail) if part)


def test_what_is_cut_within_a_word_gets_no_space() -> None:
    """A URL is one word, wherever it is broken and cut."""
    room = _TEXT.width("https://a.zone1.test/.")
    assert _TEXT.wrap("https://a.zone1.test/.well-known/acme-challenge/x", room, 2) == [
        "https://a.zone1.test/",
        ".well-known/acme-…",
    ]


def test_what_fits_is_whole() -> None:
    """The founding failure's path is not cut anywhere."""
    hop = PathHop(kind="hosts", label="/etc/hosts:7", node="lxc103", role="authority", address="10.0.0.153",
                  detail="10.0.0.153 traefik.internal.thinkheads.ai")  # fmt: skip
    path = Path(identifier="traefik.internal.thinkheads.ai", intended=(hop,) * 4, actual=(hop,) * 4, broken=False)
    picture = str(draw(path, "p"))
    assert "…" not in picture
    shown = re.findall(r'<text class="literal"[^>]*>([^<]+)', picture)
    assert shown[:2] == hop.detail.split()
    assert shown[-1] == hop.detail


_PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)


@pytest.mark.slow
@given(_PRINTABLE, st.floats(60, 400), st.booleans())
def test_lines_are_no_wider_than_their_room_and_lose_nothing(text: str, room: float, is_bold: bool) -> None:
    """But spaces, where a line ends; and a cut text is the beginning of the whole."""
    face = Typeface(10, is_bold=is_bold)
    lines = face.wrap(text, room, 1000)
    assert all(_thousandths(line, is_bold=is_bold) / 100 <= room for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    cut = face.cut(text, room)
    assert _thousandths(cut, is_bold=is_bold) / 100 <= room
    assert cut == text or text.startswith(cut.removesuffix("…"))
    few = face.wrap(text, room, 2)
    assert len(few) <= 2
    assert all(_thousandths(line, is_bold=is_bold) / 100 <= room for line in few)
