"""How this CA was set up: its ca.json and the unit that starts it, line by line. Reads only; no secret leaves.

Of ca.json only what decides on orders is read: names, the ACME provisioner's challenges, policy and account binding.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from certagent.domain.rehearsals import Origin, Provisioner
from certagent.system.procfs import Process, ProcFs, read_within

_UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
_CREDENTIALS = re.compile(r"(//|_proxy=)[^@/\s]*@", re.IGNORECASE)  # Go takes a proxy without a scheme, too
_DEFAULT_POLICY: Mapping[str, Any] = {}


def read_provisioner(proc: ProcFs, process: Process, name: str) -> Provisioner | None:
    """The ACME provisioner of that name in the CA's configuration; None when that cannot be read."""
    path = _configuration(process)
    if path is None:
        return None
    state = read_within(proc.root_of(process.pid), path)
    try:
        document = json.loads(state.content or b"")
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    authority = _table(document, "authority")
    ours = next((one for one in _acme(authority) if one.get("name") == name), None)
    if authority.get("enableAdmin") and ours is None:
        return None  # its provisioners are in its database then
    is_loaded = state.changed_at is None or state.changed_at <= process.started_at
    lines = dict(_lines((state.content or b"").decode("utf-8", "replace"), name))
    if ours is None:
        names = _texts(document, "dnsNames")
        return Provisioner(file=path, is_loaded=is_loaded, exists=False, names=names, lines=lines)
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
    )


def read_unit(proc: ProcFs, process: Process, words: tuple[str, ...]) -> tuple[tuple[str, Origin], ...]:
    """For each word (a flag, or a variable with `=`) the last line of the process's unit that says it."""
    unit = proc.unit_of(process.pid)
    if unit is None:
        return ()
    root = proc.root_of(process.pid)
    found: dict[str, Origin] = {}
    for path in _unit_files(root, unit):
        content = (read_within(root, path).content or b"").decode("utf-8", "replace")
        for number, line in enumerate(content.splitlines(), 1):
            for word in words:
                if word in line and not line.lstrip().startswith(("#", ";")):
                    text = _CREDENTIALS.sub(r"\1", line.strip())
                    found[word] = Origin(source="unit", file=path, line=number, text=text)
    return tuple(found.items())


def _configuration(process: Process) -> str | None:
    """The first argument that is a file's name; None for one that is relative to a folder we do not know."""
    arguments = (argument for argument in process.command[1:] if argument.endswith(".json"))
    path = next(arguments, None)
    return path if path is not None and path.startswith("/") else None


def _acme(authority: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = authority.get("provisioners")
    return (
        [one for one in found if isinstance(one, dict) and one.get("type") == "ACME"] if isinstance(found, list) else []
    )


def _lines(content: str, name: str) -> Iterator[tuple[str, int]]:
    """Where the words that decide stand: the provisioner's own first line, and each setting's."""
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


def _unit_files(root: Path, unit: str) -> Iterator[str]:
    """The unit's file, then its drop-ins, in systemd's order."""
    own = (f"{folder}/{unit}" for folder in _UNIT_FOLDERS)
    file = next((path for path in own if read_within(root, path).content is not None), None)
    if file is not None:
        yield file
    drop_ins = {
        path.name: f"{folder}/{unit}.d/{path.name}"
        for folder in reversed(_UNIT_FOLDERS)
        for path in sorted(_folder(root / folder.lstrip("/") / f"{unit}.d"))
    }
    yield from (drop_ins[name] for name in sorted(drop_ins))


def _folder(path: Path) -> list[Path]:
    try:
        return [one for one in path.iterdir() if one.suffix == ".conf"]
    except OSError:
        return []


def _table(document: Any, key: str) -> Mapping[str, Any]:
    found = document.get(key) if isinstance(document, Mapping) else None
    return found if isinstance(found, dict) else _DEFAULT_POLICY


def _texts(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = document.get(key)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()
