"""The command line: wiring and rendering. What a command does is in `certagent.commands`; imports are late, so that
each command starts with only what it needs."""

import sys
from pathlib import Path

import click

from certagent import __version__
from certagent.commands import collector_node
from certagent.commands.options import (
    EXISTING_FILE,
    Answer,
    answer_of,
    answers,
    as_text,
    challenge_option,
    config_option,
    require_text,
    settings_if_any,
    usage_errors,
    wants_json,
)
from certagent.config import (
    DEFAULT_AGENT_PATH,
    DEFAULT_COLLECTOR_PATH,
    ConfigurationError,
    load_agent,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="certagent")
def commands() -> None:
    """Looks after the TLS certificates of a fleet of containers with a private Step-CA.

    Exit status: 0 proceed or done, 1 could not do its work, 2 usage or configuration, 3 done with warnings,
    4 blocked, failed, or findings of `error` and above.
    """


@commands.command()
@config_option(DEFAULT_AGENT_PATH)
def agent(path: Path) -> None:
    """Run this container's agent."""
    from certagent.commands.agent import run_agent

    run_agent(path)


@commands.command()
@config_option(DEFAULT_COLLECTOR_PATH)
def collector(path: Path) -> None:
    """Run the fleet's collector."""
    from certagent.commands.collector import run_collector

    run_collector(path)


@commands.command()
@click.argument("identifiers", nargs=-1)
@answers(DEFAULT_AGENT_PATH)
def check(identifiers: tuple[str, ...], path: Path) -> Answer:
    """Run the preflight check for IDENTIFIERS (default: all of this node)."""
    from certagent.commands import check as command

    return answer_of(command, command.check(load_agent(path), identifiers))


@commands.command()
@click.argument("names", nargs=-1)
@click.option("--force", is_flag=True, help="Renew even if not due.")
@answers(DEFAULT_AGENT_PATH)
def renew(names: tuple[str, ...], force: bool, path: Path) -> Answer:
    """Renew the certificates NAMES (default: all that are due)."""
    from certagent.commands import renew as command

    return answer_of(command, command.renew(load_agent(path), names, force=force))


@commands.command()
@answers(DEFAULT_AGENT_PATH)
def status(path: Path) -> Answer:
    """Show each certificate: on disk, served, due, last outcome."""
    from certagent.commands import status as command

    return answer_of(command, command.status(load_agent(path)))


@commands.command()
@click.argument("name")
@click.option(
    "--reason",
    type=click.Choice(["unspecified", "key-compromise", "affiliation-changed", "superseded", "cessation"]),
    default="unspecified",
    show_default=True,
)
@answers(DEFAULT_AGENT_PATH)
def revoke(name: str, reason: str, path: Path) -> Answer:
    """Revoke the certificate NAME at the CA and renew it with a new key at once."""
    from certagent.commands import revoke as command

    return answer_of(command, command.revoke(load_agent(path), name, reason))


@commands.command()
@answers(DEFAULT_AGENT_PATH)
def account(path: Path) -> Answer:
    """Show this node's account at the CA and the nginx snippet for the solver `stateless`."""
    from certagent.commands import account as command

    return answer_of(command, command.account(load_agent(path)))


@commands.command()
@click.argument("name")
@click.option("--fleet", is_flag=True, help="Also show how the CA reaches it, as known to the collector.")
@answers(DEFAULT_AGENT_PATH)
def resolve(name: str, fleet: bool, path: Path) -> Answer:
    """Resolve NAME by the hosts file, each nameserver, libc and Go, side by side."""
    from certagent.commands import resolve as command

    return answer_of(command, command.resolve(settings_if_any(path), name, fleet=fleet))


@commands.command()
@click.argument("name")
@click.option("--format", "form", type=click.Choice(["text", "mermaid"]), default="text", show_default=True)
@challenge_option
@answers(DEFAULT_AGENT_PATH)
def trace(name: str, form: str, challenge: str | None, path: Path) -> Answer:
    """Show the intended and the actual path of NAME's challenge, hop by hop."""
    from certagent.commands import trace as command

    document = command.trace(settings_if_any(path), name, challenge)
    render = command.render_mermaid if form == "mermaid" else command.render
    return Answer(document, render, command.exit_status(document))


@commands.command()
@click.option("--hosts", type=EXISTING_FILE, help="Check this file instead of /etc/hosts.")
@click.option("--resolv-conf", type=EXISTING_FILE, help="Check this file instead of /etc/resolv.conf.")
@click.option("--nsswitch", type=EXISTING_FILE, help="Check this file instead of /etc/nsswitch.conf.")
@answers(DEFAULT_AGENT_PATH)
def lint(hosts: Path | None, resolv_conf: Path | None, nsswitch: Path | None, path: Path) -> Answer:
    """Check this node's resolver files without network and without an agent."""
    from certagent.commands import lint as command

    files = {"/etc/hosts": hosts, "/etc/resolv.conf": resolv_conf, "/etc/nsswitch.conf": nsswitch}
    given = {live: file for live, file in files.items() if file is not None}
    return answer_of(command, command.lint(settings_if_any(path), given))


@commands.command()
@click.argument("code", required=False)
@click.option("--all", "is_all", is_flag=True, help="Every code.")
@answers(None)
def explain(code: str | None, is_all: bool) -> Answer:
    """Explain the finding CODE: what it means, its usual cause, what to do, and an example."""
    from certagent.commands import explain as command

    if (code is None) is not is_all:
        raise click.UsageError("give a code, or --all")
    with usage_errors():
        return answer_of(command, command.explain_all() if code is None else command.explain(code))


@commands.command()
@click.argument("name")
@click.option("--hosts", type=EXISTING_FILE, help="Proposed replacement for /etc/hosts.")
@click.option("--resolv-conf", type=EXISTING_FILE, help="Proposed replacement for /etc/resolv.conf.")
@challenge_option
@answers(DEFAULT_AGENT_PATH)
def whatif(name: str, hosts: Path | None, resolv_conf: Path | None, challenge: str | None, path: Path) -> Answer:
    """Test what a proposed file would do to NAME; the live file stays untouched."""
    from certagent.commands import whatif as command

    proposed = {"/etc/hosts": hosts, "/etc/resolv.conf": resolv_conf}
    given = {live: file for live, file in proposed.items() if file is not None}
    if not given:
        raise click.UsageError("say what is proposed: --hosts FILE or --resolv-conf FILE")
    return answer_of(command, command.whatif(settings_if_any(path), name, given, challenge))


@commands.command()
@click.argument("incident", required=False)
@click.option("--apply", "does_apply", is_flag=True, help="Apply the edit; a backup is kept.")
@click.option("--undo", "does_undo", is_flag=True, help="Undo the latest fix.")
@answers(DEFAULT_AGENT_PATH)
def fix(incident: str | None, does_apply: bool, does_undo: bool, path: Path) -> Answer:
    """Show or apply the edit that fixes this node's resolver files (or only what INCIDENT names)."""
    from certagent.commands import fix as command

    if does_undo and (does_apply or incident is not None):
        raise click.UsageError("--undo stands alone: it takes the latest fix back")
    settings = load_agent(path)
    document = command.undo(settings) if does_undo else command.fix(settings, incident, apply=does_apply)
    return answer_of(command, document)


@commands.command()
@click.option("--directory", default="https://ca.example:9000/acme/acme/directory", help="The CA's ACME directory.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("/etc/certagent/root_ca.crt"), show_default=True)
@click.option("--fingerprint", help="Expected SHA-256 of the CA's root; without it you are asked to confirm.")
@click.option(
    "--import",
    "imports",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Renewals of certbot (/etc/letsencrypt), lego (.lego), acme.sh (.acme.sh) or Traefik (acme.json), or a JSON"
    " list; may be repeated.",
)
@click.option("--write", is_flag=True, help="Write the files; without it, only show what would be written.")
@answers(DEFAULT_AGENT_PATH)
def init(
    directory: str,
    root: Path,
    fingerprint: str | None,
    imports: tuple[Path, ...],
    write: bool,
    path: Path,
) -> Answer:
    """Detect nginx, Traefik and the CA's root, and generate a commented configuration.

    Only new files are written; what has to be edited by hand is listed.
    """
    from certagent.commands import UnableError
    from certagent.commands import init as command

    def confirm(found: str) -> bool:
        asked = f"The CA gives this root: sha256 {found}. Is it the one on the CA's node?"
        return not wants_json() and sys.stdin.isatty() and click.confirm(asked, err=True)

    request = command.InitRequest(
        directory=directory, root=root, configuration=path, fingerprint=fingerprint, imports=imports
    )
    try:
        with usage_errors():
            return answer_of(command, command.init(request, confirm, write=write))
    except command.ExistsError as error:
        raise click.UsageError(f"{error}; certagent init overwrites nothing") from error
    except OSError as error:
        raise UnableError(f"{error.filename or path} cannot be used: {error.strerror or error}") from error


for group in (collector_node.token, collector_node.store, collector_node.channel, collector_node.user):
    commands.add_command(group)


def main() -> None:
    """The entry point: what can go wrong for a known reason is one sentence, with --json a document, too, and an exit
    status."""
    from certagent.commands import UnableError
    from certagent.system.control_client import NoAnswerError

    words = sys.argv[1:]
    try:
        require_text(words)
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
        click.echo(as_text({"error": sentence}))
    sys.exit(status)


if __name__ == "__main__":
    main()
