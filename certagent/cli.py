"""The command line: wiring and rendering. What a command does is in `certagent.commands`; imports are late, so that
each command starts with only what it needs."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certagent import __version__
from certagent.config import DEFAULT_AGENT_PATH, DEFAULT_COLLECTOR_PATH, ConfigurationError

if TYPE_CHECKING:
    from certagent.config import AgentSettings

_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output, nothing else.")

_challenge = click.option(
    "--challenge",
    type=click.Choice(["http-01", "tls-alpn-01", "dns-01"]),
    help="How the CA asks; by default as the certificate of NAME in the configuration says, else http-01.",
)

_file = click.Path(path_type=Path, exists=True, dir_okay=False)


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
    from certagent.commands.agent import run_agent

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
@click.argument("name")
@click.option(
    "--reason",
    type=click.Choice(["unspecified", "key-compromise", "affiliation-changed", "superseded", "cessation"]),
    default="unspecified",
    show_default=True,
)
@_config(DEFAULT_AGENT_PATH)
@_as_json
def revoke(name: str, reason: str, path: Path, as_json: bool) -> None:
    """Have the CA revoke the certificate NAME, and renew it with a new key at once."""
    from certagent.commands import revoke as command
    from certagent.config import load_agent

    document = command.revoke(load_agent(path), name, reason)
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.command()
@_config(DEFAULT_AGENT_PATH)
@_as_json
def account(path: Path, as_json: bool) -> None:
    """This node's account at the CA, and nginx's lines for the solver `stateless`."""
    from certagent.commands import account as command
    from certagent.config import load_agent

    document = command.account(load_agent(path))
    _finish(document, command.render, 0, as_json)


@commands.command()
@click.argument("name")
@click.option("--fleet", is_flag=True, help="Also the CA's way to it, as the collector knows it.")
@_config(DEFAULT_AGENT_PATH)
@_as_json
def resolve(name: str, fleet: bool, path: Path, as_json: bool) -> None:
    """NAME by the hosts file, each nameserver, this libc and Go, side by side."""
    from certagent.commands import resolve as command

    document = command.resolve(_settings_if_any(path), name, fleet=fleet)
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.command()
@click.argument("name")
@click.option("--format", "form", type=click.Choice(["text", "mermaid"]), default="text", show_default=True)
@_challenge
@_config(DEFAULT_AGENT_PATH)
@_as_json
def trace(name: str, form: str, challenge: str | None, path: Path, as_json: bool) -> None:
    """The intended and the actual path of NAME's challenge, hop by hop."""
    from certagent.commands import trace as command

    document = command.trace(_settings_if_any(path), name, challenge)
    render = command.render_mermaid if form == "mermaid" else command.render
    _finish(document, render, command.exit_status(document), as_json)


@commands.command()
@click.option("--hosts", type=_file, help="Looked at in the place of /etc/hosts.")
@click.option("--resolv-conf", type=_file, help="Looked at in the place of /etc/resolv.conf.")
@click.option("--nsswitch", type=_file, help="Looked at in the place of /etc/nsswitch.conf.")
@_config(DEFAULT_AGENT_PATH)
@_as_json
def lint(hosts: Path | None, resolv_conf: Path | None, nsswitch: Path | None, path: Path, as_json: bool) -> None:
    """What is wrong with this node's files, from the files alone: no network, no agent."""
    from certagent.commands import lint as command

    files = {"/etc/hosts": hosts, "/etc/resolv.conf": resolv_conf, "/etc/nsswitch.conf": nsswitch}
    given = {live: file for live, file in files.items() if file is not None}
    document = command.lint(_settings_if_any(path), given)
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.command()
@click.argument("name")
@click.option("--hosts", type=_file, help="Proposed in the place of /etc/hosts.")
@click.option("--resolv-conf", type=_file, help="Proposed in the place of /etc/resolv.conf.")
@_challenge
@_config(DEFAULT_AGENT_PATH)
@_as_json
def whatif(
    name: str, hosts: Path | None, resolv_conf: Path | None, challenge: str | None, path: Path, as_json: bool
) -> None:
    """Prove a proposed file for NAME before making it; the live one stays untouched."""
    from certagent.commands import whatif as command

    proposed = {"/etc/hosts": hosts, "/etc/resolv.conf": resolv_conf}
    given = {live: file for live, file in proposed.items() if file is not None}
    if not given:
        raise click.UsageError("say what is proposed: --hosts FILE or --resolv-conf FILE")
    document = command.whatif(_settings_if_any(path), name, given, challenge)
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.command()
@click.argument("incident", required=False)
@click.option("--apply", "does_apply", is_flag=True, help="Make the edit; a backup is kept.")
@click.option("--undo", "does_undo", is_flag=True, help="Take the latest fix back.")
@_config(DEFAULT_AGENT_PATH)
@_as_json
def fix(incident: str | None, does_apply: bool, does_undo: bool, path: Path, as_json: bool) -> None:
    """Show, or make, the edit that takes what is wrong out of this node's resolver files (or only INCIDENT's)."""
    from certagent.commands import fix as command
    from certagent.config import load_agent

    if does_undo and (does_apply or incident is not None):
        raise click.UsageError("--undo stands alone: it takes the latest fix back")
    settings = load_agent(path)
    document = command.undo(settings) if does_undo else command.fix(settings, incident, apply=does_apply)
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.command()
@click.option("--directory", default="https://ca.example:9000/acme/acme/directory", help="The CA's ACME directory.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("/etc/certagent/root_ca.crt"), show_default=True)
@click.option("--fingerprint", help="SHA-256 of the CA's root, known from elsewhere; without it a person is asked.")
@click.option(
    "--import",
    "imports",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Renewals of certbot's (/etc/letsencrypt), lego's (.lego), or a list in JSON; may be given more than once.",
)
@click.option("--write", is_flag=True, help="Write the files; without it only say what would be written.")
@_config(DEFAULT_AGENT_PATH)
@_as_json
def init(
    directory: str,
    root: Path,
    fingerprint: str | None,
    imports: tuple[Path, ...],
    write: bool,
    path: Path,
    as_json: bool,
) -> None:
    """Detect nginx, Traefik and the CA's root here, and make a commented configuration of it.

    Only new files are ever written; what has to be edited is said.
    """
    from certagent.commands import UnableError
    from certagent.commands import init as command

    def confirm(found: str) -> bool:
        asked = f"The CA gives this root: sha256 {found}. Is it the one on the CA's node?"
        return not as_json and sys.stdin.isatty() and click.confirm(asked, err=True)

    request = command.InitRequest(
        directory=directory, root=root, configuration=path, fingerprint=fingerprint, imports=imports
    )
    try:
        document = command.init(request, confirm, write=write)
    except command.ExistsError as error:
        raise click.UsageError(f"{error}; certagent init overwrites nothing") from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise UnableError(f"{error.filename or path} cannot be used: {error.strerror or error}") from error
    _finish(document, command.render, 0, as_json)


@commands.group()
def token() -> None:
    """The agents' tokens, on the collector's node."""


@token.command("add")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["agent", "authority", "operator", "viewer"]), default="agent", show_default=True
)
@click.option("--certificate", metavar="IDENTIFIER", help="No token: who shows a certificate of IDENTIFIER is NAME.")
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def token_add(name: str, role: str, certificate: str | None, path: Path, as_json: bool) -> None:
    """Make a token for NAME and print it, this once."""
    from certagent.commands import token as command
    from certagent.config import load_collector

    with _usage():
        document = command.add(load_collector(path), name, role, certificate)
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
@click.option("--older", is_flag=True, help="All but the newest: the end of a rotation.")
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def token_revoke(name: str, older: bool, path: Path, as_json: bool) -> None:
    """Make the tokens of NAME worthless."""
    from certagent.commands import token as command
    from certagent.config import load_collector

    document = command.revoke(load_collector(path), name, older=older)
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.group()
def store() -> None:
    """The collector's database, on the collector's node."""


@store.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def store_backup(file: Path, path: Path, as_json: bool) -> None:
    """Copy the database into FILE, beside the running collector."""
    from certagent.commands import store as command
    from certagent.config import load_collector

    document = command.backup(load_collector(path), file)
    _finish(document, command.render, 0, as_json)


@store.command("restore")
@click.argument("file", type=_file)
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def store_restore(file: Path, path: Path, as_json: bool) -> None:
    """Fill an empty database with what `backup` put into FILE."""
    from certagent.commands import store as command
    from certagent.config import load_collector

    document = command.restore_(load_collector(path), file)
    _finish(document, command.render, 0, as_json)


@commands.group()
def channel() -> None:
    """The ways to a person, on the collector's node."""


@channel.command("test")
@click.argument("name")
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def channel_test(name: str, path: Path, as_json: bool) -> None:
    """Send a message to the channel NAME now."""
    from certagent.commands import channel as command
    from certagent.config import load_collector

    try:
        document = command.test(load_collector(path), name)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _finish(document, command.render, command.exit_status(document), as_json)


@commands.group()
def user() -> None:
    """The people who may log in to the page, on the collector's node."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["operator", "viewer"]), default="viewer", show_default=True)
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def user_add(name: str, role: str, path: Path, as_json: bool) -> None:
    """Let NAME log in. The password is asked for, or read as a line of standard input."""
    from certagent.commands import user as command
    from certagent.config import load_collector

    with _usage():
        document = command.add(load_collector(path), name, role, _ask_password())
    _finish(document, command.render, command.exit_status(document), as_json)


@user.command("passwd")
@click.argument("name")
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def user_passwd(name: str, path: Path, as_json: bool) -> None:
    """Give NAME another password, and end all sessions of NAME."""
    from certagent.commands import user as command
    from certagent.config import load_collector

    with _usage():
        document = command.passwd(load_collector(path), name, _ask_password())
    _finish(document, command.render, command.exit_status(document), as_json)


@user.command("list")
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def user_list(path: Path, as_json: bool) -> None:
    """Names and roles."""
    from certagent.commands import user as command
    from certagent.config import load_collector

    document = command.list_(load_collector(path))
    _finish(document, command.render, command.exit_status(document), as_json)


@user.command("remove")
@click.argument("name")
@_config(DEFAULT_COLLECTOR_PATH)
@_as_json
def user_remove(name: str, path: Path, as_json: bool) -> None:
    """NAME may not log in any more, and is logged out."""
    from certagent.commands import user as command
    from certagent.config import load_collector

    document = command.remove(load_collector(path), name)
    _finish(document, command.render, command.exit_status(document), as_json)


def _ask_password() -> str:
    """Twice on a terminal, without showing it; a pipe is read as it is."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\n")


@contextmanager
def _usage() -> Iterator[None]:
    """What a person asked for and cannot have is one sentence, and exit status 2."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _settings_if_any(path: Path) -> "AgentSettings | None":
    """What works alone works without a configuration, too, and without its secrets; but one that is named has to be
    there."""
    from certagent.config import load_agent

    return load_agent(path, with_secrets=False) if path != DEFAULT_AGENT_PATH or path.exists() else None


def _finish(document: dict[str, Any], render: Callable[[dict[str, Any]], str], exit_status: int, as_json: bool) -> None:
    from certagent.domain.redaction import without_secrets

    told = without_secrets(document)  # what a command looked at itself has met no policy yet
    click.echo(_as_text(told) if as_json else render(told))
    sys.exit(exit_status)


def _as_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def main() -> None:
    """The entry point: what can go wrong for a known reason is one sentence, with --json a document, too, and an exit
    status."""
    from certagent.commands import UnableError
    from certagent.system.control_client import NoAnswerError

    words = sys.argv[1:]
    try:
        _require_text(words)
        sys.exit(commands(words, standalone_mode=False))
    except click.ClickException as error:
        error.show()
        status, sentence = error.exit_code, error.format_message()
    except click.Abort:
        status, sentence = 1, "interrupted"
        click.echo(f"certagent: {sentence}", err=True)
    except (ConfigurationError, NoAnswerError, UnableError) as error:
        status, sentence = 2 if isinstance(error, ConfigurationError) else 1, str(error)
        click.echo(f"certagent: {sentence}", err=True)
    if "--json" in words:
        click.echo(_as_text({"error": sentence}))
    sys.exit(status)


def _require_text(words: list[str]) -> None:
    """What is no text can be no name, and stands in no document."""
    for word in words:
        if any("\ud800" <= one <= "\udfff" for one in word):
            raise click.UsageError(f"{word!a} is not UTF-8")


if __name__ == "__main__":
    main()
