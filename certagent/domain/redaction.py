"""The one place that takes secrets out of what is told: findings quote lines of files, and lines hold passwords. Pure.

It works on JSON text, so that one pass sees every string of a value, however deep. What it takes out never spans more
than one string, but for a key whose lines follow each other in an array; what it puts in needs no escape.
"""

import re
from typing import TypeVar

import msgspec

WITHHELD = "(withheld)"

_NAMES = r"pass(?:word|wd|phrase)?|secret|api[-_]?key|access[-_]?key|private[-_]?key|auth[-_]?token|client[-_]?secret"
_PART = r"""[^\s"'\\;,&()]"""
_SECRETS = re.compile(
    rf"""
    (?P<user>(?<=//)[^\s/@"\\]+(?=@))                                         # http://name:password@host
  | (?P<pem>-----BEGIN[A-Z ]*\ PRIVATE\ KEY-----(?:[^"\\]|\\.)*            # a key, to the end of the string, and
      (?:"\s*,\s*"[\s#;]*[A-Za-z0-9+/=]+(?="\s*[],]))*)                      # the lines of it that follow in a list
  | (?P<scheme>\bauthorization(?:\\?["'])?[\s:=]+(?:\\?["'])?\w+\s+)(?![.)])[^\s"'\\;]{{3,}}
  | (?P<name>\b(?:\w*[_-])?(?:{_NAMES})(?:\\?["'])?
      (?:\s*[=:]\s*|\s+(?=(?:\\?["'])?[^\s"]*\d))(?:\\?["'])?){_PART}{{3,}}
  | (?P<hash>\$(?:apr1|2[aby]|5|6|y)\$[./A-Za-z0-9$]+)                        # crypt(3), htpasswd
    """,
    re.IGNORECASE | re.VERBOSE,
)

# What the pattern cannot match without, far quicker to look for; in ASCII, where upper case is all that case can do.
_HINTS = ("secret", "key", "token", "authorization", "$")

Value = TypeVar("Value")

_encode = msgspec.json.Encoder().encode


def redact(text: str) -> str:
    """The text with every secret that is recognised by its surroundings replaced."""
    return _SECRETS.sub(_withhold, text) if _may_hold_one(text) else text


def _may_hold_one(text: str) -> bool:
    if not text.isascii():
        return True
    low = text.lower()
    is_named = any(hint in low for hint in _HINTS) or low.count("pass") > low.count("passed")
    return is_named or ("//" in low and "@" in low)


def without_secrets(value: Value) -> Value:
    """The same value with the same redaction in all of its strings."""
    text = _encode(value).decode()
    told = redact(text)
    return value if told == text else msgspec.json.decode(told, type=type(value))


def _withhold(match: re.Match[str]) -> str:
    return f"{match['scheme'] or match['name'] or ''}{WITHHELD}"
