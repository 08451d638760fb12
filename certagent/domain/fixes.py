"""Fixes: which line of a resolver file is to become what, and what certagent keeps its hands off. Pure.

A line is known by its content, never by its number alone. What somebody else rewrites is not edited but pointed at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from certagent.domain.findings import Finding
from certagent.domain.rehearsals import ResolvedAddress
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE, absolute, lower, show
from certagent.domain.resolution.managed_files import EDIT_AT, Manager

_FIELD = re.compile(rb"[ \t\r]*[^ \t\r]+")
_BLANKS = b" \t\r"


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A resolver file as it was read. `owner`: who writes it as a whole; `leads_to`: where a link in its place leads,
    if that is outside of /etc; `mounted_from`: the file of another node that is mounted over it; `is_locked`: the
    kernel lets nobody change it (`chattr +i`)."""

    content: bytes
    managers: Mapping[int, Manager] = {}
    owner: Manager | None = None
    leads_to: str | None = None
    mounted_from: str | None = None
    is_locked: bool = False

    def manager(self, line: int | None) -> Manager | None:
        """Who rewrites that line; None for a line stands for one that is appended."""
        if line is not None:
            return self.managers.get(line)
        return self.owner or next((one for one in self.managers.values() if one is Manager.PROXMOX), None)


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One line to change: `replacement` null removes it; `line` null appends. `code` is the finding's.

    `names` are what is taken off the line; `replacement` is how a person reads what is left.
    """

    file: str
    line: int | None
    text: str | None
    replacement: str | None
    names: tuple[str, ...] = ()
    code: str
    explanation: str


class FixRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """A line, or a file, that certagent does not change; `reason` says why, and where to change it instead."""

    file: str
    line: int | None
    text: str | None
    code: str
    reason: str


class FixedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a fix: the SHA-256 of its content before and after."""

    file: str
    before: str
    after: str


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """A fix that was applied, or was about to be when it was killed: the digests tell which. `by`: who ran it."""

    id: str
    at: datetime
    incident: str | None = None
    files: tuple[FixedFile, ...]
    undone_at: datetime | None = None
    by: str | None = None
    undone_by: str | None = None


def drop_names(
    stray: Sequence[tuple[str, ResolvedAddress]], findings: Iterable[Finding], code: str, text: Text
) -> Iterator[Edit]:
    """Edits that take names off the hosts lines that lead them astray: `stray` has (name, line). A line that names
    nothing else goes; a first label that stands beside its name goes with it. `code` is that of lines without a
    finding of their own (one of several for the name)."""
    said = {finding.identifier: finding for finding in findings}
    by_line: dict[int, list[str]] = {}
    for name, line in stray:
        by_line.setdefault(line.origin.line or 0, []).append(name)
    lines = text.content.split(b"\n")
    for number, names in sorted(by_line.items()):
        raw = lines[number - 1]
        left = _without(raw, names)
        finding = next((said[name] for name in names if name in said), None)
        yield Edit(
            file=HOSTS_FILE,
            line=number,
            text=_shown(raw),
            replacement=None if left is None else _shown(left),
            names=tuple(names),
            code=finding.code if finding is not None else code,
            explanation=finding.explanation
            if finding is not None
            else f"Line {number} of {HOSTS_FILE} leads {', '.join(names)} to {show(raw.split()[0])}, but DNS does not.",
        )


def name_nameservers(finding: Finding, nameservers: Sequence[str]) -> Iterator[Edit]:
    """Edits that give a resolv.conf without a usable nameserver the configured ones."""
    for address in nameservers:
        yield Edit(
            file=RESOLV_CONF_FILE,
            line=None,
            text=None,
            replacement=f"nameserver {address}",
            code=finding.code,
            explanation=finding.explanation,
        )


def refuse(edit: Edit, text: Text) -> FixRefusal | None:
    """Why this edit is not certagent's to make; None when it is."""
    reason = _reason_to_refuse(edit.file, edit.line, text)
    if reason is None:
        return None
    return FixRefusal(file=edit.file, line=edit.line, text=edit.text, code=edit.code, reason=reason)


def leave_to_a_person(finding: Finding, file: str, owner: Manager | None) -> FixRefusal:
    """A finding that certagent has no edit for: to be done by hand, or where the file is made."""
    reason = _rewritten_by(owner, file) if owner is not None else finding.fix or ""
    return FixRefusal(file=file, line=None, text=None, code=finding.code, reason=reason)


def _reason_to_refuse(file: str, line: int | None, text: Text) -> str | None:
    manager = text.manager(line)
    if manager is not None:
        return _rewritten_by(manager, file)
    if text.leads_to is not None:
        return f"{file} is a link to a file outside /etc: change {text.leads_to}, or the program that writes it."
    if text.mounted_from is not None:
        return f"{text.mounted_from} of another node is mounted over {file}: change it there."
    if text.is_locked:
        return f"{file} is immutable (`lsattr {file}`): no program can change it. Change it at its source, or "
        f"unlock it with `chattr -i {file}` first."
    return None


def _rewritten_by(manager: Manager, file: str) -> str:
    return f"{manager} rewrites it: change it {EDIT_AT[manager].format(file_name=file.rpartition('/')[2])}."


def edited(content: bytes, edits: Sequence[Edit]) -> bytes:
    """The file with the edits made. Lines are found by their text; each must be there.

    Raises ValueError for a line that is not there any more.
    """
    wanted = {edit.text: edit for edit in edits if edit.text is not None}
    missing = set(wanted) - {_shown(line) for line in content.split(b"\n")}
    if missing:
        raise ValueError(f"this line no longer exists: {sorted(missing)[0]}")
    kept = [_replaced(line, wanted) for line in content.split(b"\n")]
    result = b"\n".join(line for line in kept if line is not None)
    for edit in edits:
        if edit.text is None and edit.replacement is not None:
            result += (b"\n" if result and not result.endswith(b"\n") else b"") + edit.replacement.encode() + b"\n"
    return result


def as_diff(file: str, before: bytes, after: bytes) -> str:
    """A unified diff for a person: as printable text, line by line."""
    import difflib

    lines = ([_shown(line) for line in content.split(b"\n")] for content in (before, after))
    old, new = ([*content[:-1], *([content[-1]] if content[-1] else [])] for content in lines)
    return "\n".join(difflib.unified_diff(old, new, file, file, lineterm=""))


def _replaced(line: bytes, wanted: Mapping[str, Edit]) -> bytes | None:
    edit = wanted.get(_shown(line))
    return line if edit is None else _without(line, edit.names) if edit.names else None


def _without(raw: bytes, names: Sequence[str]) -> bytes | None:
    """The line without these names, blanks in front of them included; None when no name is left on it."""
    said, mark, comment = raw.partition(b"#")
    unwanted = {absolute(lower(name)) for name in names} | {lower(name).partition(".")[0] for name in names}
    address, *fields = _FIELD.findall(said)
    kept = [field for field in fields if absolute(lower(show(field.strip(_BLANKS)))) not in unwanted]
    rest = said[said.rindex(fields[-1]) + len(fields[-1]) :]
    return address + b"".join(kept) + rest + mark + comment if kept else None


def _shown(raw: bytes) -> str:
    return show(raw.rstrip(b"\r"))
