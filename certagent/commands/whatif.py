"""`certagent whatif`: proves a proposed hosts file or resolv.conf before it is made. The live files stay untouched.

libc answers in a private mount namespace; Go's resolver and what the CA does for the challenge read the proposed
content. Nothing is planted: it is shown who would be asked, and what answers there.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from certagent.commands import UnableError
from certagent.config import AgentSettings
from certagent.domain.rehearsals import Attempt, Hop, LibcAnswer
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.resolution.files import NSSWITCH_FILE, ResolverFiles, parse_files
from certagent.system.files import read_given
from certagent.system.libc import name_libc
from certagent.system.procfs import ProcFs
from certagent.vantage.node_vantage import ask_libc
from certagent.vantage.private_namespace import NoNamespaceError, ask_libc_under
from certagent.vantage.resolver_files import Snapshot, read_files
from certagent.vantage.unplanted_probe import UnplantedProbe, UnplantedResult, limits_for

_ROOT = Path("/")
_RESOLVED = "resolve"


def whatif(
    settings: AgentSettings | None, name: str, proposed: Mapping[str, Path], challenge: str | None = None
) -> dict[str, Any]:
    """`{"name", "challenge", "proposed": {live path: file}, "before", "after", "changes", "note"}`; `proposed` maps
    likewise. `challenge`: by default that of the certificate in the configuration, else http-01.

    `before` and `after`: `{"libc": {"libc", "addresses", "error"} | null, "go": {"addresses", "error"}, "fetch":
    [Hop], "record": TxtLookup | null}`. libc is null, and `note` says why, where the container forbids namespaces.
    Raises `UnableError`.
    """
    contents = {live: _read(path) for live, path in proposed.items()}
    challenge = challenge or (settings.challenge_of(name) if settings is not None else None) or "http-01"
    shown = {live: str(path) for live, path in proposed.items()}
    compared = asyncio.run(_compare(settings, name, challenge, contents))
    return {"name": name, "challenge": challenge, "proposed": shown, **compared}


def exit_status(document: dict[str, Any]) -> int:
    """4 when after the edit the name has no address or nobody answers there (for dns-01: no nameserver can be asked for
    the record), 3 when libc could not be asked or gets other addresses than Go, else 0."""
    after = document["after"]
    if not _gets_through(after):
        return 4
    libc = after["libc"]
    agree = libc is not None and set(libc["addresses"]) == {address["address"] for address in after["go"]["addresses"]}
    return 0 if agree else 3


def render(document: dict[str, Any]) -> str:
    """For a person: each source, before -> after."""
    files = ", ".join(f"{file} in place of {live}" for live, file in document["proposed"].items())
    before, after = document["before"], document["after"]
    lines = [f"{document['name']} with {files}"]
    asked = ("record", _record_text) if document["challenge"] == "dns-01" else (f"port {_port(document)}", _fetch_text)
    for label, tell in (("libc", _libc_text), ("Go", _go_text), asked):
        old, new = tell(before), tell(after)
        lines.append(f"  {label:8} {old}" + (f"  ->  {new}" if new != old else "  (unchanged)"))
    if document["note"]:
        lines.append(f"  note     {document['note']}")
    return "\n".join([*lines, "  the live files were not changed; no token was planted"])


async def _compare(
    settings: AgentSettings | None, name: str, challenge: str, contents: Mapping[str, bytes]
) -> dict[str, Any]:
    files, states = await asyncio.to_thread(read_files, _ROOT, ProcFs())
    replaced = _replace(files, states, contents)
    nameservers = settings.dns.nameservers if settings is not None else ()
    limits = limits_for(settings, name)
    live, proposed = UnplantedProbe(files, nameservers, limits), UnplantedProbe(replaced, nameservers, limits)
    async with asyncio.TaskGroup() as group:
        libc_before = group.create_task(ask_libc(name), name="ask libc")
        libc_after = group.create_task(_ask_libc(contents, name), name="ask libc in a separate namespace")
        before = group.create_task(live.run(name, challenge), name="probe by the live files")
        after = group.create_task(proposed.run(name, challenge), name="probe by the proposed files")
    answer, note = libc_after.result()
    if note is None and _RESOLVED in files.nsswitch.sources:
        note = "libc asks systemd-resolved, which still uses the live files: see Go's line"
    old, new = _side(libc_before.result(), before.result()), _side(answer, after.result())
    document = {
        "before": old,
        "after": new,
        "changes": _without_noise(old) != _without_noise(new),
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


def _side(libc: LibcAnswer | None, seen: UnplantedResult) -> dict[str, Any]:
    used = seen.resolution.addresses
    answer = None if libc is None else {"libc": name_libc(), "addresses": libc.addresses, "error": libc.error}
    side = {
        "libc": answer,
        "go": {
            "addresses": [{"address": address.address, **msgspec.to_builtins(address.origin)} for address in used],
            "error": seen.resolution.error,
        },
        "fetch": _hops(seen.attempts),
        "record": seen.record,
    }
    return dict(msgspec.to_builtins(side))


def _hops(attempts: tuple[Attempt, ...]) -> list[Any]:
    return [msgspec.to_builtins(hop) for attempt in attempts for hop in attempt.hops]


def _libc_text(side: dict[str, Any]) -> str:
    libc = side["libc"]
    return "not asked" if libc is None else ", ".join(libc["addresses"]) or libc["error"] or "no address"


def _go_text(side: dict[str, Any]) -> str:
    return ", ".join(map(_origin_text, side["go"]["addresses"])) or side["go"]["error"] or "no address"


def _origin_text(address: dict[str, Any]) -> str:
    origin = f"{address['file']}:{address['line']}" if address["source"] == "hosts" else address["nameserver"]
    return f"{address['address']} ({origin})" if origin else address["address"]


def _fetch_text(side: dict[str, Any]) -> str:
    return ", then ".join(map(_hop_text, side["fetch"])) or "nobody to ask"


def _record_text(side: dict[str, Any]) -> str:
    record = side["record"]
    said = record["error"] or "there"
    return f"{said} (by {record['answers'][-1]['nameserver']})" if record["answers"] else said


def _without_noise(side: dict[str, Any]) -> dict[str, Any]:
    """What an edit can change: not how long it took, or a serial."""
    return {**side, "fetch": _fetch_text(side), "record": side["record"] and _record_text(side)}


def _gets_through(side: dict[str, Any]) -> bool:
    if side["record"] is not None:
        return side["record"]["error"] in (None, "nxdomain", "nodata")
    return bool(side["go"]["addresses"]) and any(_is_answered(hop) for hop in side["fetch"])


def _is_answered(hop: dict[str, Any]) -> bool:
    return msgspec.convert(hop, Hop).is_answered


def _port(document: dict[str, Any]) -> int:
    return 443 if document["challenge"] == "tls-alpn-01" else 80


def _hop_text(hop: dict[str, Any]) -> str:
    if hop["alpn"] is not None:
        return f"{hop['address']}: TLS with a certificate for {', '.join(hop['certificate_names']) or 'no name'}"
    if hop["error"] is not None and hop["status"] is None:
        return f"{hop['address'] or hop['name']}: {hop['error']}"
    target = f" to {hop['location'].split('?')[0]}" if hop["location"] else ""
    return f"{hop['server'] or 'a server'} at {hop['address']} answers {hop['status']}{target}"
