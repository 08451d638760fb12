"""What the subcommands share on the command line: options, how a document is shown, how a refusal is told."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import click

from certagent.commands.terminal import Progress, asking, show
from certagent.config import DEFAULT_AGENT_PATH, AgentSettings, load_agent

EXISTING_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

challenge_option = click.option(
    "--challenge",
    type=click.Choice(["http-01", "tls-alpn-01", "dns-01"]),
    help="The challenge type; default: that of NAME's certificate in the configuration, else http-01.",
)

_SOURCES_OPTIONS = (
    click.option(
        "--sources",
        "root",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="Check the provisioning code in this folder: shell, Ansible, cloud-init, Compose, Terraform, Proxmox.",
    ),
    click.option(
        "--dnsmasq",
        type=EXISTING_FILE,
        multiple=True,
        help="The fleet's zone: a dnsmasq configuration file; may be repeated.",
    ),
    click.option("--nameserver", metavar="ADDRESS", help="The fleet's zone: ask this nameserver."),
    click.option(
        "--zone", "zones", multiple=True, help="A domain of the fleet; may be repeated. Default: derived from the zone."
    ),
    click.option(
        "--authority",
        "authorities",
        metavar="NODE",
        multiple=True,
        help="The CA's node, as the code names it.",
    ),
    click.option(
        "--node",
        "node_rules",
        metavar="PATTERN",
        multiple=True,
        help="Which node a script is for, by its path, as in 'scripts/{node}.sh'; may be repeated.",
    ),
    click.option("--format", "form", type=click.Choice(["text", "github"]), default="text", show_default=True),
)


def sources_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What goes with `lint --sources`."""
    for option in reversed(_SOURCES_OPTIONS):
        command = option(command)
    return command


class Answer(NamedTuple):
    """What a subcommand came to."""

    document: dict[str, Any]
    render: Callable[[dict[str, Any]], str]
    exit_status: int = 0
    is_verbatim: bool = False
    """What is shown is to be copied or piped: no terminal wraps or colours it."""


def answer_of(command: ModuleType, document: dict[str, Any]) -> Answer:
    """What a module of `certagent.commands` says of its document; one that cannot end badly has no `exit_status`."""
    exit_status = getattr(command, "exit_status", lambda _document: 0)
    return Answer(document, command.render, exit_status(document), getattr(command, "IS_VERBATIM", False))


def wants_json() -> bool:
    """Whether the subcommand that runs was called with `--json`."""
    return bool(click.get_current_context().params["as_json"])


def config_option(default: Path) -> Callable[[Any], Any]:
    """`--config`, as `path`."""
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        default=default,
        show_default=True,
        help="The configuration file.",
    )


def answers(default: Path | None) -> Callable[[Callable[..., Answer]], Callable[..., None]]:
    """A subcommand with `--config` (None: without) and `--json` whose answer is shown and whose exit status is the
    program's."""
    json_option = click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output, nothing else."
    )

    def decorate(command: Callable[..., Answer]) -> Callable[..., None]:
        @wraps(command)
        def run(as_json: bool, **parameters: Any) -> NoReturn:
            with Progress(click.get_current_context().command_path):
                answer = command(**parameters)
            _show(answer, as_json)

        decorated: Callable[..., None] = json_option(run)
        return decorated if default is None else config_option(default)(decorated)

    return decorate


def _show(answer: Answer, as_json: bool) -> NoReturn:
    from certagent.domain.findings import without_secrets

    told = without_secrets(answer.document)  # what a command looked at itself has met no policy yet
    show(as_text(told) if as_json else answer.render(told), is_verbatim=as_json or answer.is_verbatim)
    sys.exit(answer.exit_status)


def as_text(document: dict[str, Any]) -> str:
    """As a JSON document that a person can read, too."""
    return json.dumps(document, indent=2, ensure_ascii=False)


@contextmanager
def usage_errors() -> Iterator[None]:
    """What a person asked for and cannot have is one sentence, and exit status 2."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def settings_if_any(path: Path) -> AgentSettings | None:
    """What works alone works without a configuration, too, and without its secrets; but one that is named has to be
    there."""
    return load_agent(path, with_secrets=False) if path != DEFAULT_AGENT_PATH or path.exists() else None


def ask_password() -> str:
    """Twice on a terminal, without showing it; a pipe is read as it is."""
    if sys.stdin.isatty():
        with asking():
            return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\n")


def require_text(words: list[str]) -> None:
    """What is no text can be no name, and stands in no document."""
    for word in words:
        if any("\ud800" <= character <= "\udfff" for character in word):
            raise click.UsageError(f"{word!a} is not UTF-8")
