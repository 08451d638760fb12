"""Records of their own that unbound and AdGuard Home answer with, by file and line: enough to name what answers. Pure.

Facts: unbound.conf(5), `local-data`, `local-zone` (`redirect`), `include`; AdGuard Home's wiki, "Configuration",
`rewrites`. What is written in other ways than people and these programs write it is left out.
"""

import re
from collections.abc import Iterator

import msgspec

from certagent.domain.resolution.file_formats import parse_address, show

_LOCAL_DATA = re.compile(
    r"""local-data:\s*["'](?P<name>\S+)\s+(?:\d+\s+)?(?:IN\s+)?(?:A|AAAA)\s+(?P<address>\S+?)\s*["']""",
    re.IGNORECASE,
)
_INCLUDE = re.compile(r"""^\s*include(?:-toplevel)?:\s*["']?(?P<path>[^"'#\s]+)""")
_DOMAIN = re.compile(r"""^\s*(?:-\s+)?domain:\s*["']?(?P<value>[^"'#\s]+)""")
_ANSWER = re.compile(r"""^\s*(?:-\s+)?answer:\s*["']?(?P<value>[^"'#\s]+)""")


class LocalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A name that a DNS server answers by a line of a file. `server`: which program; `name` may begin with `*.`."""

    server: str
    name: str
    address: str
    file: str
    line: int
    text: str


def read_unbound(content: bytes, file: str) -> Iterator[LocalRecord]:
    """The addresses in `local-data`."""
    for number, raw in enumerate(content.split(b"\n"), 1):
        found = _LOCAL_DATA.search(show(raw)) if b"local-data:" in raw and not raw.lstrip().startswith(b"#") else None
        if found is not None:
            yield from _record("unbound", found["name"], found["address"], file, number, raw)


def included_by_unbound(content: bytes) -> Iterator[str]:
    """The paths, or patterns of such, of further files."""
    for raw in content.split(b"\n"):
        found = _INCLUDE.search(show(raw)) if b"include" in raw else None
        if found is not None:
            yield found["path"]


def read_adguard(content: bytes, file: str) -> Iterator[LocalRecord]:
    """The addresses in `rewrites`; the line is that of the domain."""
    pending: tuple[str, int, bytes] | None = None
    for number, raw in enumerate(content.split(b"\n"), 1):
        if b"domain:" not in raw and b"answer:" not in raw:
            continue
        domain, answer = _DOMAIN.search(show(raw)), _ANSWER.search(show(raw))
        if domain is not None:
            pending = (domain["value"], number, raw)
        elif answer is not None and pending is not None:
            yield from _record("AdGuard Home", pending[0], answer["value"], file, pending[1], pending[2])
            pending = None


def _record(server: str, name: str, address: str, file: str, line: int, raw: bytes) -> Iterator[LocalRecord]:
    parsed = parse_address(address)
    if parsed is not None:
        plain = name.lower().rstrip(".")
        yield LocalRecord(server=server, name=plain, address=parsed, file=file, line=line, text=show(raw.strip()))
