"""Hosts lines that look right and do nothing: what is wrong with each, made visible. Pure; never raises.

A line is an address and names between blanks. Neither Go nor glibc checks the names: whatever stands there is kept, and
no program ever asks for a URL, a port, a wildcard or a name with a comma in it. Both take the address by the strict
rules of inet_pton(3): no mask, no brackets, no leading zeros (Go, net/hosts.go; glibc, nss/nss_files/files-hosts.c).
A name in capitals, with underscores or a final dot is asked for, and so nothing is said of it.
"""

import re
import unicodedata

import msgspec

from certagent.domain.resolution.file_formats import (
    HostsEntry,
    HostsProblem,
    leads_to_itself,
    parse_address,
    show,
    show_invisible,
    split_fields,
)

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_PORT = re.compile(r".*[^:]:\d+")
_NUMBERS = re.compile(r"[\d.]+")
_LEADING_ZERO = re.compile(r"(?:\d+\.)*0\d+(?:\.\d+)*")
_OTHER_COMMENTS = ("//", ";", "!", "--", "/*", "<!--", "REM", "rem", "%")
_QUOTES, _PUNCTUATION = "\"'`", ",;:=."


class Ineffective(msgspec.Struct, frozen=True):
    """What is wrong with a line, and the word that it is wrong with, every character of it visible."""

    problem: HostsProblem
    word: str


def ineffective_name(entry: HostsEntry) -> Ineffective | None:
    """The first name of the line that no program asks for; None when they are all names."""
    for name in entry.names:
        if _PLAIN.fullmatch(name) is None or ".." in name or parse_address(name) is not None:
            problem = _problem_of_name(name, entry.address)
            if problem is not None:
                return Ineffective(problem, _visible(name))
    return None


def name_that_ends_early(content: bytes) -> Ineffective | None:
    """The name that a `#` in its middle cuts short: `10.0.0.5 nas#2.home.test` names `nas`."""
    said, mark, comment = content.partition(b"#")
    fields = split_fields(said)
    behind = show(comment).split()[:1] if mark and comment[:1].strip() else []
    if len(fields) < 2 or not said[-1:].strip() or "." in fields[-1] or not behind:
        return None
    is_name = "." in behind[0].strip(".") and _PLAIN.fullmatch(behind[0]) is not None
    return Ineffective(HostsProblem.ENDS_EARLY, _visible(fields[-1])) if is_name else None


def why_no_address(content: bytes) -> Ineffective:
    """Why the line does not begin with an address."""
    fields = split_fields(content.partition(b"#")[0]) or [show(content)]
    return Ineffective(_problem_of_address(fields[0], fields[1:]), _visible(fields[0]))


def _problem_of_name(name: str, address: str) -> HostsProblem | None:
    if parse_address(name) is not None:  # `0.0.0.0 0.0.0.0` stands in every block list
        return None if leads_to_itself(address) else HostsProblem.SECOND_ADDRESS
    for problem, is_met in (
        (HostsProblem.INVISIBLE, show_invisible(name) != name or "<U+" in name),
        (HostsProblem.SCHEME, "://" in name),
        (HostsProblem.WILDCARD, "*" in name),
        (HostsProblem.COMMA, "," in name),
        (HostsProblem.QUOTES, any(quote in name for quote in _QUOTES)),
        (HostsProblem.PORT, _PORT.fullmatch(name) is not None),
        (HostsProblem.PATH, "/" in name),
        (HostsProblem.NOT_ASCII, not name.isascii()),
        (HostsProblem.PUNCTUATION, _PLAIN.fullmatch(name.rstrip(_PUNCTUATION)) is not None and ".." not in name),
    ):
        if is_met:
            return problem
    return HostsProblem.NOT_A_NAME


def _problem_of_address(first: str, names: list[str]) -> HostsProblem:
    bare = first.strip("[]").partition("]")[0]
    for problem, is_met in (
        (HostsProblem.INVISIBLE, "<U+" in first),
        (HostsProblem.COMMENT_MARK, first.startswith(_OTHER_COMMENTS)),
        (HostsProblem.ADDRESS_URL, "://" in first),
        (HostsProblem.MASK, "/" in first and parse_address(first.partition("/")[0]) is not None),
        (HostsProblem.BRACKETS, first.startswith("[") and parse_address(bare) is not None),
        (HostsProblem.ADDRESS_PORT, _PORT.fullmatch(first) is not None and _is_address_before(first, ":")),
        (HostsProblem.ADDRESS_QUOTES, parse_address(first.strip(_QUOTES)) is not None),
        (HostsProblem.ADDRESS_PUNCTUATION, parse_address(first.strip(_PUNCTUATION + "()")) is not None),
        (HostsProblem.ADDRESS_NOT_ASCII, not first.isascii() and _is_written_address(first)),
        (HostsProblem.LEADING_ZERO, _LEADING_ZERO.fullmatch(first) is not None),
        (HostsProblem.OUT_OF_RANGE, "." in first and _NUMBERS.fullmatch(first) is not None),
        (HostsProblem.NAME_FIRST, any(parse_address(name) is not None for name in names)),
    ):
        if is_met:
            return problem
    return HostsProblem.NO_ADDRESS


def _is_address_before(text: str, separator: str) -> bool:
    return parse_address(text.rpartition(separator)[0]) is not None


def _is_written_address(text: str) -> bool:
    """Whether it would be one in ordinary digits."""
    return parse_address(unicodedata.normalize("NFKC", text)) is not None


def _visible(word: str) -> str:
    """The word with every character that is not ASCII by its number: many look like others."""
    return "".join(
        character if character.isascii() else f"<U+{ord(character):04X}>" for character in show_invisible(word)
    )
