"""Renewals of other tools, as they wrote them down: certbot's, lego's, and lists in JSON. Reads only.

What certbot and lego do not write down (the names) is read from the certificates that they issued.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from certagent.domain.certificates import read_leaf

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_NEEDS_A_SHELL = re.compile(r"[|&;<>()$`\\\"'*?\[#~%\n]")


class ImportedRenewal(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that another tool renews, or that a list names. `command` is what it runs afterwards; `hook` the
    same in its own words, where no argument list says as much. `renewer` None: the list names nobody."""

    name: str
    identifiers: tuple[str, ...]
    certificate: Path
    key: Path
    source: Path
    renewer: str | None = None
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    command: tuple[str, ...] = ()
    hook: str | None = None
    uses_dns: bool = False  # its own settings say that it proves the names by dns-01

    @property
    def challenge(self) -> str:
        """By which challenge the names are proven; a wildcard can be by dns-01 alone."""
        is_wild = any(name.startswith("*.") for name in self.identifiers)
        return "dns-01" if self.uses_dns or is_wild else "http-01"


class ListedRenewal(msgspec.Struct, kw_only=True):
    """One entry of a JSON list."""

    common_name: str
    cert_path: Path
    key_path: Path
    sans: tuple[str, ...] = ()
    owner: str | None = None
    permissions: str | None = None
    post_renewal_command: str | tuple[str, ...] | None = None


def read_renewals(path: Path) -> list[ImportedRenewal]:
    """What is at `path`: certbot's folder or one of its renewal files, lego's folder, or a list in JSON.

    Raises ValueError in words a person can act on, and OSError.
    """
    if path.is_dir():
        certbot = sorted((path / "renewal").glob("*.conf"))
        lego = sorted([*path.glob("certificates/*.json"), *path.glob("*.json")])
        found = [*(_of_certbot(file) for file in certbot), *(renewal for file in lego for renewal in _of_lego(file))]
        if not found:
            raise ValueError(f"{path} holds neither certbot's renewal/*.conf nor lego's certificates/*.json")
        return found
    if path.suffix == ".conf":
        return [_of_certbot(path)]
    return list(_of_lego(path)) or _of_list(path)


def _of_certbot(file: Path) -> ImportedRenewal:
    values = _read_sections(file.read_text(encoding="utf-8"))
    try:
        certificate, key = Path(values["fullchain"]), Path(values["privkey"])
    except KeyError as error:
        raise ValueError(f"{file} is no renewal of certbot's: it has no {error.args[0]}") from error
    hook = values.get("renewalparams.renew_hook")
    return ImportedRenewal(
        name=_name_of(file.stem),
        identifiers=_names_in(certificate, file.parents[1] / "live" / file.stem / "fullchain.pem"),
        certificate=certificate,
        key=key,
        source=file,
        renewer="certbot",
        uses_dns=_uses_dns(values),
        **_command(hook),
    )


def _uses_dns(values: Mapping[str, str]) -> bool:
    """certbot's DNS plugins are called dns-*; the others take the challenge that is preferred first."""
    preferred = values.get("renewalparams.pref_challs", "").partition(",")[0].strip()
    return values.get("renewalparams.authenticator", "").startswith("dns-") or preferred.startswith("dns")


def _read_sections(text: str) -> dict[str, str]:
    """`key = value`; within a `[section]` (certbot writes deeper ones below it) `section.key`."""
    values: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\s*\[+(\w+)\]+\s*", line):
            section = f"{heading[1]}."
        elif pair := re.fullmatch(r"\s*([\w-]+)\s*=\s*(.*?)\s*", line):
            values[section + pair[1]] = pair[2]
    return values


def _of_lego(file: Path) -> Iterator[ImportedRenewal]:
    """Nothing for JSON that is not lego's."""
    document = _json(file)
    if not isinstance(document, dict) or not isinstance(document.get("domain"), str):
        return
    certificate = file.with_suffix(".crt")
    yield ImportedRenewal(
        name=_name_of(file.stem),
        identifiers=_names_in(certificate) or (document["domain"],),
        certificate=certificate.absolute(),
        key=file.with_suffix(".key").absolute(),
        source=file,
        renewer="lego",
    )


def _of_list(file: Path) -> list[ImportedRenewal]:
    document = _json(file)
    entries = document.get("certificates") if isinstance(document, dict) else document
    try:
        parsed = msgspec.convert(entries, list[ListedRenewal], dec_hook=lambda kind, value: kind(value))
    except (msgspec.ValidationError, TypeError) as error:
        raise ValueError(f"{file} is no list of certificates: {error}") from error
    return [_of_entry(file, entry) for entry in parsed]


def _of_entry(file: Path, entry: ListedRenewal) -> ImportedRenewal:
    owner, _, group = (entry.owner or "").partition(":")
    hook = entry.post_renewal_command
    command: Mapping[str, Any] = {"command": tuple(hook)} if isinstance(hook, tuple) else _command(hook)
    try:
        mode = int(entry.permissions, 8) if entry.permissions else None
    except ValueError as error:
        raise ValueError(f"{file}: {entry.common_name}: {entry.permissions!r} is no mode (such as 0640)") from error
    return ImportedRenewal(
        name=_name_of(entry.common_name),
        identifiers=tuple(dict.fromkeys((entry.common_name, *entry.sans))),
        certificate=entry.cert_path,
        key=entry.key_path,
        source=file,
        owner=owner or None,
        group=group or None,
        mode=mode,
        **command,
    )


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is neither a renewal of certbot's (*.conf) nor JSON: {error}") from error


def _command(hook: str | None) -> dict[str, Any]:
    """As an argument list where that says the same; certagent runs no shell."""
    if not hook:
        return {}
    return {"hook": hook} if _NEEDS_A_SHELL.search(hook) else {"command": tuple(shlex.split(hook))}


def _names_in(*paths: Path) -> tuple[str, ...]:
    for path in paths:
        try:
            return read_leaf(path.read_bytes()).identifiers
        except (OSError, ValueError):
            continue
    return ()


def _name_of(text: str) -> str:
    return _NAME.sub("-", text.replace("*", "wildcard").removeprefix("_.")).strip(".-_") or "certificate"
