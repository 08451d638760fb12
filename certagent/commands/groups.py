"""Groups of subcommands that answer whoever does not know them yet: alone with their help, to a slip with what was
probably meant."""

from typing import Any

import click

_MOST_SUGGESTED = 2


class CommandGroup(click.Group):
    """A group whose help is its answer when no subcommand is named, with exit status 0; `help SUBCOMMAND` is
    `SUBCOMMAND --help`."""

    group_class = type

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`."""
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        elif args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        """See `click.Group`; an unknown subcommand comes with the nearest ones."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches  # for a slip only: most commands are right, and start sooner without

            near = get_close_matches(name, self.list_commands(ctx), n=_MOST_SUGGESTED)
            hint = f"did you mean {' or '.join(near)}?" if near else f"`{ctx.command_path} --help` lists them"
            ctx.fail(f"no such command: {name}; {hint}")
        return super().resolve_command(ctx, args)
