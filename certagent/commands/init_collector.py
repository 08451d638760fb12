"""`certagent init --collector`: the collector's configuration, and that of the agent beside it, which gets it a
certificate."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import msgspec

from certagent.commands import config_template
from certagent.commands.config_template import Draft, NodeFacts, quoted
from certagent.commands.init import Confirm, InitRequest, find_root, head_of, node_addresses, refusal
from certagent.commands.new_files import ExistsError, NewFile, plan_file, write_files
from certagent.commands.service_start import how_to_start
from certagent.config import ConfigurationError, load_collector
from certagent.domain.identifiers import flaw_of, is_wildcard

DEFAULT_PORT = 8843
CERTIFICATE, KEY = Path("/etc/certagent/collector.crt"), Path("/etc/certagent/collector.key")
AGENT_STATE = Path("/var/lib/certagent/agent")
GROUP = "certagent-collector"


class CollectorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the person said. `url`: where agents and people reach the collector (None: by the host's name).

    `directory`, `root`, `fingerprint`, `ca_addresses`, `zones`: the CA's and the fleet's, for the agent beside it;
    without a directory only the collector's own file is made.
    """

    configuration: Path
    root: Path
    url: str | None = None
    directory: str | None = None
    fingerprint: str | None = None
    ca_addresses: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()

    @property
    def agent_configuration(self) -> Path:
        """Of the agent beside the collector."""
        return self.configuration.parent / "agent.toml"


class _Address(msgspec.Struct, frozen=True):
    """Where the collector is reached."""

    url: str
    host: str
    port: int


def init(request: CollectorRequest, confirm: Confirm, *, write: bool) -> dict[str, Any]:
    """`{"found", "configuration", "changes", "by_hand", "skipped", "next"}`, as `certagent init`; `configuration` is
    the collector's.

    Raises `ExistsError` when everything that is to be written is there already, ValueError for a URL that cannot be
    the collector's and for what a loader refuses, OSError.
    """
    address = _address(request.url or f"https://{socket.gethostname()}:{DEFAULT_PORT}")
    configuration = config_template.collector(address.url, f"0.0.0.0:{address.port}", CERTIFICATE, KEY)
    _check(configuration)
    changes, notes = [plan_file(request.configuration, configuration)], list[str]()
    if request.directory is not None:
        beside, notes = _agent_files(request, address, confirm)
        changes += beside
    if write:
        if all(change.exists for change in changes):
            raise ExistsError(f"{request.configuration} exists")
        write_files(changes)
    return {
        "found": [f"the collector is reached at {address.url}"],
        "configuration": configuration,
        "changes": msgspec.to_builtins(changes),
        "by_hand": [*notes, *_left_to_a_person(request)],
        "skipped": [],
        "next": _next_commands(request, write=write),
    }


def _address(url: str) -> _Address:
    """Raises ValueError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError as error:
        raise ValueError(f"--url: {url!r} is not a URL: {error}") from error
    flaw = "is a wildcard" if is_wildcard(host) else flaw_of(host)
    if parts.scheme != "https" or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"--url: {url!r} is not https://HOST:PORT")
    if flaw is not None:
        raise ValueError(f"--url: {url!r}: its host {host!r} {flaw}")
    return _Address(url.rstrip("/"), host, port)


def _agent_files(request: CollectorRequest, address: _Address, confirm: Confirm) -> tuple[list[NewFile], list[str]]:
    """(its configuration, the CA's root if that is not there yet; what to tell). Raises ValueError."""
    addresses = node_addresses()
    node = NodeFacts(
        role="collector",
        state=AGENT_STATE,
        ca_addresses=request.ca_addresses,
        zones=request.zones or tuple(filter(None, [address.host.partition(".")[2]])),
        collector_url=address.url,
        collector_addresses=addresses,
    )
    wanted = InitRequest(
        directory=request.directory or "",
        root=request.root,
        configuration=request.agent_configuration,
        fingerprint=request.fingerprint,
        node=node,
    )
    root, notes = find_root(wanted, confirm)
    head, draft = head_of(wanted, root), _certificate(address, addresses)
    refused = refusal(head, [draft])
    if refused is not None:
        raise ValueError(f"no configuration can be generated for the agent: {refused}")
    files = [plan_file(request.agent_configuration, head + config_template.certificate(draft))]
    if root is not None and not request.root.exists():
        files.append(plan_file(request.root, root.decode()))
    return files, notes


def _certificate(address: _Address, addresses: tuple[str, ...]) -> Draft:
    """The collector's own, which it loads again by itself when it is reloaded."""
    ends = [f"[{one}]:{address.port}" if ":" in one else f"{one}:{address.port}" for one in addresses[:1]]
    return Draft(
        name="collector",
        names=(address.host,),
        file=CERTIFICATE,
        target=(
            'kind = "command"',
            f"certificate = {quoted(CERTIFICATE)}",
            f"key = {quoted(KEY)}",
            'owner = "root"',
            f"group = {quoted(GROUP)}",
            'command = ["systemctl", "reload", "certagent-collector.service"]',
        ),
        prove=tuple(ends or [f"127.0.0.1:{address.port}"]),
        listen="0.0.0.0:80",
    )


def _check(configuration: str) -> None:
    """By the collector's own loader. Raises ValueError."""
    with TemporaryDirectory(prefix="certagent-init-") as folder:
        file = Path(folder) / "collector.toml"
        file.write_text(configuration, encoding="utf-8")
        try:
            load_collector(file)
        except ConfigurationError as error:
            raise ValueError(f"no configuration can be generated: {str(error).removeprefix(f'{file}: ')}") from error


def _left_to_a_person(request: CollectorRequest) -> list[str]:
    steps = [f"in {request.configuration}: a [[channel]], so that somebody is notified of incidents"]
    if request.directory is None:
        steps.append(
            "the agent next to the collector, which gets it a trusted certificate: run the same command with "
            "--directory URL and --fingerprint HEX of the CA"
        )
    return steps


def _next_commands(request: CollectorRequest, *, write: bool) -> list[str]:
    if not write:
        return ["run the same command with --write"]
    commands = [how_to_start("collector")]
    if request.directory is not None:
        name = socket.gethostname()
        commands += [f"certagent enrol {name} | certagent join", how_to_start("agent")]
    return commands
