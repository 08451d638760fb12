"""`certagent fix`: takes the lines out of this node's resolver files that lead names astray. Run by a person only.

An incident is no more than a pointer: what is wrong is found again here, in the files as they are, and lines are known
by their content. Nothing but resolver files is ever changed, and nothing before a backup of it is kept.
"""

import asyncio
import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from certagent.commands import UnableError
from certagent.commands.collector_client import ask_collector
from certagent.config import AgentSettings
from certagent.domain.diagnosis.name_resolution import (
    resolver_is_missing,
    shadows_at_a_client,
    shadows_at_the_authority,
)
from certagent.domain.findings import without_secrets
from certagent.domain.fixes import (
    Edit,
    Fix,
    FixedFile,
    FixRefusal,
    Text,
    as_diff,
    drop_names,
    edited,
    leave_to_a_person,
    name_nameservers,
    refuse,
)
from certagent.domain.probe_errors import SILENT
from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.resolution.files import RESOLVER_FILES
from certagent.domain.resolution.managed_files import Surroundings, find_managers, find_owner
from certagent.domain.resolver_agreement import stray_lines
from certagent.state import FixFolder, State
from certagent.system.files import is_immutable, rewrite_file
from certagent.system.invoker import invoking_user
from certagent.system.procfs import ProcFs
from certagent.system.regular_files import LARGEST_FILE, read_within
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.resolver_files import FileObservation

_ROOT = Path("/")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done. `texts` are the files that the edits were derived from; `notes` what a person should know."""

    edits: tuple[Edit, ...] = ()
    refusals: tuple[FixRefusal, ...] = ()
    texts: Mapping[str, Text] = {}
    notes: tuple[str, ...] = ()

    def after(self) -> dict[str, bytes]:
        """File -> content, for those that change."""
        files = dict.fromkeys(edit.file for edit in self.edits)
        return {
            file: edited(self.texts[file].content, [edit for edit in self.edits if edit.file == file]) for file in files
        }


def fix(settings: AgentSettings, incident: str | None = None, *, apply: bool, root: Path = _ROOT) -> dict[str, Any]:
    """`{"node", "incident", "edits", "refusals", "notes", "diff", "applied": Fix | null, "backup": path | null}`.

    Raises `UnableError`: the incident is another node's, a file is too long to be read whole, changed meanwhile, or
    could not be written.
    """
    pointer = _read_incident(settings, incident) if incident is not None else None
    plan = asyncio.run(make_plan(settings, root))
    if pointer is not None:
        plan = narrowed(plan, pointer)
        notes = (*plan.notes, *map(_source_note, pointer.get("written_by", ())))
        plan = msgspec.structs.replace(plan, notes=notes)
    after = plan.after()
    applied, backup = None, None
    if apply and after:
        applied, backup = apply_plan(_fixes(settings), plan, after, incident, root)
    document = {
        "node": settings.agent.name,
        "incident": incident,
        "edits": plan.edits,
        "refusals": plan.refusals,
        "notes": plan.notes,
        "diff": "\n".join(as_diff(file, plan.texts[file].content, content) for file, content in after.items()),
        "applied": applied,
        "backup": backup,
    }
    return dict(msgspec.to_builtins(document))


def undo(settings: AgentSettings, root: Path = _ROOT) -> dict[str, Any]:
    """`{"node", "undone": Fix | null}`: the latest fix, every file byte by byte as it was before.

    Raises `UnableError` when a file is no longer what the fix made of it, or too long to tell; then nothing is changed.
    """
    fixes = _fixes(settings)
    latest = fixes.latest()
    if latest is None:
        return {"node": settings.agent.name, "undone": None}
    restored = {fixed.file: _to_restore(fixes, latest, fixed, root) for fixed in latest.files}
    _write_all({file: content for file, content in restored.items() if content is not None}, root)
    undone = msgspec.structs.replace(latest, undone_at=datetime.now(UTC), undone_by=invoking_user())
    fixes.save(undone)
    return dict(msgspec.to_builtins({"node": settings.agent.name, "undone": undone}))


def exit_status(document: dict[str, Any]) -> int:
    """4 when something is left that certagent refuses to change, 3 when there is something to be done (--apply does
    it), else 0."""
    if "undone" in document:
        return 0
    if document["refusals"]:
        return 4
    return 3 if document["edits"] and document["applied"] is None else 0


def render(document: dict[str, Any]) -> str:
    """For a person: why, the diff, what was done or would be."""
    if "undone" in document:
        return _undone_text(document["undone"])
    lines = list(dict.fromkeys(f"{edit['code']}: {edit['explanation']}" for edit in document["edits"]))
    lines += [document["diff"]] if document["diff"] else []
    for refusal in document["refusals"]:
        place = f"{refusal['file']}:{refusal['line']}" if refusal["line"] else refusal["file"]
        lines.append(f"not changed: {place}: {refusal['text'] or ''}\n  {refusal['code']}: {refusal['reason']}")
    lines += document["notes"]
    if document["applied"]:
        lines.append(f"applied; the backup is {document['backup']}, and `certagent fix --undo` restores it")
    elif document["edits"]:
        lines.append("nothing was changed; `certagent fix --apply` makes this edit")
    lines = lines or ["nothing to fix in this node's resolver files"]
    return "\n".join([*lines, _not_consulted(document["incident"])])


def _not_consulted(incident: str | None) -> str:
    """So that nobody takes "nothing to fix" for "nothing is wrong"."""
    collector = "" if incident is not None else "the collector (`certagent fix INCIDENT` does), "
    return f"not consulted: {collector}the CA, other nodes, the files of web servers and nameservers"


async def make_plan(settings: AgentSettings, root: Path = _ROOT) -> Plan:
    """Find again, in the files as they are, what leads the fleet's names astray, and what would fix it."""
    allowed = settings.vantage.allow if settings.vantage is not None else ()
    zones = (*settings.dns.zones, *(name.removeprefix("*.") for name in allowed))
    seen = await NodeVantage(settings.dns.nameservers, zones, root=root).inspect_files()
    texts = {file: _read_text(root, file) for file in RESOLVER_FILES if seen.snapshot[file].content is not None}
    wanted = tuple(_edits(settings, seen, texts))
    judged = [(edit, refuse(edit, texts[edit.file])) for edit in wanted]
    missing = resolver_is_missing(settings.agent.name, seen.files.resolv_conf) if seen.files else None
    owner = _read_text(root, RESOLV_CONF_FILE).owner if missing is not None else None
    unresolved = missing is not None and not any(edit.file == RESOLV_CONF_FILE for edit in wanted)
    return Plan(
        edits=tuple(edit for edit, refusal in judged if refusal is None),
        refusals=tuple(refusal for _, refusal in judged if refusal is not None)
        + ((leave_to_a_person(missing, RESOLV_CONF_FILE, owner),) if missing is not None and unresolved else ()),
        texts=texts,
        notes=_unanswered(seen),
    )


def _unanswered(seen: FileObservation) -> tuple[str, ...]:
    """What was not compared, because DNS did not say anything."""
    silent = [
        resolution.name
        for resolution in seen.resolutions
        if resolution.hosts and all(answer.status in SILENT for answer in resolution.dns)
    ]
    if not silent:
        return ()
    more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
    return (f"no nameserver answered for {silent[0]}{more}: what {HOSTS_FILE} says was not compared with DNS",)


def narrowed(plan: Plan, incident: Mapping[str, Any]) -> Plan:
    """Only what the incident points at: its file, and its lines by their text, which came without their secrets."""
    file = incident["culprit"]["file"]
    texts = {line["text"] for line in incident["lines"] if line["text"] is not None}

    def is_meant(item: Edit | FixRefusal) -> bool:
        return item.file == file and (not texts or item.text is None or without_secrets(item.text) in texts)

    edits, refusals = tuple(filter(is_meant, plan.edits)), tuple(filter(is_meant, plan.refusals))
    gone = f"nothing that incident {incident['id']} refers to is still wrong in {file}"
    notes = plan.notes if edits or refusals else (*plan.notes, gone)
    return Plan(edits=edits, refusals=refusals, texts=plan.texts, notes=notes)


def apply_plan(
    fixes: FixFolder, plan: Plan, after: Mapping[str, bytes], incident: str | None, root: Path = _ROOT
) -> tuple[Fix, str]:
    """Keep the backup, write, and look whether it is there. Raises `UnableError`."""
    before = {file: plan.texts[file].content for file in after}
    for file, content in before.items():
        if _read_text(root, file).content != content:
            raise UnableError(f"{file} was changed meanwhile: nothing was written; run the command again")
    now = datetime.now(UTC)
    files = tuple(
        FixedFile(file=file, before=_digest(before[file]), after=_digest(content)) for file, content in after.items()
    )
    made = Fix(id=now.strftime("%Y%m%dT%H%M%S.%fZ"), at=now, incident=incident, files=files, by=invoking_user())
    try:
        fixes.keep(made, before)
    except OSError as error:
        raise UnableError(f"the backup could not be saved, so nothing was changed: {error}") from error
    _write_all(after, root)
    return made, str(fixes.path_of(made))


def _edits(settings: AgentSettings, seen: FileObservation, texts: Mapping[str, Text]) -> list[Edit]:
    node, own_addresses = settings.agent.name, seen.own_addresses
    is_authority = settings.vantage is not None
    shadows = (shadows_at_the_authority if is_authority else shadows_at_a_client)(seen.resolutions, node, own_addresses)
    code = "dns.hosts_shadow.authority" if is_authority else "dns.hosts_shadow.client"
    stray = [
        (resolution.name, line)
        for resolution in seen.resolutions
        if resolution.addresses and resolution.addresses[0].origin.source == "hosts"
        for line in stray_lines(resolution, own_addresses)
    ]
    edits = list(drop_names(stray, shadows, code, texts[HOSTS_FILE])) if stray else []
    missing = resolver_is_missing(node, seen.files.resolv_conf) if seen.files else None
    if missing is not None and RESOLV_CONF_FILE in texts:
        edits += name_nameservers(missing, settings.dns.nameservers)
    return edits


def _read_incident(settings: AgentSettings, incident: str) -> dict[str, Any]:
    """The incident, if it points at a resolver file of this very node."""
    document = ask_collector(settings, "incidents", incident)
    node, file = document["culprit"]["node"], document["culprit"]["file"]
    if node != settings.agent.name:
        raise UnableError(f"incident {incident} is about {node}, not about this node: run `certagent fix` there")
    if file not in RESOLVER_FILES:
        place = file or document["code"]
        raise UnableError(f"incident {incident} is about {place}: certagent edits only resolver files")
    return document


def _source_note(line: Mapping[str, Any]) -> str:
    """The edit of the provisioning code, for a person to make."""
    place = f"{line['file']}:{line['line']} (commit {str(line['commit'])[:12]}, {str(line['committed_at'])[:10]})"
    code, text = str(line.get("code") or "").strip(), line["text"]
    is_other = code not in ("", text)
    edit = f"change that line there as well: {code} (it writes {text})" if is_other else f"change it there: {text}"
    return f"written by {place}, so it will come back: {edit}"


def _read_text(root: Path, file: str) -> Text:
    state = read_within(root, file)
    if not state.is_whole:
        raise UnableError(
            f"{file} is longer than the {LARGEST_FILE >> 20} MiB that certagent reads of it: edit it by hand"
        )
    content = state.content or b""
    name = file.rpartition("/")[2]
    mounted_from = ProcFs().mounted_from(None, file) if root == _ROOT else None
    surroundings = Surroundings(
        pve_ignored=read_within(root, f"/etc/.pve-ignore.{name}").content is not None,
        target=state.target,
        mounted_from=mounted_from,
    )
    real = _real(root, file)
    return Text(
        content=content,
        managers=find_managers(content, surroundings),
        owner=find_owner(content, surroundings),
        leads_to=None if real.is_relative_to(root / "etc") else f"/{real.relative_to(root)}",
        mounted_from=None if mounted_from is None or _is_here(mounted_from, file) else mounted_from,
        is_locked=is_immutable(real),
    )


def _is_here(source: str, file: str) -> bool:
    """Whether what is mounted over the file is a file of this node's own: then it is edited like one with two names."""
    try:
        return os.path.samefile(source, file)
    except OSError:
        return False


def _real(root: Path, file: str) -> Path:
    """The file itself, behind every link. With another root than ours, links that lead out of it count as outside."""
    real = (root / file.lstrip("/")).resolve()
    return real if real.is_relative_to(root.resolve()) else root / "outside" / real.name


def _write_all(contents: Mapping[str, bytes], root: Path) -> None:
    for file, content in contents.items():
        try:
            rewrite_file(_real(root, file), content)
        except OSError as error:
            raise UnableError(f"{file} cannot be written: {error.strerror}") from error
        if _read_text(root, file).content != content:
            raise UnableError(f"{file} was written, but another program has already changed it again: find out which")


def _to_restore(fixes: FixFolder, fix: Fix, fixed: FixedFile, root: Path) -> bytes | None:
    """The content to put back; None where the fix never got that far."""
    digest = _digest(_read_text(root, fixed.file).content)
    if digest == fixed.before:
        return None
    backup = fixes.backup(fix, fixed.file)
    if digest != fixed.after:
        raise UnableError(
            f"{fixed.file} has been changed since: compare it with the backup {fixes.path_of(fix)} yourself"
        )
    if backup is None or _digest(backup) != fixed.before:
        raise UnableError(
            f"the backup of {fixed.file} in {fixes.path_of(fix)} was changed since it was made: nothing was undone"
        )
    return backup


def _fixes(settings: AgentSettings) -> FixFolder:
    try:
        return State(settings.agent.state).fixes()
    except OSError as error:
        raise UnableError(f"the state folder {settings.agent.state} cannot be used: {error.strerror}") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _undone_text(fix: dict[str, Any] | None) -> str:
    if fix is None:
        return "there is no fix to undo"
    return f"undone: {', '.join(fixed['file'] for fixed in fix['files'])} as before {fix['at']}"
