"""`certagent join`: in a container, makes of the line of `certagent enrol` this node's token, the CA's root and a
configuration. New files only.

Nothing is sent before the collector has shown the certificate that the line names, and nothing is kept before the roots
that came are the line's.
"""

import asyncio
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certagent.commands import UnableError, init_authority
from certagent.commands import init as agent_init
from certagent.commands.config_template import NodeFacts
from certagent.commands.init import InitRequest
from certagent.commands.new_files import NewFile, plan_file
from certagent.commands.service_start import exit_status as exit_status
from certagent.domain.enrolment import Enrolment, EnrolmentLine, read_line
from certagent.system.files import create_file, create_private_file, make_public_folder
from certagent.system.regular_files import read_bytes

IS_VERBATIM = True
"""What it shows is copied, or piped on."""

ANSWER_SECONDS = 10.0
_CLOSE_SECONDS = 0.25  # aiohttp closes a connection to another server by itself, for which its loop has to live on
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,128}")


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Where the token, the CA's root and the configuration belong."""

    configuration: Path
    token: Path
    root: Path


def join(request: JoinRequest, pasted: str) -> dict[str, Any]:
    """The document of `certagent init`, with `name`, `role` and `collector`, and the token and the root among its
    changes, without their content.

    Raises ValueError for what is no such line, and for files that are there already; `UnableError` when the collector
    is not reached, is another one, or refuses.
    """
    line = read_line(pasted)
    _check_place(request, line)
    enrolment = asyncio.run(_exchange(line))
    roots = _roots_of(line, enrolment)
    made = _keep(request, enrolment, roots)
    document = _configure(request, line, enrolment)
    document["changes"] += msgspec.to_builtins(made)
    return {"name": line.name, "role": enrolment.role, "collector": line.url, **document}


def render(document: dict[str, Any]) -> str:
    """Who this node is now; then as `certagent init`."""
    joined = f"# {document['name']} is enrolled at {document['collector']} as {document['role']}"
    return f"{joined}\n{agent_init.render(document)}"


def _check_place(request: JoinRequest, line: EnrolmentLine) -> None:
    """Before the line is used up: whether what it brings can be kept here, and is for the agent that is set up here."""
    here = _name_in(request.configuration)
    if here not in (None, line.name):
        raise ValueError(
            f"the line is for {line.name}, and {request.configuration} names this agent {here}: certagent enrol {here},"
            f" or change the name there first"
        )
    if os.path.lexists(request.token):
        raise ValueError(f"{request.token} exists: this node already has a token; certagent join overwrites nothing")
    if not os.path.lexists(request.root):
        make_public_folder(request.token.parent)
        return
    try:
        present = {_sha256(one) for one in x509.load_pem_x509_certificates(read_bytes(request.root))}
    except ValueError:
        present = set()
    if not present & set(line.roots):
        raise ValueError(f"{request.root} contains none of the roots in the line; certagent join overwrites nothing")
    make_public_folder(request.token.parent)


def _name_in(configuration: Path) -> object:
    """The agent's name in it; None where there is none. Whether the agent takes the rest is not asked here."""
    if not os.path.lexists(configuration):
        return None
    try:
        return tomllib.loads(read_bytes(configuration).decode()).get("agent", {}).get("name")
    except (ValueError, AttributeError):
        return None


async def _exchange(line: EnrolmentLine) -> Enrolment:
    """The token for the line's secret. Raises `UnableError`."""
    import aiohttp

    from certagent.system.pinned_http import PinnedClient, failure_words

    pinned = aiohttp.Fingerprint(bytes.fromhex(line.certificate))
    form = {"name": line.name, "secret": line.secret}
    try:
        async with PinnedClient(line.url, (), line.addresses, {}, context=pinned) as client:
            status, body = await client.request(
                "POST", "/v1/enrolments", timeout=ANSWER_SECONDS, data=form, allow_redirects=False
            )
    except aiohttp.ServerFingerprintMismatch:
        await asyncio.sleep(_CLOSE_SECONDS)
        raise UnableError(
            f"{line.url} presents a certificate other than the one in the line, so nothing was sent: it is "
            f"another server, or the collector's certificate has been replaced; create a new line (certagent enrol)"
        ) from None
    except TimeoutError:
        raise UnableError(f"the collector at {line.url} did not answer in {ANSWER_SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise UnableError(f"the collector at {line.url} cannot be reached: {failure_words(error)}") from None
    if status != 200:
        raise UnableError(f"the collector at {line.url} refuses: {_detail(body) or f'status {status}'}")
    try:
        return msgspec.json.decode(body, type=Enrolment)
    except msgspec.DecodeError:
        raise UnableError(f"the collector at {line.url} did not answer with an enrolment") from None


def _detail(body: bytes) -> str:
    try:
        detail = msgspec.json.decode(body, type=dict[str, Any]).get("detail")
    except msgspec.DecodeError:
        return ""
    return detail if isinstance(detail, str) and detail.isprintable() else ""


def _roots_of(line: EnrolmentLine, enrolment: Enrolment) -> bytes:
    """The roots that came, made anew. Raises `UnableError` unless they are the line's, and the rest is as asked for."""
    try:
        found = x509.load_pem_x509_certificates(enrolment.roots.encode())
    except ValueError:
        found = []
    if (
        {_sha256(one) for one in found} != set(line.roots)
        or enrolment.name != line.name
        or not _TOKEN.fullmatch(enrolment.token)
    ):
        raise UnableError(f"the collector at {line.url} sent an answer that does not match the line: nothing was saved")
    return b"".join(one.public_bytes(Encoding.PEM) for one in found)


def _keep(request: JoinRequest, enrolment: Enrolment, roots: bytes) -> list[NewFile]:
    """The token first: it is handed out only once. Raises `UnableError`, OSError."""
    token, root = plan_file(request.token, ""), plan_file(request.root, "")
    create_private_file(request.token, enrolment.token + "\n")
    token.done = True
    if not root.exists:
        create_file(request.root, roots.decode())
        root.done = True
    return [token, root]


def _configure(request: JoinRequest, line: EnrolmentLine, enrolment: Enrolment) -> dict[str, Any]:
    """As `certagent init` does it, unless there is a configuration already."""
    if os.path.lexists(request.configuration):
        kept = plan_file(request.configuration, "")
        return {
            "found": [],
            "configuration": "",
            "changes": [msgspec.to_builtins(kept)],
            "by_hand": [] if _has_collector(request.configuration) else [_add_section(request, line)],
            "skipped": [],
            "next": agent_init.next_commands(write=True),
        }
    node = NodeFacts(
        name=line.name,
        ca_addresses=enrolment.ca_addresses,
        zones=enrolment.zones,
        collector_url=line.url,
        collector_addresses=line.addresses,
        token_file=request.token.absolute(),
    )
    try:
        return _init(request, enrolment, node)
    except (ValueError, OSError) as error:
        raise UnableError(
            f"{request.token} and {request.root} are in place, but no configuration could be generated: {error}."
            f" When that is fixed, run certagent init --write, and add to its result: {_section(line)}"
        ) from error


def _init(request: JoinRequest, enrolment: Enrolment, node: NodeFacts) -> dict[str, Any]:
    if enrolment.role == init_authority.ROLE:
        beside = init_authority.AuthorityRequest(
            root=request.root, configuration=request.configuration, directory=enrolment.directory, node=node
        )
        return init_authority.init(beside, _nobody, write=True)
    wanted = InitRequest(
        directory=enrolment.directory, root=request.root, configuration=request.configuration, node=node
    )
    return agent_init.init(wanted, _nobody, write=True)


def _has_collector(configuration: Path) -> bool:
    """One that cannot be read is not known to have it."""
    try:
        return "collector" in tomllib.loads(configuration.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _add_section(request: JoinRequest, line: EnrolmentLine) -> str:
    return f"add to {request.configuration}: {_section(line)}"


def _section(line: EnrolmentLine) -> str:
    return f"[collector] url = {line.url!r}, addresses = {list(line.addresses)}"


def _nobody(_: str) -> bool:
    return False


def _sha256(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()
