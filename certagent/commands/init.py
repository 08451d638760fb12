"""`certagent init`: look at this container, say what would be changed, and change that when steps to.

Writes only new files: the configuration, the CA's root once its fingerprint is confirmed, and the challenge's way in.
What is there already is left alone, and what has to be edited is said to a person.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.commands import config_template
from certagent.domain.observations import Unreadable
from certagent.vantage.ca_roots import fetch_roots
from certagent.vantage.imported_renewals import ImportedRenewal, read_renewals
from certagent.vantage.nginx_config import NginxPair, find_nginx
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.traefik_config import TraefikProvider, find_traefik

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
    """`{"found": [...], "configuration": str, "changes": [{"file", "content", "exists", "done"}], "by_hand": [...]}`.

    Raises `ExistsError` when the configuration is to be written and is there already, ValueError for an import that
    cannot be read, OSError for a file that cannot be read or written.
    """
    pairs, traefik = find_nginx(), find_traefik()
    imported = [read_renewals(path) for path in request.imports]
    renewals = [renewal for reading in imported for renewal in reading.value]
    skipped = [f"not imported: {_place(one)}: {one.reason}" for reading in imported for one in reading.unreadable]
    root, notes = _root(request, confirm)
    configuration = _configuration(request, root, pairs, traefik, renewals)
    changes = [_change(request.configuration, configuration)]
    if root is not None and not request.root.exists():
        changes.append(_change(request.root, root.decode()))
    if pairs:
        changes.append(_change(SNIPPET, _snippet("nginx", SNIPPET.name)))
    if traefik is not None and not traefik.has_own_acme:
        changes.append(_change(traefik.dynamic / CHALLENGE_YAML, _snippet("traefik", CHALLENGE_YAML)))
    if write:
        _write(request, changes)
    return {
        "found": [
            *_found(pairs, traefik),
            *(renewal.story for renewal in renewals),
        ],
        "configuration": configuration,
        "changes": msgspec.to_builtins(changes),
        "by_hand": [*notes, *skipped, *_by_hand(pairs, traefik, renewals), _collector_by_hand(request)],
    }


def render(document: dict[str, Any]) -> str:
    """What was found, what would be made (or was), what is left to a person; then the configuration."""
    lines = [f"# found: {found}" for found in document["found"]] or ["# found: neither nginx nor Traefik"]
    for change in document["changes"]:
        does = "exists, left alone" if change["exists"] else ("written" if change["done"] else "would be written")
        lines.append(f"# {change['file']}: {does}")
    lines += [f"# by hand: {step}" for step in document["by_hand"]]
    is_written = document["changes"][0]["done"]
    return "\n".join([*lines, "" if is_written else document["configuration"]])


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


def _configuration(
    request: InitRequest,
    root: bytes | None,
    pairs: Sequence[NginxPair],
    traefik: TraefikProvider | None,
    renewals: Sequence[ImportedRenewal],
) -> str:
    prove = [f"{address}:443" for address in NodeVantage().addresses() if ":" not in address]
    fingerprint = _fingerprint(root) if root is not None else None
    sections = [
        config_template.head(socket.gethostname(), request.directory, request.root, fingerprint, _nameservers())
    ]
    by_path = {pair.certificate: pair for pair in pairs}
    for renewal in renewals:
        target = config_template.target_of(renewal, is_nginx=by_path.pop(renewal.certificate, None) is not None)
        sections.append(
            config_template.certificate(
                renewal.name, renewal.identifiers, target, prove, renewal.renewer, renewal.challenge
            )
        )
    for index, pair in enumerate(by_path.values()):
        name = "nginx" if index == 0 else f"nginx-{index + 1}"
        target = ['kind = "nginx"', f'certificate = "{pair.certificate}"', f'key = "{pair.key}"']
        sections.append(config_template.certificate(name, pair.names, target, prove, None))
    if traefik is not None:
        target = ['kind = "traefik"', f'dynamic = "{traefik.dynamic}"']
        renewer = "Traefik's own ACME" if traefik.has_own_acme else None
        challenge = traefik.challenge if traefik.has_own_acme else "http-01"
        sections.append(config_template.certificate("traefik", traefik.names, target, prove, renewer, challenge))
    return "".join(sections)


def _found(pairs: Sequence[NginxPair], traefik: TraefikProvider | None) -> list[str]:
    found = [f"nginx serves {pair.certificate} for {', '.join(pair.names) or 'no name'}" for pair in pairs]
    if traefik is not None:
        found.append(f"Traefik's file provider reads {traefik.dynamic}, its routers name {', '.join(traefik.names)}")
    return found


def _by_hand(
    pairs: Sequence[NginxPair], traefik: TraefikProvider | None, renewals: Sequence[ImportedRenewal]
) -> list[str]:
    steps = []
    names = list(dict.fromkeys(name for pair in pairs for name in pair.names))
    if pairs:
        steps.append(
            f"in nginx's port-80 `server` of {', '.join(names) or 'every name'}: include snippets/{SNIPPET.name};"
            " then nginx -t && systemctl reload nginx"
        )
    if traefik is not None and not traefik.has_own_acme:
        steps.append(
            f"if Traefik's plain entry point is not called `web`: its name in {traefik.dynamic / CHALLENGE_YAML}"
        )
    renewers = sorted({renewal.renewer for renewal in renewals if renewal.renewer is not None})
    takeover = "before a certificate of {0}'s is set to manage = true: end {0}'s own renewals"
    steps += [takeover.format(renewer) for renewer in renewers]
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


def _fingerprint(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


def _nameservers() -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [words[1] for words in (line.split() for line in lines) if len(words) > 1 and words[0] == "nameserver"]
