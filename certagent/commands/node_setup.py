"""The subcommands that set a node up: `init` for an agent, the agent beside the CA, or the collector; `enrol` on the
collector's node and `join` in the container."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from click.core import ParameterSource

from certagent.commands.options import EXISTING_FILE, Answer, answer_of, answers, usage_errors, wants_json
from certagent.commands.terminal import asking
from certagent.config import DEFAULT_AGENT_PATH, DEFAULT_COLLECTOR_PATH

_EXAMPLE_DIRECTORY = "https://ca.example:9000/acme/acme/directory"
_OF_ROLE = {
    "url": {"collector"},
    "ca_json": {"authority"},
    "provisioner": {"authority"},
    "imports": {"agent"},
    "zones": {"authority", "collector"},
    "ca_addresses": {"collector"},
}
"""Which options go with which role; the others with all."""


@click.command()
@click.option("--collector", "role", flag_value="collector", help="Set up the collector, and the agent beside it.")
@click.option("--authority", "role", flag_value="authority", help="Set up the agent beside the CA, from its ca.json.")
@click.option("--directory", help="The CA's ACME directory.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("/etc/certagent/root_ca.crt"), show_default=True)
@click.option("--fingerprint", help="Expected SHA-256 of the CA's root; without it you are asked to confirm.")
@click.option("--url", help="--collector: where agents and people reach it, https://HOST:PORT.")
@click.option("--ca-address", "ca_addresses", multiple=True, help="--collector: the CA's address, for when DNS fails.")
@click.option("--ca-json", type=click.Path(path_type=Path), help="--authority: the CA's configuration file.")
@click.option("--provisioner", help="--authority: the ACME provisioner, where there are several.")
@click.option("--zone", "zones", multiple=True, help="A domain of the fleet; may be repeated.")
@click.option(
    "--import",
    "imports",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Renewals of certbot (/etc/letsencrypt), lego (.lego), acme.sh (.acme.sh) or Traefik (acme.json), or a JSON"
    " list; may be repeated.",
)
@click.option("--write", is_flag=True, help="Write the files; without it, only show what would be written.")
@click.option("--start", is_flag=True, help="--write: then start the service, now and at each boot.")
@answers(DEFAULT_AGENT_PATH)
def init(role: str | None, path: Path, write: bool, **said: Any) -> Answer:
    """Detect what is here, and generate a commented configuration.

    nginx, Traefik and the CA's root are detected automatically. With --collector or --authority, the configuration is
    that of the collector, or of the agent beside the CA. Only new files are written; edits to make by hand and the
    next command are listed.
    """
    from certagent.commands import UnableError
    from certagent.commands.new_files import ExistsError

    role = role or "agent"
    _check_options(role, said)
    if said["start"] and not write:
        raise click.UsageError("--start requires --write")
    try:
        with usage_errors():
            return _INITS[role](path, said, write)
    except ExistsError as error:
        raise click.UsageError(f"{error}; certagent init overwrites nothing") from error
    except OSError as error:
        raise UnableError(f"{error.filename or path} cannot be used: {error.strerror or error}") from error


def _check_options(role: str, said: dict[str, Any]) -> None:
    """Raises UsageError for an option that means nothing there."""
    for name, roles in _OF_ROLE.items():
        if said[name] and role not in roles:
            option = next(one.opts[0] for one in init.params if one.name == name)
            given = [f"--{one}" for one in sorted(roles) if one != "agent"]
            raise click.UsageError(f"{option} goes with {' or '.join(given) or 'neither --authority nor --collector'}")


def _init_agent(path: Path, said: dict[str, Any], write: bool) -> Answer:
    from certagent.commands import init as command

    request = command.InitRequest(
        directory=said["directory"] or _EXAMPLE_DIRECTORY,
        root=said["root"],
        configuration=path,
        fingerprint=said["fingerprint"],
        imports=said["imports"],
    )
    return _answer(command.init(request, _confirm, write=write), "agent" if said["start"] else None)


def _init_authority(path: Path, said: dict[str, Any], write: bool) -> Answer:
    from certagent.commands import init_authority as command

    request = command.AuthorityRequest(
        root=said["root"],
        configuration=path,
        ca_file=said["ca_json"],
        directory=said["directory"],
        provisioner=said["provisioner"],
        zones=said["zones"],
    )
    return _answer(command.init(request, _confirm, write=write), "agent" if said["start"] else None)


def _init_collector(path: Path, said: dict[str, Any], write: bool) -> Answer:
    from certagent.commands import init_collector as command

    is_default = click.get_current_context().get_parameter_source("path") is ParameterSource.DEFAULT
    request = command.CollectorRequest(
        configuration=DEFAULT_COLLECTOR_PATH if is_default else path,
        root=said["root"],
        url=said["url"],
        directory=said["directory"],
        fingerprint=said["fingerprint"],
        ca_addresses=said["ca_addresses"],
        zones=said["zones"],
    )
    return _answer(command.init(request, _confirm, write=write), "collector" if said["start"] else None)


def _answer(document: dict[str, Any], started: str | None = None) -> Answer:
    """`started`: the role whose service is to be started."""
    command: ModuleType
    from certagent.commands import init as command
    from certagent.commands.service_start import add_start

    if started is not None:
        add_start(document, started)
    return answer_of(command, document)


_INITS: dict[str, Callable[[Path, dict[str, Any], bool], Answer]] = {
    "agent": _init_agent,
    "authority": _init_authority,
    "collector": _init_collector,
}


@click.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["agent", "authority"]), default="agent", show_default=True)
@click.option("--url", help="Where agents reach this collector, if its configuration does not say so.")
@click.option("--address", "addresses", multiple=True, help="Its address, for when DNS fails; default: this node's.")
@click.option("--directory", help="The CA's ACME directory; default: as the agent on this node has it.")
@click.option("--root-ca", "roots", type=EXISTING_FILE, multiple=True, help="The CA's root; default: likewise.")
@click.option("--agent-config", type=click.Path(path_type=Path), default=DEFAULT_AGENT_PATH, show_default=True)
@answers(DEFAULT_COLLECTOR_PATH)
def enrol(path: Path, agent_config: Path, **said: Any) -> Answer:
    """Print one line that makes a container the agent NAME.

    `certagent join` there reads it from standard input. It holds a secret: good once, for 15 minutes, for NAME alone.
    """
    from certagent.commands import enrol as command
    from certagent.config import load_agent, load_collector

    agent = load_agent(agent_config, with_secrets=False) if agent_config.exists() else None
    with usage_errors():
        document = command.enrol(load_collector(path), command.EnrolRequest(agent=agent, **said))
    if not wants_json():
        click.echo(command.hint(document, is_piped=not sys.stdout.isatty()), err=True)
    return answer_of(command, document)


@click.command()
@click.option("--root", type=click.Path(path_type=Path), default=Path("/etc/certagent/root_ca.crt"), show_default=True)
@click.option("--token", type=click.Path(path_type=Path), default=Path("/etc/certagent/token"), show_default=True)
@click.option("--start", is_flag=True, help="Then start the agent, now and at each boot.")
@answers(DEFAULT_AGENT_PATH)
def join(path: Path, token: Path, root: Path, start: bool) -> Answer:
    """Make this container the agent named in `certagent enrol`.

    Its line is read from standard input; it brings this node's token, the CA's root and a configuration. Only new files
    are written.
    """
    from certagent.commands import UnableError
    from certagent.commands import join as command
    from certagent.commands.service_start import add_start

    request = command.JoinRequest(configuration=path, token=token, root=root)
    try:
        with usage_errors():
            document = command.join(request, _read_line())
        if start:
            add_start(document, "agent")
        return answer_of(command, document)
    except OSError as error:
        raise UnableError(f"{error.filename or path} cannot be used: {error.strerror or error}") from error


def _read_line() -> str:
    """From a terminal without showing it; else what is piped in, no further than a line may be long."""
    from certagent.domain.enrolment import LONGEST_LINE

    if sys.stdin.isatty():
        with asking():
            return str(click.prompt("The line of `certagent enrol`", hide_input=True, err=True))
    return sys.stdin.buffer.read(2 * LONGEST_LINE + 1).decode("ascii", "replace")


def _confirm(found: str) -> bool:
    asked = f"The CA sends this root: sha256 {found}. Is it the one on the CA's node?"
    if wants_json() or not sys.stdin.isatty():
        return False
    with asking():
        return click.confirm(asked, err=True)
