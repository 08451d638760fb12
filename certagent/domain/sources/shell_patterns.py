"""A shell's patterns (`*`, `?`, `[...]`), as suffixes and prefixes are removed by them. Pure and bounded."""

import re2

_LONGEST = 4096


def translate(pattern: str) -> str:
    """The regular expression that means the same."""
    parts, position = [], 0
    while position < len(pattern):
        character = pattern[position]
        end = pattern.find("]", position + 2) if character == "[" else -1
        if end > 0:
            inner = pattern[position + 1 : end].replace("\\", "\\\\")
            parts.append(f"[{'^' + inner[1:] if inner[:1] in '!^' else inner}]")
            position = end
        elif character == "\\" and position + 1 < len(pattern):
            position += 1
            parts.append(re2.escape(pattern[position]))
        else:
            parts.append({"*": ".*", "?": "."}.get(character) or re2.escape(character))
        position += 1
    return f"(?s:{''.join(parts)})"


def fits(text: str, pattern: str) -> bool:
    """Whether the pattern is the whole text; one that is none fits itself alone."""
    if len(text) > _LONGEST or len(pattern) > _LONGEST:
        return text == pattern
    try:
        return re2.fullmatch(translate(pattern), text) is not None
    except re2.error:
        return text == pattern


def remove_prefix(text: str, pattern: str, *, longest: bool) -> str:
    """`${x#pattern}`, `${x##pattern}`."""
    ends = range(min(len(text), _LONGEST) + 1)
    for end in reversed(ends) if longest else ends:
        if fits(text[:end], pattern):
            return text[end:]
    return text


def remove_suffix(text: str, pattern: str, *, longest: bool) -> str:
    """`${x%pattern}`, `${x%%pattern}`."""
    starts = range(min(len(text), _LONGEST) + 1)
    for start in starts if longest else reversed(starts):
        if fits(text[start:], pattern):
            return text[:start]
    return text


def substitute(text: str, pattern: str, other: str, *, everywhere: bool) -> str:
    """`${x/pattern/other}`, `${x//pattern/other}`."""
    try:
        return str(re2.sub(translate(pattern), other.replace("\\", "\\\\"), text, 0 if everywhere else 1))
    except re2.error:
        return text
