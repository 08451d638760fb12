"""`certagent whatif`: proves a proposed hosts file or resolv.conf before it is made. The live files stay untouched.

libc answers in a private mount namespace; Go's resolver and the fetch of the challenge read the proposed content. No
token is planted: the fetch shows who would be asked, and what answers there.
"""

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from certagent.commands import UnableError
from certagent.config import AgentSettings
from certagent.domain.rehearsals import Attempt, LibcAnswer
from certagent.domain.resolution.files import ResolverFiles, parse_files
from certagent.domain.resolution.hosts import HOSTS_FILE
from certagent.domain.resolution.nsswitch import NSSWITCH_FILE
from certagent.domain.resolution.resolv_conf import RESOLV_CONF_FILE
from certagent.system.files import read_given
from certagent.system.libc import name_libc
from certagent.system.procfs import ProcFs
from certagent.vantage.node_vantage import ask_libc
from certagent.vantage.private_namespace import NoNamespaceError, ask_libc_under
from certagent.vantage.resolver_observation import Snapshot, read_files
from certagent.vantage.unplanted_probe import UnplantedProbe, probe_unplanted, rules_for

_ROOT = Path("/")
_RESOLVED = "resolve"


def whatif(settings: AgentSettings | None, name: str, proposed: Mapping[str, Path]) -> dict[str, Any]:
    """`{"name", "proposed": {live path: file}, "before", "after", "changes", "note"}`; `proposed` maps likewise.

    `before` and `after`: `{"libc": {"libc", "addresses", "error"} | null, "go": {"addresses", "error"}, "fetch":
    [Hop]}`. libc is null, and `note` says why, where the container forbids namespaces. Raises `UnableError`.
    """
    contents = {live: _read(path) for live, path in proposed.items()}
    return asyncio.run(_compare(settings, name, contents, {live: str(path) for live, path in proposed.items()}))


def exit_status(document: dict[str, Any]) -> int:
    """4 when after the edit the name has no address or nobody answers there, 3 when libc could not be asked or gets
    other addresses than Go, else 0."""
    after = document["after"]
    if not after["go"]["addresses"] or not any(hop["status"] for hop in after["fetch"]):
        return 4
    libc = after["libc"]
    agree = libc is not None and set(libc["addresses"]) == {one["address"] for one in after["go"]["addresses"]}
    return 0 if agree else 3


def render(document: dict[str, Any]) -> str:
    """For a person: each source, before -> after."""
    files = ", ".join(f"{file} in the place of {live}" for live, file in document["proposed"].items())
    before, after = document["before"], document["after"]
    lines = [f"{document['name']} with {files}"]
    for label, tell in (("libc", _libc_text), ("Go", _go_text), ("port 80", _fetch_text)):
        old, new = tell(before), tell(after)
        lines.append(f"  {label:8} {old}" + (f"  ->  {new}" if new != old else "  (unchanged)"))
    if document["note"]:
        lines.append(f"  note     {document['note']}")
    return "\n".join([*lines, "  the live files are as they were; no token was planted"])


async def _compare(
    settings: AgentSettings | None, name: str, contents: Mapping[str, bytes], shown: Mapping[str, str]
) -> dict[str, Any]:
    files, states = await asyncio.to_thread(read_files, _ROOT, ProcFs())
    replaced = _replace(files, states, contents)
    nameservers = settings.dns.nameservers if settings is not None else ()
    rules, token = rules_for(settings, name), secrets.token_urlsafe(32)
    async with asyncio.TaskGroup() as group:
        libc_before = group.create_task(ask_libc(name), name="ask libc")
        libc_after = group.create_task(_ask_libc(contents, name), name="ask libc in a namespace of its own")
        before = group.create_task(
            probe_unplanted(name, files, nameservers, rules, token), name="survey the live files"
        )
        after = group.create_task(
            probe_unplanted(name, replaced, nameservers, rules, token), name="survey the proposed files"
        )
    answer, note = libc_after.result()
    if note is None and _RESOLVED in files.nsswitch.sources:
        note = "libc asks systemd-resolved, which goes on with the live files: see Go's line"
    old, new = _side(libc_before.result(), before.result()), _side(answer, after.result())
    document = {
        "name": name,
        "proposed": shown,
        "before": old,
        "after": new,
        "changes": {**old, "fetch": _fetch_text(old)} != {**new, "fetch": _fetch_text(new)},
        "note": note,
    }
    return dict(msgspec.to_builtins(document))


async def _ask_libc(contents: Mapping[str, bytes], name: str) -> tuple[LibcAnswer | None, str | None]:
    try:
        return await ask_libc_under(contents, name), None
    except NoNamespaceError as error:
        return None, f"libc could not be asked, the rest is the model's: {error}"


def _read(path: Path) -> bytes:
    try:
        return read_given(path)
    except OSError as error:
        raise UnableError(f"{path} cannot be read: {error.strerror or error}") from error


def _replace(files: ResolverFiles, states: Snapshot, contents: Mapping[str, bytes]) -> ResolverFiles:
    now = {path: contents.get(path, state.content) for path, state in states.items()}
    return parse_files(now[HOSTS_FILE], now[RESOLV_CONF_FILE], now[NSSWITCH_FILE], files.hostname)


def _side(libc: LibcAnswer | None, seen: UnplantedProbe) -> dict[str, Any]:
    used = seen.resolution.addresses
    answer = None if libc is None else {"libc": name_libc(), "addresses": libc.addresses, "error": libc.error}
    side = {
        "libc": answer,
        "go": {
            "addresses": [{"address": one.address, **msgspec.to_builtins(one.origin)} for one in used],
            "error": seen.resolution.error,
        },
        "fetch": _hops(seen.attempts),
    }
    return dict(msgspec.to_builtins(side))


def _hops(attempts: tuple[Attempt, ...]) -> list[Any]:
    return [msgspec.to_builtins(hop) for attempt in attempts for hop in attempt.hops]


def _libc_text(side: dict[str, Any]) -> str:
    libc = side["libc"]
    return "not asked" if libc is None else ", ".join(libc["addresses"]) or libc["error"] or "no address"


def _go_text(side: dict[str, Any]) -> str:
    return ", ".join(map(_origin_text, side["go"]["addresses"])) or side["go"]["error"] or "no address"


def _origin_text(one: dict[str, Any]) -> str:
    origin = f"{one['file']}:{one['line']}" if one["source"] == "hosts" else one["nameserver"]
    return f"{one['address']} ({origin})" if origin else one["address"]


def _fetch_text(side: dict[str, Any]) -> str:
    return ", then ".join(map(_hop_text, side["fetch"])) or "nobody to ask"


def _hop_text(hop: dict[str, Any]) -> str:
    if hop["error"] is not None and hop["status"] is None:
        return f"{hop['address'] or hop['name']}: {hop['error']}"
    target = f" to {hop['location'].split('?')[0]}" if hop["location"] else ""
    return f"{hop['server'] or 'a server'} at {hop['address']} answers {hop['status']}{target}"
