"""Renewals that `certagent init` takes over the knowledge of: other ACME clients' files and folders, and lists in JSON.
Reads only. What cannot be read of a folder is skipped and noted, and the rest goes on.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from certagent.vantage.acme_clients import (
    ImportedRenewal,
    acme_sh_files,
    command_of,
    load_json,
    name_of,
    read_acme_sh,
    read_certbot,
    read_lego,
    read_traefik_store,
    says_acme_sh,
)
from certagent.vantage.foreign_files import Notes, Reading, read_part

__all__ = ["ImportedRenewal", "ListedRenewal", "read_renewals"]


class ListedRenewal(msgspec.Struct, kw_only=True):
    """One entry of a JSON list."""

    common_name: str
    cert_path: Path
    key_path: Path
    sans: tuple[str, ...] = ()
    owner: str | None = None
    permissions: str | None = None
    post_renewal_command: str | tuple[str, ...] | None = None


def read_renewals(path: Path) -> Reading[list[ImportedRenewal]]:
    """What is at `path`: a folder of certbot's, lego's, acme.sh's or Traefik's, one of their files, or a list in JSON.
    `unreadable` is what was skipped in a folder, or in Traefik's store.

    Raises ValueError in words a person can act on, and OSError: for a file, and for a folder of none of them.
    """
    notes = Notes()
    if not path.is_dir():
        return Reading(_with_own_names(_of_file(path, notes)), notes.all())
    found: list[ImportedRenewal] = []
    for file in (*_files(path / "renewal", ".conf"), *_files(path / "certificates", ".json"), *_files(path, ".json")):
        if file.is_symlink() and not file.exists():
            notes.add(file, None, "it is a link to a file that does not exist")
        found += read_part(file, partial(_in_folder, file, notes), [], notes)
    for file in acme_sh_files(path):
        found += read_part(file, partial(read_acme_sh, file), [], notes)
    if not found and not notes.all():
        raise ValueError(
            f"{path} contains none of these: certbot's renewal/*.conf, lego's certificates/*.json, acme.sh's "
            f"domains, Traefik's acme.json"
        )
    return Reading(_with_own_names(found), notes.all())


def _of_file(path: Path, notes: Notes) -> list[ImportedRenewal]:
    if path.suffix == ".conf":
        return read_acme_sh(path) if says_acme_sh(path) else read_certbot(path)
    return read_lego(path) or read_traefik_store(path, notes) or _of_list(path)


def _in_folder(file: Path, notes: Notes) -> list[ImportedRenewal]:
    if file.suffix == ".conf":
        return read_certbot(file)
    return read_lego(file) or read_traefik_store(file, notes)


def _files(folder: Path, suffix: str) -> list[Path]:
    """Those of that suffix, whatever they are called: acme.sh and lego write wildcards."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == suffix)
    except OSError:
        return []


def _with_own_names(renewals: Iterable[ImportedRenewal]) -> list[ImportedRenewal]:
    """Two of one name (an RSA certificate beside an ECDSA one) are told apart by a number."""
    named: dict[str, ImportedRenewal] = {}
    for renewal in renewals:
        name, number = renewal.name, 1
        while name in named:
            number += 1
            name = f"{renewal.name}-{number}"
        named[name] = msgspec.structs.replace(renewal, name=name)
    return list(named.values())


def _of_list(file: Path) -> list[ImportedRenewal]:
    document = load_json(file)
    entries = document.get("certificates") if isinstance(document, dict) else document
    try:
        parsed = msgspec.convert(entries, list[ListedRenewal], dec_hook=lambda kind, value: kind(value))
    except (msgspec.ValidationError, TypeError) as error:
        raise ValueError(f"{file} is not a list of certificates: {error}") from error
    return [_of_entry(file, entry) for entry in parsed]


def _of_entry(file: Path, entry: ListedRenewal) -> ImportedRenewal:
    owner, _, group = (entry.owner or "").partition(":")
    hook = entry.post_renewal_command
    command: Mapping[str, Any] = {"command": tuple(hook)} if isinstance(hook, tuple) else command_of(hook)
    try:
        mode = int(entry.permissions, 8) if entry.permissions else None
    except ValueError as error:
        raise ValueError(f"{file}: {entry.common_name}: {entry.permissions!r} is not a mode (such as 0640)") from error
    return ImportedRenewal(
        name=name_of(entry.common_name),
        identifiers=tuple(dict.fromkeys((entry.common_name, *entry.sans))),
        certificate=entry.cert_path,
        key=entry.key_path,
        source=file,
        owner=owner or None,
        group=group or None,
        mode=mode,
        **command,
    )
