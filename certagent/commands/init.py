"""`certagent init`: look at this container, say what would be changed, and change that when steps to.

Writes only new files: the configuration, the CA's root once its fingerprint is confirmed, and the challenge's way in.
What is there already is left alone, and what has to be edited is said to a person.
"""

import asyncio
import json
import os
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.commands import config_template
from certagent.commands.certificate_drafts import drafts_of
from certagent.commands.config_template import Draft
from certagent.commands.nginx_by_hand import steps_for
from certagent.config import ConfigurationError, load_agent
from certagent.domain.identifiers import is_address, is_wildcard
from certagent.domain.observations import Unreadable
from certagent.vantage.ca_roots import fetch_roots
from certagent.vantage.imported_renewals import ImportedRenewal, read_renewals
from certagent.vantage.nginx_config import NGINX, read_nginx
from certagent.vantage.nginx_pairs import NginxPair, find_nginx
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.traefik_config import TraefikProvider, find_other_providers, find_traefik

SNIPPET = Path("/etc/nginx/snippets/certagent-challenge.conf")
CHALLENGE_YAML = "certagent-challenge.yml"

Confirm = Callable[[str], bool]
"""Whether a person takes a root with that fingerprint for the CA's own."""


class ExistsError(Exception):
    """The configuration that is to be written is there already; the message names it."""


class InitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the person said. `imports`: other tools' renewals; `fingerprint`: the CA's root's, known from elsewhere."""

    directory: str
    root: Path
    configuration: Path
    fingerprint: str | None = None
    imports: tuple[Path, ...] = ()


class _Change(msgspec.Struct, kw_only=True):
    """A file that would be made. `done`: it was."""

    file: str
    content: str
    exists: bool
    done: bool = False


def init(request: InitRequest, confirm: Confirm, *, write: bool) -> dict[str, Any]:
    """`{"found": [...], "configuration": str, "changes": [{"file", "content", "exists", "done"}], "by_hand": [...],
    "skipped": [...]}`; the agent loads that configuration, and `skipped` is what was left out of it, and why.

    Raises `ExistsError` when the configuration is to be written and is there already, ValueError for an import that
    cannot be read and for a directory that is no URL, OSError for a file that cannot be read or written.
    """
    nginx, traefik = find_nginx(), find_traefik()
    imported = [read_renewals(path) for path in request.imports]
    renewals = [renewal for reading in imported for renewal in reading.value]
    not_imported = [f"not imported: {_place(one)}: {one.reason}" for reading in imported for one in reading.unreadable]
    root, notes = _root(request, confirm)
    head = _head(request, root)
    drafts, refused = loadable(head, drafts_of(nginx.value.pairs, traefik, renewals, _addresses()))
    unread = [f"{_place(one)} cannot be read: {one.reason}" for one in nginx.unreadable]
    left_out = [*unread, *nginx.value.left_out, *refused]
    configuration = "".join([head, *map(config_template.certificate, drafts), *_comments(left_out)])
    changes = [_change(request.configuration, configuration)]
    if root is not None and not request.root.exists():
        changes.append(_change(request.root, root.decode()))
    if nginx.value.pairs:
        changes.append(_change(SNIPPET, _snippet("nginx", SNIPPET.name)))
    if traefik is not None and not traefik.has_own_acme and traefik.filename is None:
        changes.append(_change(traefik.dynamic / CHALLENGE_YAML, _challenge_router(traefik)))
    if write:
        _write(request, changes)
    return {
        "found": [
            *_found(nginx.value.pairs, traefik, drafts),
            *(renewal.story for renewal in renewals),
            *_owned(drafts, renewals),
        ],
        "configuration": configuration,
        "changes": msgspec.to_builtins(changes),
        "by_hand": [*notes, *not_imported, *_by_hand(nginx.value.pairs, traefik, drafts), _collector_by_hand(request)],
        "skipped": [*left_out, *_remarks(drafts)],
    }


def render(document: dict[str, Any]) -> str:
    """What was found, what would be made (or was), what is left to a person; then the configuration."""
    lines = [f"# found: {found}" for found in document["found"]] or ["# found: neither nginx nor Traefik"]
    for change in document["changes"]:
        does = "exists, left alone" if change["exists"] else ("written" if change["done"] else "would be written")
        lines.append(f"# {change['file']}: {does}")
    lines += [f"# left out: {skipped}" for skipped in document["skipped"]]
    lines += [f"# by hand: {step}" for step in document["by_hand"]]
    is_written = document["changes"][0]["done"]
    return "\n".join([*lines, "" if is_written else document["configuration"]])


def loadable(head: str, drafts: Sequence[Draft]) -> tuple[list[Draft], list[str]]:
    """(those that the agent loads, why the others are left out). Raises ValueError when `head` alone is refused."""
    if _refusal(head, drafts) is None:
        return list(drafts), []
    refusal = _refusal(head, ())
    if refusal is not None:
        raise ValueError(f"no configuration can be made: {refusal}")
    reasons = {draft.name: _refusal(head, [draft]) for draft in drafts}
    loaded = [draft for draft in drafts if reasons[draft.name] is None]
    while loaded and _refusal(head, loaded) is not None:  # what they are only together
        reasons[loaded.pop().name] = "it does not go together with the others"
    return loaded, [f"{_pair_of(draft)}: {reasons[draft.name]}" for draft in drafts if draft not in loaded]


def _refusal(head: str, drafts: Sequence[Draft]) -> str | None:
    """What the agent's own loader says against it, but for the CA's root, which may have to be copied yet."""
    with TemporaryDirectory(prefix="certagent-init-") as folder:
        root, file = Path(folder) / "root.crt", Path(folder) / "agent.toml"
        root.touch()
        text = re.sub(r"(?m)^root = .*$", lambda _: f"root = {config_template.quoted(root)}", head, count=1)
        file.write_text("".join([text, *map(config_template.certificate, drafts)]), encoding="utf-8")
        try:
            load_agent(file, with_secrets=False)
        except ConfigurationError as error:
            return str(error).removeprefix(f"{file}: ").replace("certificate[0].", "")
    return None


def _pair_of(draft: Draft) -> str:
    return f"{draft.name} ({', '.join(draft.target[1:])})"


def _remarks(drafts: Sequence[Draft]) -> list[str]:
    return [f"{draft.name}: {remark}" for draft in drafts for remark in draft.remarks]


def _comments(left_out: Sequence[str]) -> list[str]:
    return [f"\n{config_template.comment(f'Left out: {reason}.')}\n" for reason in left_out]


def _root(request: InitRequest, confirm: Confirm) -> tuple[bytes | None, list[str]]:
    """(the CA's root, what to tell): the file that is there, or what the CA gives once its fingerprint is confirmed."""
    if request.root.exists():
        return request.root.read_bytes(), []
    try:
        roots = asyncio.run(fetch_roots(request.directory))
    except ConnectionError as error:
        return None, [f"copy the CA's root certificate to {request.root} ({error})"]
    for pem in roots:
        fingerprint = _fingerprint(pem)
        wanted = request.fingerprint.replace(":", "").lower() if request.fingerprint else None
        if fingerprint == wanted or (wanted is None and confirm(fingerprint)):
            return pem, []
    shown = ", ".join(_fingerprint(pem) for pem in roots)
    compare = (
        "compare on the CA's node, then give it by --fingerprint" if request.fingerprint is None else "not that one"
    )
    return None, [f"the CA's root was not taken: it gives {shown} ({compare})"]


def _head(request: InitRequest, root: bytes | None) -> str:
    fingerprint = _fingerprint(root) if root is not None else None
    path = request.root.absolute()
    return config_template.head(socket.gethostname(), request.directory, path, fingerprint, _nameservers())


def _addresses() -> tuple[str, ...]:
    return NodeVantage().addresses()


def _found(pairs: Sequence[NginxPair], traefik: TraefikProvider | None, drafts: Sequence[Draft]) -> list[str]:
    names = {draft.file: ", ".join(draft.names) for draft in drafts}
    found = [f"nginx serves {pair.certificate} for {names.get(pair.certificate) or 'no name'}" for pair in pairs]
    if traefik is not None:
        where, hosts = traefik.filename or traefik.dynamic, ", ".join(traefik.names) or "no host"
        found.append(f"Traefik's file provider reads {where}, its routers name {hosts}")
        found += [f"{one.file}:{one.line or 1} was left out: {one.reason}" for one in traefik.unreadable]
    others = "Traefik takes routers from {} as well; certagent does not read those"
    return found + [others.format(provider) for provider in find_other_providers()]


def _owned(drafts: Sequence[Draft], renewals: Sequence[ImportedRenewal]) -> list[str]:
    told = {renewal.certificate for renewal in renewals}
    return [
        f"{draft.renewer} renews {draft.file} (see {draft.evidence})"
        for draft in drafts
        if draft.renewer is not None and draft.file not in told
    ]


def _by_hand(pairs: Sequence[NginxPair], traefik: TraefikProvider | None, drafts: Sequence[Draft]) -> list[str]:
    steps = []
    if pairs:
        asked = [draft for draft in drafts if draft.challenge == "http-01" and draft.name != "traefik"]
        names = dict.fromkeys(name for draft in asked if draft.renewer is None for name in draft.names)
        renewed = dict.fromkeys(name for draft in asked if draft.renewer is not None for name in draft.names)
        steps += steps_for(read_nginx(NGINX).value, list(names), SNIPPET.name, list(renewed))
    if traefik is not None and traefik.filename is not None:
        steps.append(
            f"Traefik reads {traefik.filename} alone: move it to a folder of its own, and name that as"
            " providers.file.directory in place of providers.file.filename, so that certagent can add files there"
        )
    if traefik is not None and traefik.redirects:
        steps.append(
            f"Traefik redirects all of {traefik.plain_entry_point} before any router: in entryPoints."
            f"{traefik.plain_entry_point}.http.redirections.entryPoint set priority: 1, then restart Traefik"
        )
    if traefik is not None and not traefik.has_own_acme and traefik.plain_entry_point is None:
        steps.append(
            f"in {traefik.dynamic / CHALLENGE_YAML}: the name of Traefik's plain entry point in place of `web`"
        )
    renewers = sorted({draft.renewer for draft in drafts if draft.renewer is not None})
    takeover = (
        "before a certificate of {0}'s is set to manage = true: end {0}'s own renewals, and have the service read the"
        " pair from a folder of its own"
    )
    steps += [takeover.format(renewer) for renewer in renewers]
    wild = [name for draft in drafts if draft.watched_because for name in draft.names if is_wildcard(name)]
    if wild:
        steps.append(f"{', '.join(wild)}: only dns-01 proves a wildcard; complete its solver, then set manage = true")
    return steps


def _collector_by_hand(request: InitRequest) -> str:
    return (
        f"in {request.configuration}: complete [collector] (url, addresses), before the service is started; without it"
        " nothing is reported, and no rehearsal is possible"
    )


def _place(unreadable: Unreadable) -> str:
    return unreadable.file if unreadable.line is None else f"{unreadable.file}:{unreadable.line}"


def _change(file: Path, content: str) -> _Change:
    return _Change(file=str(file), content=content, exists=os.path.lexists(file))


def _write(request: InitRequest, changes: Sequence[_Change]) -> None:
    """New files only. The configuration comes last: whoever finds it finds what it names."""
    if os.path.lexists(request.configuration):
        raise ExistsError(f"{request.configuration} exists")
    request.configuration.parent.mkdir(parents=True, exist_ok=True)  # nothing is written where it cannot be
    for change in reversed(changes):
        if change.exists:
            continue
        path = Path(change.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(change.content)
        change.done = True


def _snippet(server: str, name: str) -> str:
    """As in the tree's `deploy`; the wheel carries it."""
    packaged = Path(__file__).parents[1] / "snippets" / server / name
    tree = Path(__file__).parents[2] / "deploy" / server / name
    return (packaged if packaged.is_file() else tree).read_text(encoding="utf-8")


def _challenge_router(traefik: TraefikProvider) -> str:
    """On the entry point that is port 80's here."""
    router, name = _snippet("traefik", CHALLENGE_YAML), traefik.plain_entry_point or "web"
    return router if name == "web" else router.replace("entryPoints: [web]", f"entryPoints: [{json.dumps(name)}]")


def _fingerprint(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


def _nameservers() -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = (line.split() for line in lines)
    return [word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and is_address(word[1])]
