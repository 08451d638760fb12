"""`certagent init`: look at this container, say what would be changed, and change that when steps to.

Writes only new files: the configuration, the CA's root once its fingerprint is confirmed, and the challenge's way in.
What is there already is left alone, and what has to be edited is said to a person.
"""

import asyncio
import json
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.commands import UnableError, config_template
from certagent.commands.certificate_drafts import drafts_of
from certagent.commands.challenge_by_hand import challenge_steps
from certagent.commands.config_template import Draft, NodeFacts
from certagent.commands.new_files import ExistsError as ExistsError
from certagent.commands.new_files import plan_file, say_files, write_files
from certagent.commands.nginx_by_hand import steps_for
from certagent.commands.service_start import exit_status as exit_status
from certagent.commands.service_start import how_to_start, say_start
from certagent.config import ConfigurationError, load_agent
from certagent.domain.identifiers import is_address, is_wildcard
from certagent.domain.observations import Unreadable
from certagent.vantage.ca_roots import fetch_roots
from certagent.vantage.imported_renewals import ImportedRenewal, read_renewals
from certagent.vantage.nginx_config import NGINX, read_nginx
from certagent.vantage.nginx_pairs import NginxPair, find_nginx
from certagent.vantage.node_vantage import NodeVantage
from certagent.vantage.service_pairs import FoundServices, find_services
from certagent.vantage.traefik_config import TraefikProvider, find_other_providers, find_traefik

IS_VERBATIM = True
"""What it shows is copied, or piped on."""

SNIPPET = Path("/etc/nginx/snippets/certagent-challenge.conf")
CHALLENGE_YAML = "certagent-challenge.yml"


Confirm = Callable[[str], bool]
"""Whether a person takes a root with that fingerprint for the CA's own."""


class InitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the person said. `imports`: other tools' renewals; `fingerprint`: the CA's root's, known from elsewhere;
    `root_pem`: that root itself, where it is known; `node`: what else is known of this node."""

    directory: str
    root: Path
    configuration: Path
    fingerprint: str | None = None
    imports: tuple[Path, ...] = ()
    root_pem: bytes | None = None
    node: NodeFacts = NodeFacts()


def init(request: InitRequest, confirm: Confirm, *, write: bool) -> dict[str, Any]:
    """`{"found": [...], "configuration": str, "changes": [{"file", "content", "exists", "done"}], "by_hand": [...],
    "skipped": [...], "next": [...]}`; the agent loads that configuration, `skipped` is what was left out of it, and
    why, and `next` are the commands to run then.

    Raises `ExistsError` when the configuration is to be written and is there already, ValueError for an import that
    cannot be read and for a directory that is no URL, `UnableError` when the CA has not the root that is expected,
    OSError for a file that cannot be read or written.
    """
    nginx, traefik = find_nginx(), find_traefik()
    imported = [read_renewals(path) for path in request.imports]
    renewals = [renewal for reading in imported for renewal in reading.value]
    not_imported = [f"not imported: {_place(one)}: {one.reason}" for reading in imported for one in reading.unreadable]
    root, notes = find_root(request, confirm)
    head = head_of(request, root)
    services = find_services()
    proposed = drafts_of(nginx.value.pairs, traefik, renewals, node_addresses(), services.value.pairs)
    drafts, refused = loadable(head, proposed)
    unread = [f"{_place(one)} cannot be read: {one.reason}" for one in (*nginx.unreadable, *services.unreadable)]
    left_out = [*unread, *nginx.value.left_out, *services.value.left_out, *refused]
    configuration = "".join([head, *map(config_template.certificate, drafts), *_comments(left_out)])
    changes = [plan_file(request.configuration, configuration)]
    if root is not None and not request.root.exists():
        changes.append(plan_file(request.root, root.decode()))
    if nginx.value.pairs:
        changes.append(plan_file(SNIPPET, _snippet("nginx", SNIPPET.name)))
    if traefik is not None and not traefik.has_own_acme and traefik.filename is None:
        changes.append(plan_file(traefik.dynamic / CHALLENGE_YAML, _challenge_router(traefik)))
    if write:
        if changes[0].exists:
            raise ExistsError(f"{request.configuration} exists")
        write_files(changes)
    return {
        "found": [
            *_found(nginx.value.pairs, traefik, drafts),
            *_found_services(services.value, drafts),
            *(renewal.story for renewal in renewals),
            *_owned(drafts, renewals),
        ],
        "configuration": configuration,
        "changes": msgspec.to_builtins(changes),
        "by_hand": [
            *notes,
            *not_imported,
            *_by_hand(nginx.value.pairs, traefik, drafts),
            *challenge_steps(services.value.pairs, drafts),
            *_collector_by_hand(request),
        ],
        "skipped": [*left_out, *_remarks(drafts)],
        "next": [*_first_orders(drafts), *next_commands(write=write)],
    }


def render(document: dict[str, Any]) -> str:
    """What was found, what would be made (or was), what is left to a person; then the configuration."""
    lines = [f"# found: {found}" for found in document["found"]] or ["# found: no service that serves a certificate"]
    lines += say_files(document["changes"])
    lines += say_start(document)
    lines += [f"# left out: {skipped}" for skipped in document["skipped"]]
    lines += [f"# by hand: {step}" for step in document["by_hand"]]
    lines += [f"# next: {command}" for command in document["next"]]
    is_written = document["changes"][0]["done"]
    return "\n".join([*lines, "" if is_written else document["configuration"]])


def loadable(head: str, drafts: Sequence[Draft]) -> tuple[list[Draft], list[str]]:
    """(those that the agent loads, why the others are left out). Raises ValueError when `head` alone is refused."""
    if refusal(head, drafts) is None:
        return list(drafts), []
    alone = refusal(head, ())
    if alone is not None:
        raise ValueError(f"no configuration can be generated: {alone}")
    reasons = {draft.name: refusal(head, [draft]) for draft in drafts}
    loaded = [draft for draft in drafts if reasons[draft.name] is None]
    while loaded and refusal(head, loaded) is not None:  # what they are only together
        reasons[loaded.pop().name] = "it conflicts with the others"
    return loaded, [f"{_pair_of(draft)}: {reasons[draft.name]}" for draft in drafts if draft not in loaded]


def refusal(head: str, drafts: Sequence[Draft]) -> str | None:
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


def find_root(request: InitRequest, confirm: Confirm) -> tuple[bytes | None, list[str]]:
    """(the CA's root, what to tell): the file that is there, or what the CA gives once its fingerprint is confirmed.

    Raises `UnableError` when the fingerprint is known, and the CA gives no such root.
    """
    if request.root_pem is not None and not request.root.exists():
        return request.root_pem, []
    if request.root.exists():
        return request.root.read_bytes(), []
    try:
        roots = asyncio.run(fetch_roots(request.directory))
    except ConnectionError as error:
        return None, [f"copy the CA's root certificate to {request.root} ({error})"]
    for pem in roots:
        fingerprint = fingerprint_of(pem)
        wanted = request.fingerprint.replace(":", "").lower() if request.fingerprint else None
        if fingerprint == wanted or (wanted is None and confirm(fingerprint)):
            return pem, []
    shown = ", ".join(map(fingerprint_of, roots))
    if request.fingerprint is not None:
        raise UnableError(
            f"the CA at {request.directory} sends the root {shown}, not {request.fingerprint}: compare on the CA's"
            f" node; nothing was written"
        )
    compare = "compare on the CA's node, then give it by --fingerprint"
    return None, [f"the CA's root was not accepted: the CA sends {shown} ({compare})"]


def head_of(request: InitRequest, root: bytes | None) -> str:
    """The configuration before its certificates."""
    fingerprint = fingerprint_of(root) if root is not None else None
    path = request.root.absolute()
    name = request.node.name or socket.gethostname()
    return config_template.head(name, request.directory, path, fingerprint, nameservers(), request.node)


def next_commands(*, write: bool) -> list[str]:
    """What a person runs after this one, in this container or on its host."""
    if not write:
        return ["run the same command with --write"]
    return [f"{how_to_start('agent')}; then certagent check"]


def node_addresses() -> tuple[str, ...]:
    """This node's own, without loopback."""
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


def _found_services(found: FoundServices, drafts: Sequence[Draft]) -> list[str]:
    names = {draft.file: ", ".join(draft.names) for draft in drafts}
    pairs = [
        f"{pair.service} serves {pair.certificate} for {names.get(pair.certificate) or 'no name'}"
        for pair in found.pairs
    ]
    return [*pairs, *found.seen]


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
            f"Traefik reads {traefik.filename} alone: move it to a separate folder, and set "
            f"providers.file.directory to that in place of providers.file.filename, so that certagent can add "
            f"files there"
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
        "before you set manage = true for a certificate of {0}: stop {0}'s own renewals, and make the service"
        " read the pair from a separate folder"
    )
    steps += [takeover.format(renewer) for renewer in renewers]
    wild = [name for draft in drafts if draft.watched_because for name in draft.names if is_wildcard(name)]
    if wild:
        steps.append(f"{', '.join(wild)}: only dns-01 proves a wildcard; complete its solver, then set manage = true")
    return steps


def _first_orders(drafts: Sequence[Draft]) -> list[str]:
    managed = [draft for draft in drafts if draft.renewer is None and draft.watched_because is None]
    if not managed:
        return []
    names = ", ".join(f"{draft.name} ({', '.join(draft.names)})" for draft in managed)
    return [f"at its first start, the agent orders a new certificate for {names}, whatever is there now"]


def _collector_by_hand(request: InitRequest) -> list[str]:
    if request.node.collector_url is not None:
        return []
    return [
        f"only if there is a collector: complete [collector] (url, addresses) in {request.configuration} before you "
        f"start the service; without one, nothing is reported and no rehearsal is possible"
    ]


def _place(unreadable: Unreadable) -> str:
    return unreadable.file if unreadable.line is None else f"{unreadable.file}:{unreadable.line}"


def _snippet(server: str, name: str) -> str:
    """As in the tree's `deploy`; the wheel carries it."""
    packaged = Path(__file__).parents[1] / "snippets" / server / name
    tree = Path(__file__).parents[2] / "deploy" / server / name
    return (packaged if packaged.is_file() else tree).read_text(encoding="utf-8")


def _challenge_router(traefik: TraefikProvider) -> str:
    """On the entry point that is port 80's here."""
    router, name = _snippet("traefik", CHALLENGE_YAML), traefik.plain_entry_point or "web"
    return router if name == "web" else router.replace("entryPoints: [web]", f"entryPoints: [{json.dumps(name)}]")


def fingerprint_of(pem: bytes) -> str:
    """SHA-256 of the first certificate, in hexadecimal. Raises ValueError for what holds none."""
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


def nameservers() -> list[str]:
    """Those of this node's resolv.conf."""
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = (line.split() for line in lines)
    return [word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and is_address(word[1])]
