"""Findings: what was concluded, with a stable code; and what takes secrets out of them. Pure; severities come from a
policy."""

import re
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from certagent.domain.open_enum import OpenEnum


class Vantage(OpenEnum):
    """A node and how it looked."""

    AUTHORITY = "authority"
    CLIENT = "client"
    WIRE = "wire"
    PEER = "peer"
    STATIC = "static"


class Severity(OpenEnum):
    """How bad, worst first. One that is not known counts as an error."""

    FATAL = "fatal"
    ERROR = "error"
    WARN = "warn"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the worst; sorts findings worst first."""
        return _RANKS.get(self, 1)

    def at_least(self, other: "Severity") -> bool:
        """Whether this severity is as bad as `other`, or worse."""
        return self.rank <= other.rank

    def capped_at(self, other: "Severity") -> "Severity":
        """This severity, but never worse than `other`."""
        return self if self.rank >= other.rank else other


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Verdict(OpenEnum):
    """What preflight came to for one identifier."""

    PROCEED = "proceed"
    WARN = "warn"
    BLOCK = "block"


class Culprit(msgspec.Struct, frozen=True, kw_only=True):
    """The thing to change, as precisely as known; unknown parts are null."""

    node: str | None = None
    file: str | None = None
    line: int | None = None
    text: str | None = None
    address: str | None = None
    role: str | None = None


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """What the finding will cost, and when: the renewal that it breaks is due at `due_at`, the certificate dies at
    `expires_at`. Null where nothing is on disk yet."""

    certificate: str
    due_at: datetime | None = None
    expires_at: datetime | None = None


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate at one of its targets, which the finding is about. `is_served`: whether clients get a certificate
    there now (null: nobody has looked), and `served_until` when that ends. `retry_at`: when the deployment is tried
    again, at the latest."""

    certificate: str
    name: str
    is_served: bool | None = None
    served_until: datetime | None = None
    retry_at: datetime | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One conclusion. `code` is public and stable (`<layer>.<cause>`); `detail` is the evidence, JSON values only.

    `certagent.domain.catalogue` makes it: explanation and fix follow from code, `variant` and `facts` alone, so that
    whoever receives a finding can build the same sentences. An older agent sends neither variant nor facts.
    """

    code: str
    severity: Severity = Severity.ERROR
    identifier: str | None = None
    vantage: Vantage
    reporter: str
    explanation: str
    detail: dict[str, Any] = {}
    culprit: Culprit | None = None
    fix: str | None = None
    impact: Impact | None = None
    target: TargetState | None = None
    variant: str = ""
    facts: dict[str, Any] = {}


# --- secrets ----------------------------------------------------------------------------------------------------------

# Findings quote lines of files, and lines hold passwords: this is the one place that takes them out of what is sent or
# shown. It works on JSON text, so that one pass sees every string of a value, however deep. What it takes out never
# spans more than one string, but for a key whose lines follow each other in an array; what it puts in needs no escape.

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
_HINTS = ("secret", "api", "access", "private", "token", "authorization", "$")

Value = TypeVar("Value")

_encode = msgspec.json.Encoder().encode


def redact(text: str) -> str:
    """The text with every secret that is recognised by its surroundings replaced."""
    return _SECRETS.sub(_withhold, text) if may_hold_secret(text) else text


def may_hold_secret(text: str) -> bool:
    """Whether `redact` has to look: never false of a text of which it is true of a part."""
    if not text.isascii():
        return True
    low = text.lower()
    is_named = any(hint in low for hint in _HINTS) or low.count("pass") > low.count("passed")
    return is_named or ("@" in low and "//" in low)


def without_secrets(value: Value) -> Value:
    """The same value with the same redaction in all of its strings."""
    text = _encode(value).decode()
    redacted = redact(text)
    return value if redacted == text else msgspec.json.decode(redacted, type=type(value))


def _withhold(match: re.Match[str]) -> str:
    return f"{match['scheme'] or match['name'] or ''}{WITHHELD}"
