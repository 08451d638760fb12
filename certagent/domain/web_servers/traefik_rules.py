"""Traefik's router rules, as far as a challenge's request decides them: true, false, or not to be known. Pure.

Facts: Traefik's documentation, "Rules & Priority", and its source: a rule is an expression of Go with backquoted or
double-quoted arguments, `&&`, `||`, `!`, parentheses; version 3 has other matchers than version 2 (`ruleSyntax`).
Patterns are RE2's, as Go's are.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from certagent.domain.web_servers import ASKED

V2, V3 = "v2", "v3"
_TOKENS = re.compile(
    r"\s+|//[^\n]*|/\*.*?\*/|(?P<token>&&|\|\||[!(),]|`[^`]*`|\"(?:[^\"\\\n]|\\.)*\"|[A-Za-z]+)", re.DOTALL
)
_LONGEST_RULE = 16_384
_MAY_BE_SENT = re.compile(r"user-agent|accept|connection|x-forwarded|x-real|host", re.IGNORECASE)
_GROUP = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_VARIABLE = re.compile(r"\{([^{}:]*)(?::((?:[^{}]|\{[^{}]*\})*))?\}")
_SYNTAXES: dict[str, dict[str, tuple[int, int]]] = {
    V3: {
        **dict.fromkeys(("ClientIP", "Method", "Host", "HostRegexp", "Path", "PathRegexp", "PathPrefix"), (1, 1)),
        **dict.fromkeys(("Header", "HeaderRegexp"), (2, 2)),
        **dict.fromkeys(("Query", "QueryRegexp"), (1, 2)),
    },
    V2: {
        **dict.fromkeys(("Host", "HostHeader", "HostRegexp", "ClientIP", "Path", "PathPrefix", "Method"), (1, 99)),
        **dict.fromkeys(("Headers", "HeadersRegexp", "Query"), (1, 99)),
    },
}
"""The matchers of a syntax, each with the number of its arguments."""
Verdict = bool | None


class _Matcher(msgspec.Struct, frozen=True):
    kind: str
    values: tuple[str, ...]


class _Not(msgspec.Struct, frozen=True):
    rule: "_Rule"


class _Either(msgspec.Struct, frozen=True):
    rules: tuple["_Rule", ...]


class _Both(msgspec.Struct, frozen=True):
    rules: tuple["_Rule", ...]


_Rule = _Matcher | _Not | _Either | _Both


def takes(rule: str, name: str, syntax: str = "") -> Verdict:
    """Whether the rule takes the challenge of `name`; None where only a request shows it, or nobody can read it.

    Without a `syntax` it is read as version 3's where that is possible, else as version 2's.
    """
    parsed = _parse(rule)
    if parsed is None:
        return None
    fitting = next((one for one in ((syntax,) if syntax else (V3, V2)) if _fits(parsed, one)), None)
    is_guess = fitting == V2 and not syntax  # a pattern without a variable is a broken one of version 3
    return _judge(parsed, name, fitting) if fitting and not (is_guess and _has_broken_pattern(parsed)) else None


def is_legal(rule: str, syntax: str) -> bool:
    """Whether a Traefik of that syntax can read the rule; it leaves the router out where it cannot."""
    parsed = _parse(rule)
    return parsed is not None and _fits(parsed, syntax)


def names_in(rule: str, matchers: tuple[str, ...] = ("Host", "HostHeader")) -> tuple[str, ...]:
    """The names that these matchers take: of none that an odd number of `!` stands before."""
    parsed = _parse(rule)
    return tuple(dict.fromkeys(_names(parsed, matchers, is_taken=True))) if parsed is not None else ()


def is_exact_host(name: str, pattern: str) -> bool:
    """The same in version 2, which has no wildcards."""
    return name == pattern.lower().removesuffix(".")


def is_host(name: str, pattern: str) -> Verdict:
    """Whether a `Host` matcher's argument takes a name: without case, `*.` for one label; `**.` is for one or more,
    which not every version knows."""
    pattern = pattern.lower().removesuffix(".")
    if pattern.startswith("**."):
        return None if name.endswith(pattern[2:]) and len(name) > len(pattern) - 2 else False
    first, _, rest = name.partition(".")
    return name == pattern or (pattern.startswith("*.") and bool(first) and pattern == f"*.{rest}")


def search(pattern: str, text: str) -> Verdict:
    """Whether the pattern is found in the text, in linear time; None for what is no pattern of Go's."""
    compiled = _compile(pattern)
    return None if compiled is None else compiled.search(text) is not None


def replace(pattern: str, replacement: str, text: str) -> str | None:
    """The text with every match replaced, `$1` and `${1}` standing for groups; None where that cannot be said."""
    compiled = _compile(pattern)
    parts = _GROUP.sub(lambda group: f"\\g<{group[1] or group[2]}>", replacement.replace("\\", "\\\\"))
    try:
        return None if compiled is None else str(compiled.sub(parts, text))
    except (IndexError, ValueError, re.error):  # a group that is not there is empty to Go
        return None


@lru_cache(maxsize=256)
def _compile(pattern: str) -> Any:
    """By RE2, whose patterns Go's are; None for what is none."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None


@lru_cache(maxsize=4096)
def _parse(rule: str) -> _Rule | None:
    tokens = list(_tokenize(rule))
    if not tokens or "" in tokens:
        return None
    try:
        parsed, rest = _either(tokens)
    except (IndexError, ValueError, RecursionError):
        return None
    return None if rest else parsed


def _tokenize(rule: str) -> Iterator[str]:
    """Tokens; a last empty one when something is left that is none."""
    at = 0
    if len(rule) > _LONGEST_RULE:
        yield ""
        return
    while at < len(rule):
        found = _TOKENS.match(rule, at)
        if found is None:
            yield ""
            return
        if found["token"]:
            yield found["token"]
        at = found.end()


def _either(tokens: list[str]) -> tuple[_Rule, list[str]]:
    rules, rest = _list(tokens, "||", _both)
    return (rules[0] if len(rules) == 1 else _Either(rules)), rest


def _both(tokens: list[str]) -> tuple[_Rule, list[str]]:
    rules, rest = _list(tokens, "&&", _one)
    return (rules[0] if len(rules) == 1 else _Both(rules)), rest


def _list(
    tokens: list[str], operator: str, parse: Callable[[list[str]], tuple[_Rule, list[str]]]
) -> tuple[tuple[_Rule, ...], list[str]]:
    rule, rest = parse(tokens)
    rules = [rule]
    while rest and rest[0] == operator:
        rule, rest = parse(rest[1:])
        rules.append(rule)
    return tuple(rules), rest


def _one(tokens: list[str]) -> tuple[_Rule, list[str]]:
    first, rest = tokens[0], tokens[1:]
    if first == "!":
        rule, rest = _one(rest)
        return _Not(rule), rest
    if first == "(":
        rule, rest = _either(rest)
        return rule, _after(")", rest)
    values = []
    rest = _after("(", rest)
    while rest[0] != ")":
        values.append(_argument(rest[0]))
        rest = rest[1:] if rest[1] == ")" else _after(",", rest[1:])
    return _Matcher(_kind(first), tuple(values)), rest[1:]


def _after(token: str, tokens: list[str]) -> list[str]:
    if tokens[0] != token:
        raise ValueError(token)
    return tokens[1:]


def _argument(token: str) -> str:
    """A literal string of Go's; its escapes are JSON's, as far as they occur in rules."""
    if token.startswith("`"):
        return token[1:-1]
    if token.startswith('"'):
        return str(msgspec.json.decode(token.encode()))
    raise ValueError(token)


def _kind(word: str) -> str:
    """A matcher's name, which may be all lower, all upper, or capitalized."""
    for kind in {*_SYNTAXES[V3], *_SYNTAXES[V2], "HostSNI", "HostSNIRegexp", "ALPN"}:
        if word in (kind, kind.lower(), kind.upper(), kind.capitalize()):
            return kind
    raise ValueError(word)


def _fits(rule: _Rule, syntax: str) -> bool:
    if isinstance(rule, _Not):
        return _fits(rule.rule, syntax)
    if isinstance(rule, _Both | _Either):
        return all(_fits(part, syntax) for part in rule.rules)
    least, most = _SYNTAXES[syntax].get(rule.kind, (1, 0))
    is_path = rule.kind in ("Path", "PathPrefix")
    has_paths = not is_path or all(value.startswith("/") for value in rule.values)
    has_patterns = syntax != V3 or not rule.kind.endswith("Regexp") or _compile(rule.values[-1:][0]) is not None
    return least <= len(rule.values) <= most and has_paths and has_patterns


def _has_broken_pattern(rule: _Rule) -> bool:
    if isinstance(rule, _Not):
        return _has_broken_pattern(rule.rule)
    if isinstance(rule, _Both | _Either):
        return any(_has_broken_pattern(part) for part in rule.rules)
    return rule.kind.endswith("Regexp") and any("{" not in v and _compile(v) is None for v in rule.values)


def _judge(rule: _Rule, name: str, syntax: str) -> Verdict:
    if isinstance(rule, _Not):
        verdict = _judge(rule.rule, name, syntax)
        return None if verdict is None else not verdict
    if isinstance(rule, _Both | _Either):
        decisive = isinstance(rule, _Either)
        verdicts = [_judge(part, name, syntax) for part in rule.rules]
        return decisive if decisive in verdicts else (None if None in verdicts else not decisive)
    return _match(rule, name, syntax)


def _match(matcher: _Matcher, name: str, syntax: str) -> Verdict:
    kind, values = matcher.kind, matcher.values
    if kind in ("Host", "HostHeader"):
        return _any(is_host(name, value) if syntax == V3 else is_exact_host(name, value) for value in values)
    if kind == "Method":
        return "GET" in (value.upper() for value in values)
    if syntax == V2 and kind in ("HostRegexp", "Path", "PathPrefix"):
        return _matches_variables(kind, values, name)
    if kind == "Path":
        return ASKED in values
    if kind == "PathPrefix":
        return any(ASKED.startswith(value) for value in values)
    if kind in ("HostRegexp", "PathRegexp"):
        return search(values[0], name if kind == "HostRegexp" else ASKED)
    has_none = kind.startswith("Query") or (kind.startswith("Header") and not _MAY_BE_SENT.match(values[0]))
    return False if has_none else None  # the client's address, and what its library or Traefik sends along


def _any(verdicts: Iterable[Verdict]) -> Verdict:
    found = list(verdicts)
    return True if True in found else None if None in found else False


def _matches_variables(kind: str, values: tuple[str, ...], name: str) -> Verdict:
    """Version 2's patterns: literal text with `{name}` or `{name:pattern}` in it."""
    return _any(_matches_variable(kind, value, name) for value in values)


def _matches_variable(kind: str, value: str, name: str) -> Verdict:
    pattern, at = "", 0
    for found in _VARIABLE.finditer(value):
        anything = "[^.]+" if kind == "HostRegexp" else "[^/]+"
        pattern += re.escape(value[at : found.start()]) + f"(?:{found[2] or anything})"
        at = found.end()
    pattern += re.escape(value[at:])
    end = "" if kind == "PathPrefix" else "$"
    return search(f"^{pattern}{end}", name if kind == "HostRegexp" else ASKED)


def _names(rule: _Rule, matchers: tuple[str, ...], *, is_taken: bool) -> Iterator[str]:
    if isinstance(rule, _Not):
        yield from _names(rule.rule, matchers, is_taken=not is_taken)
    elif isinstance(rule, _Both | _Either):
        for part in rule.rules:
            yield from _names(part, matchers, is_taken=is_taken)
    elif is_taken and rule.kind in matchers:
        yield from rule.values
