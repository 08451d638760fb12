"""Identifiers as a certificate may have them: DNS names, a leading wildcard, IP addresses. Pure.

Sources: RFC 1123 section 2.1 and RFC 5890 section 2.3.1 (labels), RFC 1035 section 2.3.4 (lengths), RFC 8555 section
7.1.4 (`*.` is the whole first label).
"""

import ipaddress
import re

_LONGEST_NAME, _LONGEST_LABEL = 253, 63
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_TEMPLATE = ("{{", "}}", "${", "$(", "<%", "%>", "{%")


def is_address(identifier: str) -> bool:
    """Whether it is an IP address, without a zone."""
    try:
        ipaddress.ip_address(identifier)
    except ValueError:
        return False
    return "%" not in identifier


def is_wildcard(identifier: str) -> bool:
    """Whether only dns-01 can prove it (RFC 8555 section 7.1.3)."""
    return identifier.startswith("*.")


def zone_of(identifier: str) -> str:
    """The zone that a fleet would call it by: what follows the first label, if that has two labels or more, else the
    name itself. An address is its own."""
    if is_address(identifier):
        return str(ipaddress.ip_address(identifier))
    name = identifier.lower().rstrip(".").removeprefix("*.")
    parent = name.partition(".")[2]
    return parent if "." in parent else name


def flaw_of(identifier: str) -> str | None:
    """Why no certificate can be for it, as the end of the sentence "IDENTIFIER ..."; None for one that is good."""
    if is_address(identifier):
        return None
    return _foreign_form(identifier) or _flaw_of_name(identifier.removeprefix("*."))


def _foreign_form(text: str) -> str | None:
    """What it is instead of a name, where that shows."""
    if not text:
        return "is empty"
    if any(mark in text for mark in _TEMPLATE):
        return "is a template that was not filled in"
    if any(character.isspace() or not character.isprintable() for character in text):
        return "contains a space or an invisible character"
    if "://" in text or text.startswith("//"):
        return "is a URL; only its host name belongs here"
    if not text.isascii():
        return f"is not ASCII{_punycode(text)}"
    if "/" in text:
        network = re.fullmatch(r"[0-9a-fA-F.:]+/\d+", text)
        return "is a network, not one address" if network else "contains a slash; only a host name belongs here"
    if "@" in text:
        return "is an e-mail address, not a host name"
    if ":" in text or text.startswith("["):
        return "contains a port, or is not an IP address" if "%" not in text else "is an address with a zone"
    return None


def _flaw_of_name(name: str) -> str | None:
    labels = name.split(".")
    if "*" in name:
        return "has a wildcard elsewhere than as its whole first label"
    if not name or labels[-1] == "":
        return "ends with a dot"
    if "" in labels:
        return "has an empty label (a dot too many)"
    if len(name) > _LONGEST_NAME:
        return f"is longer than {_LONGEST_NAME} characters"
    flaw = next(filter(None, map(_flaw_of_label, labels)), None)
    return flaw or ("is neither a name nor an IP address" if labels[-1].isdigit() else None)


def _flaw_of_label(label: str) -> str | None:
    if len(label) > _LONGEST_LABEL:
        return f"has a label longer than {_LONGEST_LABEL} characters"
    if label.startswith("-") or label.endswith("-"):
        return f"has a label that begins or ends with a dash: {label!r}"
    if "_" in label:
        return f"has an underscore, which host names must not have: {label!r}"
    if not _LABEL.fullmatch(label):
        return f"has a label with characters other than letters, digits and dashes: {label!r}"
    return None


def _punycode(text: str) -> str:
    try:
        return f"; write it as {text.encode('idna').decode('ascii')!r}"
    except UnicodeError:
        return ""
