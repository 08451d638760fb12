"""The command line: wiring and rendering. What a command does is in `certagent.commands`; imports are late, so that
each command starts with only what it needs."""

import sys
from pathlib import Path
from typing import Any

import click

from certagent import __version__
from certagent.commands import collector_node, node_setup
from certagent.commands.groups import CommandGroup
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
    sources_options,
    usage_errors,
)
from certagent.config import (
    DEFAULT_AGENT_PATH,
    DEFAULT_COLLECTOR_PATH,
    ConfigurationError,
    load_agent,
)
from certagent.system.garbage import nothing_to_collect


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="certagent")
def commands() -> None:
    """Look after the TLS certificates of containers with a private Step-CA.

    `certagent help COMMAND` shows the help of a command.

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
    """Run the preflight check for IDENTIFIERS (default: all)."""
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
    """Show each certificate: on disk, served, due, last outcome.

    Exit status 4 when one has expired, or when its last outcome is blocked or failed.
    """
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
    """Revoke the certificate NAME at the CA, and renew it at once.

    The new one has a new key.
    """
    from certagent.commands import revoke as command

    return answer_of(command, command.revoke(load_agent(path), name, reason))


@commands.command()
@answers(DEFAULT_AGENT_PATH)
def account(path: Path) -> Answer:
    """Show this node's account at the CA.

    The output is the nginx snippet for the solver `stateless`, with the account's URL in a comment.
    """
    from certagent.commands import account as command

    return answer_of(command, command.account(load_agent(path)))


@commands.command()
@click.argument("name")
@click.option("--fleet", is_flag=True, help="Also show how the CA reaches it, as known to the collector.")
@answers(DEFAULT_AGENT_PATH)
def resolve(name: str, fleet: bool, path: Path) -> Answer:
    """Resolve NAME as hosts file, nameservers, libc and Go do."""
    from certagent.commands import resolve as command

    return answer_of(command, command.resolve(settings_if_any(path), name, fleet=fleet))


@commands.command()
@click.argument("name")
@click.option("--format", "form", type=click.Choice(["text", "mermaid"]), default="text", show_default=True)
@challenge_option
@answers(DEFAULT_AGENT_PATH)
def trace(name: str, form: str, challenge: str | None, path: Path) -> Answer:
    """Show the path of NAME's challenge, as intended and as it is.

    Hop by hop, with the culprit where it breaks.
    """
    from certagent.commands import trace as command

    document = command.trace(settings_if_any(path), name, challenge)
    render = command.render_mermaid if form == "mermaid" else command.render
    return Answer(document, render, command.exit_status(document), is_verbatim=form == "mermaid")


@commands.command()
@click.option("--hosts", type=EXISTING_FILE, help="Check this file instead of /etc/hosts.")
@click.option("--resolv-conf", type=EXISTING_FILE, help="Check this file instead of /etc/resolv.conf.")
@click.option("--nsswitch", type=EXISTING_FILE, help="Check this file instead of /etc/nsswitch.conf.")
@sources_options
@answers(DEFAULT_AGENT_PATH)
def lint(hosts: Path | None, resolv_conf: Path | None, nsswitch: Path | None, path: Path, **sources: Any) -> Answer:
    """Check resolver files, or provisioning code (--sources).

    Needs neither network nor agent. With --sources DIR, it checks what the provisioning code in DIR would write
    into such files instead.
    """
    files = {"/etc/hosts": hosts, "/etc/resolv.conf": resolv_conf, "/etc/nsswitch.conf": nsswitch}
    given = {live: file for live, file in files.items() if file is not None}
    if sources["root"] is not None:
        return _lint_sources(path, given, **sources)
    if any(value for name, value in sources.items() if name != "form") or sources["form"] != "text":
        raise click.UsageError("--dnsmasq, --nameserver, --zone, --authority, --node and --format require --sources")
    with nothing_to_collect():
        from certagent.commands import lint as command

    return answer_of(command, command.lint(settings_if_any(path), given))


def _lint_sources(path: Path, given: dict[str, Path], *, form: str, **sources: Any) -> Answer:
    from certagent.commands import lint_sources as command

    if given:
        raise click.UsageError(
            "--sources cannot be combined with --hosts, --resolv-conf or --nsswitch: it does not read this node's own"
            " files"
        )
    if sources["dnsmasq"] and sources["nameserver"] is not None:
        raise click.UsageError("give --dnsmasq or --nameserver, not both")
    document = command.lint_sources(settings_if_any(path), command.SourcesRequest(**sources))
    render = command.render_github if form == "github" else command.render
    return Answer(document, render, command.exit_status(document), is_verbatim=form == "github")


def _complete_code(_context: click.Context, _parameter: click.Parameter, beginning: str) -> list[str]:
    from certagent.domain.catalogue.entries import CATALOGUE

    return [code for code in CATALOGUE if code.startswith(beginning)]


@commands.command()
@click.argument("code", required=False, shell_complete=_complete_code)
@click.option("--all", "is_all", is_flag=True, help="Explain every code.")
@answers(None)
def explain(code: str | None, is_all: bool) -> Answer:
    """Explain the finding CODE; alone, list all codes.

    It prints what the code means, its usual cause, what to do, and an example.
    """
    from certagent.commands import explain as command

    if code is not None and is_all:
        raise click.UsageError("give a code or --all, not both")
    if code is None:
        return Answer(command.explain_all(), command.render if is_all else command.render_list)
    with usage_errors():
        return answer_of(command, command.explain(code))


@commands.command()
@click.argument("name")
@click.option("--hosts", type=EXISTING_FILE, help="Proposed replacement for /etc/hosts.")
@click.option("--resolv-conf", type=EXISTING_FILE, help="Proposed replacement for /etc/resolv.conf.")
@challenge_option
@answers(DEFAULT_AGENT_PATH)
def whatif(name: str, hosts: Path | None, resolv_conf: Path | None, challenge: str | None, path: Path) -> Answer:
    """Test how a proposed file would change NAME, before it is live."""
    from certagent.commands import whatif as command

    proposed = {"/etc/hosts": hosts, "/etc/resolv.conf": resolv_conf}
    given = {live: file for live, file in proposed.items() if file is not None}
    if not given:
        raise click.UsageError("give the proposed file: --hosts FILE or --resolv-conf FILE")
    return answer_of(command, command.whatif(settings_if_any(path), name, given, challenge))


@commands.command()
@click.argument("incident", required=False)
@click.option("--apply", "does_apply", is_flag=True, help="Apply the edit; a backup is kept.")
@click.option("--undo", "does_undo", is_flag=True, help="Undo the latest fix.")
@answers(DEFAULT_AGENT_PATH)
def fix(incident: str | None, does_apply: bool, does_undo: bool, path: Path) -> Answer:
    """Show or apply the edit that fixes this node's resolver files.

    With INCIDENT, only what that incident names.
    """
    from certagent.commands import fix as command

    if does_undo and (does_apply or incident is not None):
        raise click.UsageError("--undo cannot be combined with INCIDENT or --apply: it reverts the latest fix")
    settings = load_agent(path)
    document = command.undo(settings) if does_undo else command.fix(settings, incident, apply=does_apply)
    return answer_of(command, document)


for command in (
    *(node_setup.init, node_setup.enrol, node_setup.join),
    *(collector_node.token, collector_node.store, collector_node.channel, collector_node.user),
):
    commands.add_command(command)


def main() -> None:
    """The entry point: what can go wrong for a known reason is one sentence, with --json a document, too, and an exit
    status."""
    from certagent.commands import UnableError
    from certagent.system.control_client import NoAnswerError

    words = sys.argv[1:]
    try:
        require_text(words)
        sys.exit(commands.main(words, "certagent", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        status, sentence = error.exit_code, error.format_message()
    except click.Abort:
        status, sentence = 1, "interrupted"
        click.echo(f"certagent: {sentence}", err=True)
    except (ConfigurationError, NoAnswerError, UnableError) as error:
        status, sentence = error.status, str(error)
        click.echo(f"certagent: {sentence}", err=True)
    if "--json" in words:
        click.echo(as_text({"error": sentence}))
    sys.exit(status)
