"""Step-CA's ca.json, read on its node, line by line: only what decides orders. Only reads, and returns no secret.

That is the CA's names, the ACME provisioner's challenges, policy and account binding, and the intermediate that the CA
issues with.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from certagent.domain.certificates import read_leaf
from certagent.domain.rehearsals import Provisioner
from certagent.system.procfs import Process, ProcFs
from certagent.system.regular_files import read_within
from certagent.vantage.foreign_files import Notes, Reading, read_foreign

_DEFAULT_POLICY: Mapping[str, Any] = {}


def read_provisioner(proc: ProcFs, process: Process, name: str) -> Reading[Provisioner | None]:
    """Return the ACME provisioner of that name in the CA's configuration; None if that cannot be read."""
    path = _configuration(process)
    if path is None:
        return Reading(None)
    return read_foreign(Path(path), lambda notes: _provisioner(proc, process, path, name, notes), None)


def _provisioner(proc: ProcFs, process: Process, path: str, name: str, notes: Notes) -> Provisioner | None:
    state = read_within(proc.root_of(process.pid), path)
    if state.problem is not None:
        notes.add(path, None, state.problem)
    if state.content is None:
        return None
    document = json.loads(state.content)
    if not isinstance(document, dict):
        notes.add(path, 1, "it is not a table")
        return None
    authority = _table(document, "authority")
    ours = next((provisioner for provisioner in _acme(authority) if provisioner.get("name") == name), None)
    if authority.get("enableAdmin") and ours is None:
        return None  # its provisioners are in its database
    is_loaded = state.changed_at is None or state.changed_at <= process.started_at
    lines = dict(_lines((state.content or b"").decode("utf-8", "replace"), name))
    chain = _chain_of(proc, process, document)
    if ours is None:
        names = _texts(document, "dnsNames")
        return Provisioner(
            file=path,
            is_loaded=is_loaded,
            exists=False,
            names=names,
            lines=lines,
            chain_file=chain[0],
            chain_ends_at=chain[1],
        )
    policy = _table(_table(authority, "policy"), "x509")  # a provisioner's own policy is in the database, never here
    return Provisioner(
        file=path,
        is_loaded=is_loaded,
        names=_texts(document, "dnsNames"),
        challenges=_texts(ours, "challenges"),
        requires_eab=ours.get("requireEAB") is True,
        allowed=_texts(_table(policy, "allow"), "dns"),
        denied=_texts(_table(policy, "deny"), "dns"),
        lines=lines,
        chain_file=chain[0],
        chain_ends_at=chain[1],
    )


def _chain_of(proc: ProcFs, process: Process, document: dict[str, Any]) -> tuple[str | None, datetime | None]:
    """(the file that the CA takes its intermediate from, when the first certificate in it ends)."""
    file = document.get("crt")
    if not isinstance(file, str) or not file.startswith("/"):
        return None, None
    content = read_within(proc.root_of(process.pid), file).content
    try:
        return file, read_leaf(content or b"").ends_at
    except ValueError:
        return file, None


def _configuration(process: Process) -> str | None:
    """Return the first argument that is a file name; None if it is relative to an unknown folder."""
    arguments = (argument for argument in process.command[1:] if argument.endswith(".json"))
    path = next(arguments, None)
    return path if path is not None and path.startswith("/") else None


def _acme(authority: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = authority.get("provisioners")
    return (
        [entry for entry in found if isinstance(entry, dict) and entry.get("type") == "ACME"]
        if isinstance(found, list)
        else []
    )


def _lines(content: str, name: str) -> Iterator[tuple[str, int]]:
    """Return where the deciding settings are: the provisioner's own first line, and the line of each setting."""
    wanted = {
        "provisioner": f'"{name}"',
        "provisioners": '"provisioners"',
        "challenges": '"challenges"',
        "eab": '"requireEAB"',
        "allow": '"allow"',
        "deny": '"deny"',
        "names": '"dnsNames"',
    }
    for number, line in enumerate(content.splitlines(), 1):
        for key in [key for key, word in wanted.items() if word in line]:
            yield key, number
            del wanted[key]


def _table(document: Any, key: str) -> Mapping[str, Any]:
    found = document.get(key) if isinstance(document, Mapping) else None
    return found if isinstance(found, dict) else _DEFAULT_POLICY


def _texts(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = document.get(key)
    return tuple(value for value in found if isinstance(value, str)) if isinstance(found, list) else ()
