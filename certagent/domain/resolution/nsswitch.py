"""nsswitch.conf as a pure-Go program reads it: the order of hosts file and DNS. Pure; never raises.

Go knows `files` and `dns`. Any other source counts as DNS, unless `dns` is named somewhere as well. Criteria such as
`[NOTFOUND=return]` are read and then ignored. A file that is absent, silent about hosts, or broken anywhere, means
`files dns` (Go, net/nss.go and net/conf.go).
"""

import msgspec

from certagent.domain.resolution.text import read_lines, show

NSSWITCH_FILE = "/etc/nsswitch.conf"
DEFAULT_ORDER = ("files", "dns")

_SPACES = b" \t\n\r"


class NameServiceSwitch(msgspec.Struct, frozen=True):
    """What the file says on hosts. `order` is what Go makes of it; `line` and `text` the line that decides."""

    order: tuple[str, ...] = DEFAULT_ORDER
    sources: tuple[str, ...] = ()
    line: int | None = None
    text: str | None = None
    problem: str | None = None  # why the file as a whole is not used

    def has_more_than_go(self) -> bool:
        """Whether libc may know names from where a pure-Go program never looks."""
        return self.problem is not None or not set(self.sources) <= set(DEFAULT_ORDER)


class _BrokenError(Exception):
    """The file is not one: Go gives it up and uses its default."""


def parse_nsswitch(raw: bytes | None) -> NameServiceSwitch:
    """The order of lookups. None is a file that is not there."""
    lines, _ = read_lines(raw or b"")
    sources: list[str] = []
    decided: tuple[int, str] | None = None
    for line in lines:
        content = line.content.partition(b"#")[0].strip(_SPACES)
        if not content:
            continue
        try:
            database, found = _parse_line(content)
        except _BrokenError as error:
            return NameServiceSwitch(line=line.number, text=line.text, problem=str(error))
        if database == b"hosts" and found:
            sources += found
            decided = decided or (line.number, line.text)
    number, text = decided or (None, None)
    return NameServiceSwitch(order=_order(sources), sources=tuple(sources), line=number, text=text)


def _parse_line(content: bytes) -> tuple[bytes, list[str]]:
    database, colon, rest = content.partition(b":")
    if not colon:
        raise _BrokenError("a line without a colon")
    sources = []
    rest = rest.strip(_SPACES)
    while rest:
        source, _, rest = rest.partition(b" ")
        rest = rest.strip(_SPACES)
        if rest.startswith(b"["):
            criteria, closed, rest = rest[1:].partition(b"]")
            if not closed:
                raise _BrokenError("a bracket that is not closed")
            _check_criteria(criteria)
            rest = rest.strip(_SPACES)
        sources.append(show(source))
    return database.strip(_SPACES), sources


def _check_criteria(criteria: bytes) -> None:
    for field in criteria.strip(_SPACES).split(b" "):
        criterion = field.strip(_SPACES).removeprefix(b"!")
        if field.strip(_SPACES) and (len(criterion) < 3 or b"=" not in criterion):
            raise _BrokenError("a criterion that is none")


def _order(sources: list[str]) -> tuple[str, ...]:
    known = [_meaning(source, "dns" in sources) for source in sources]
    return tuple(dict.fromkeys(source for source in known if source is not None)) or DEFAULT_ORDER


def _meaning(source: str, has_dns: bool) -> str | None:
    if source in DEFAULT_ORDER:
        return source
    return None if has_dns else "dns"
