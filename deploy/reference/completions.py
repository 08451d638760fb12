"""Completion of the command line for each shell, from click: what `eval` of the page about commands runs each time."""

from click.shell_completion import get_completion_class

from certagent.cli import commands
from deploy.reference.command_tree import NAME

_FILES = {
    "bash": f"completion/bash/{NAME}",
    "zsh": f"completion/zsh/_{NAME}",
    "fish": f"completion/fish/{NAME}.fish",
}


def make() -> dict[str, str]:
    """Path -> script. Raises `LookupError` for a shell that click does not know."""
    return {path: _script(shell) for shell, path in _FILES.items()}


def _script(shell: str) -> str:
    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(shell)
    completer = kind(commands, {}, NAME, f"_{NAME.upper()}_COMPLETE")
    return completer.source_template % completer.source_vars() + "\n"
