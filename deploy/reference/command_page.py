"""docs/commands.md: every command with its options, from click."""

from deploy.reference.command_tree import CommandHelp, walk
from deploy.reference.markdown import anchor, fenced, page, table

_COMPLETION = """\
eval "$(_CERTAGENT_COMPLETE=bash_source certagent)"     # bash: in ~/.bashrc
eval "$(_CERTAGENT_COMPLETE=zsh_source certagent)"      # zsh: in ~/.zshrc
_CERTAGENT_COMPLETE=fish_source certagent | source      # fish: in ~/.config/fish/config.fish"""


def make() -> str:
    """The page."""
    program, *others = walk()
    overview = table(
        ("command", "what it does"),
        ((f"[`{one.path}`](#{anchor(one.path)})", one.summary) for one in others if not one.commands),
    )
    return page(
        "# Commands",
        *program.text,
        "All but `agent` and `collector` take `--json`: then there is one JSON document on standard output, and"
        ' nothing else; where nothing else can be said, it is `{"error": sentence}`. On a terminal, text is wrapped and'
        " coloured (not with `NO_COLOR` set), and what takes over a second says so on standard error.",
        overview,
        *(part for one in others for part in _section(one)),
        "## Completion",
        "Commands, options, files and the codes of findings are completed by the Tab key:",
        fenced(_COMPLETION, "sh"),
    )


def _section(command: CommandHelp) -> list[str]:
    level = "##" if command.path.count(" ") == 1 else "###"
    options = [(f"`{written}`", _meaning(said, default)) for written, said, default in command.options]
    return [
        f"{level} {command.path}",
        *command.text,
        fenced(command.usage),
        *([table(("option", "what it does"), options)] if not command.commands else []),
    ]


def _meaning(said: str, default: str) -> str:
    parts = [said.removesuffix("."), f"default: `{default}`" if default else ""]
    return "; ".join(filter(None, parts))
