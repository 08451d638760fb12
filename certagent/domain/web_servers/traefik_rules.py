"""Traefik's router rules, as far as a challenge's request decides them: true, false, or not to be known. Pure.

Facts: Traefik's documentation, "Rules & Priority" (v3): matchers with backquoted or quoted arguments, `&&`, `||`, `!`,
parentheses; without a priority of its own a router has the length of its rule.
"""

import re
from collections.abc import Iterator

from certagent.domain.web_servers import ASKED

_TOKENS = re.compile(r"\s*(&&|\|\||!|\(|\)|[A-Za-z]+\s*\((?:\s*(?:`[^`]*`|\"[^\"]*\"|'[^']*')\s*,?)*\s*\))")
_ARGUMENT = re.compile(r"`([^`]*)`|\"([^\"]*)\"|'([^']*)'")
_LONGEST_RULE = 16_384


def takes(rule: str, name: str) -> bool | None:
    """Whether the rule takes the challenge of `name`; None where only a request shows it, or nobody can read it."""
    tokens = list(_tokenize(rule))
    if not tokens or None in tokens:
        return None
    try:
        verdict, rest = _either([token for token in tokens if token is not None], name)
    except (IndexError, RecursionError):
        return None
    return None if rest else verdict


def names_in(rule: str) -> tuple[str, ...]:
    """The names in its `Host` matchers."""
    matchers = re.findall(r"Host\s*\(([^)]*)\)", rule)
    return tuple(argument for matcher in matchers for argument in _arguments(matcher))


def _tokenize(rule: str) -> Iterator[str | None]:
    """Tokens; a last None when something is left that is none."""
    at = 0
    while at < len(rule.rstrip()[:_LONGEST_RULE]):
        found = _TOKENS.match(rule, at)
        if found is None:
            yield None
            return
        yield found[1]
        at = found.end()


def _either(tokens: list[str], name: str) -> tuple[bool | None, list[str]]:
    verdict, rest = _both(tokens, name)
    while rest and rest[0] == "||":
        other, rest = _both(rest[1:], name)
        verdict = True if True in (verdict, other) else None if None in (verdict, other) else False
    return verdict, rest


def _both(tokens: list[str], name: str) -> tuple[bool | None, list[str]]:
    verdict, rest = _one(tokens, name)
    while rest and rest[0] == "&&":
        other, rest = _one(rest[1:], name)
        verdict = False if False in (verdict, other) else None if None in (verdict, other) else True
    return verdict, rest


def _one(tokens: list[str], name: str) -> tuple[bool | None, list[str]]:
    first, rest = tokens[0], tokens[1:]
    if first == "!":
        verdict, rest = _one(rest, name)
        return (None if verdict is None else not verdict), rest
    if first == "(":
        verdict, rest = _either(rest, name)
        return (verdict, rest[1:]) if rest[0] == ")" else (None, rest)
    return _matcher(first, name), rest


def _matcher(text: str, name: str) -> bool | None:
    kind, _, arguments = text.partition("(")
    return _match(kind.strip(), _arguments(arguments), name)


def _match(kind: str, values: tuple[str, ...], name: str) -> bool | None:
    if kind == "Host":
        return name in (value.lower().removesuffix(".") for value in values)
    if kind == "Path":
        return ASKED in values
    if kind == "PathPrefix":
        return any(ASKED.startswith(value) for value in values)
    if kind == "Method":
        return "GET" in values
    if kind in ("HostRegexp", "PathRegexp"):
        return _search(values, name if kind == "HostRegexp" else ASKED)
    return None  # Header, Query, ClientIP: the request's own


def _search(patterns: tuple[str, ...], text: str) -> bool | None:
    try:
        return any(re.search(pattern, text) for pattern in patterns)
    except re.error:
        return None


def _arguments(text: str) -> tuple[str, ...]:
    return tuple(next(filter(None, groups), "") for groups in _ARGUMENT.findall(text))
