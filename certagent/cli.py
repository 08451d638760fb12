"""The command line: wiring and rendering. What a command does is in `certagent.commands`; imports are late, so that
each command starts with only what it needs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from certagent import __version__
from certagent.config import DEFAULT_AGENT_PATH, DEFAULT_COLLECTOR_PATH, ConfigurationError

_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, nothing else.")


def _config(default: Path) -> Callable[[Any], Any]:
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        default=default,
        show_default=True,
        help="The configuration file.",
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="certagent")
def commands() -> None:
    """Looks after the TLS certificates of a fleet of containers with a private Step-CA.

    Exit status: 0 proceed or done, 1 could not do its work, 2 usage or configuration, 3 done with warnings,
    4 blocked, failed, or findings of `error` and above.
    """


@commands.command()
@_config(DEFAULT_AGENT_PATH)
def agent(path: Path) -> None:
    """Run this container's agent."""
    from certagent.agent.app import main as run_agent

    run_agent(path)


@commands.command()
@_config(DEFAULT_COLLECTOR_PATH)
def collector(path: Path) -> None:
    """Run the fleet's collector."""
    from certagent.commands.collector import run_collector

    run_collector(path)


@commands.command()
@click.argument("identifiers", nargs=-1)
@_config(DEFAULT_AGENT_PATH)
@_as_json
def check(identifiers: tuple[str, ...], path: Path, as_json: bool) -> None:
    """Preflight now for IDENTIFIERS (default: all of this node)."""
    from certagent.commands import check as command
    from certagent.config import load_agent

    document = command.check(load_agent(path), identifiers)
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.command()
@click.argument("names", nargs=-1)
@click.option("--force", is_flag=True, help="Although it is not due.")
@_config(DEFAULT_AGENT_PATH)
@_as_json
def renew(names: tuple[str, ...], force: bool, path: Path, as_json: bool) -> None:
    """Renew certificates by NAMES (default: all that are due)."""
    from certagent.commands import renew as command
    from certagent.config import load_agent

    document = command.renew(load_agent(path), names, force=force)
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.command()
@_config(DEFAULT_AGENT_PATH)
@_as_json
def status(path: Path, as_json: bool) -> None:
    """Certificates: on disk, served, due, last outcome."""
    from certagent.commands import status as command
    from certagent.config import load_agent

    document = command.status(load_agent(path))
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.command()
@click.option("--directory", default="https://ca.example:9000/acme/acme/directory", help="The CA's ACME directory.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("/etc/certagent/root_ca.crt"), show_default=True)
@click.option("--write", type=click.Path(path_type=Path), help="Write it there; a file that exists is left alone.")
@_as_json
def init(directory: str, root: Path, write: Path | None, as_json: bool) -> None:
    """Detect nginx and Traefik here, and print a commented configuration."""
    from certagent.commands import init as command

    try:
        document = command.init(root, directory, write)
    except FileExistsError as error:
        raise click.UsageError(f"{write} exists; certagent init overwrites nothing") from error
    _finish(document, command.render, 0, as_json)


@commands.group()
def token() -> None:
    """The agents' tokens, on the collector's node."""


@token.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["agent", "authority", "operator"]), default="agent", show_default=True)
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def token_add(name: str, role: str, path: Path, as_json: bool) -> None:
    """Make a token for NAME and print it, this once."""
    from certagent.commands import token as command
    from certagent.config import load_collector

    document = command.add(load_collector(path), name, role)
    _finish(document, command.render, command.exit_status(document), as_json)


@token.command("list")
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def token_list(path: Path, as_json: bool) -> None:
    """Names, roles and ages; never the tokens."""
    from certagent.commands import token as command
    from certagent.config import load_collector

    document = command.list_(load_collector(path))
    _finish(document, command.render, command.exit_status(document), as_json)


@token.command("revoke")
@click.argument("name")
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def token_revoke(name: str, path: Path, as_json: bool) -> None:
    """Make the token of NAME worthless."""
    from certagent.commands import token as command
    from certagent.config import load_collector

    document = command.revoke(load_collector(path), name)
    _finish(document, command.render, command.exit_status(document), as_json)


def _finish(document: dict[str, Any], render: Callable[[dict[str, Any]], str], exit_status: int, as_json: bool) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else render(document))
    sys.exit(exit_status)


def main() -> None:
    """The entry point: what can go wrong for a known reason is one sentence and an exit status."""
    from certagent.world.agent_socket import AgentNotRunningError

    try:
        commands()
    except ConfigurationError as error:
        click.echo(f"certagent: {error}", err=True)
        sys.exit(2)
    except AgentNotRunningError as error:
        click.echo(f"certagent: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
