"""certagent's commands as click knows them: one value for each, for whatever is made of them."""

import re
from collections.abc import Iterator

import click
import msgspec

from certagent.cli import commands
from deploy.reference.markdown import paragraphs

NAME = "certagent"
_EXTRA = re.compile(r"\s*\[([^\[\]]+)\]$")


class CommandHelp(msgspec.Struct, frozen=True, kw_only=True):
    """A command: `path` as it is typed, `summary` in a line, `text` in paragraphs, `options` as (how it is written,
    what it does, its default), and its own commands as (path, summary)."""

    path: str
    usage: str
    summary: str
    text: tuple[str, ...]
    options: tuple[tuple[str, str, str], ...]
    commands: tuple[tuple[str, str], ...] = ()


def walk() -> Iterator[CommandHelp]:
    """The program itself, then each command, those of a group after it, in order of their names."""
    yield from _walk(commands, click.Context(commands, info_name=NAME, **commands.context_settings))


def _walk(command: click.Command, context: click.Context) -> Iterator[CommandHelp]:
    below = sorted(command.commands.items()) if isinstance(command, click.Group) else []
    text = tuple(paragraphs(command.help))
    yield CommandHelp(
        path=context.command_path,
        usage=" ".join([context.command_path, *command.collect_usage_pieces(context)]),
        summary=text[0],
        text=text,
        options=tuple(map(_option, _records(command, context))),
        commands=tuple((f"{context.command_path} {name}", paragraphs(one.help)[0]) for name, one in below),
    )
    for name, one in below:
        yield from _walk(one, click.Context(one, info_name=name, parent=context))


def _records(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield record


def _option(record: tuple[str, str]) -> tuple[str, str, str]:
    """(how it is written, what it does, its default)."""
    written, said = record
    extra = _EXTRA.search(said)
    if extra is None or not extra[1].startswith("default: "):
        return written, said.strip(), ""
    return written, said[: extra.start()].strip(), extra[1].removeprefix("default: ")
