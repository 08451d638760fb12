"""Manual pages (section 1): one for each command, from click, in the macros of man(7)."""

from certagent import __version__
from deploy.reference.command_tree import CommandHelp, walk

_FILES = (
    ("/etc/certagent/agent.toml", "An agent's configuration; see --config."),
    ("/etc/certagent/collector.toml", "The collector's."),
)
_LAST = "SEE ALSO"


def make() -> dict[str, str]:
    """Path -> page."""
    pages = list(walk())
    return {f"man/man1/{_name_of(one.path)}.1": _page(one, {page.path for page in pages}) for one in pages}


def _page(command: CommandHelp, paths: set[str]) -> str:
    name = _name_of(command.path)
    lines = [
        f'.TH "{name.upper()}" "1" "" "certagent {__version__}" "certagent"',
        *_section("NAME", [f"{_text(name)} \\- {_text(command.summary.removesuffix('.'))}"]),
        *_section(
            "SYNOPSIS", [f"\\fB{_text(command.path)}\\fR {_text(command.usage.removeprefix(command.path).strip())}"]
        ),
        *_section("DESCRIPTION", [line for part in command.text for line in (_text(part), ".PP")][:-1]),
        *_section("OPTIONS", [line for option in command.options for line in _option(*option)]),
        *_section("COMMANDS", [line for path, said in command.commands for line in _entry(_text(path), _text(said))]),
        *_section("FILES", [line for file, said in _FILES for line in _entry(_text(file), _text(said))]),
        *_section(_LAST, [", ".join(f"\\fB{_text(_name_of(path))}\\fR(1)" for path in _near(command, paths))]),
    ]
    return "\n".join(lines) + "\n"


def _near(command: CommandHelp, paths: set[str]) -> list[str]:
    """What it belongs to, and what belongs to it."""
    above = command.path.rpartition(" ")[0]
    return [*([above] if above in paths else []), *(path for path, _ in command.commands)]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f".SH {title}", *lines] if lines else []


def _option(written: str, said: str, default: str) -> list[str]:
    more = f" Default: {_text(default)}." if default else ""
    return _entry(_text(written), f"{_text(said)}{more}".strip())


def _entry(term: str, said: str) -> list[str]:
    return [".TP", f"\\fB{term}\\fR", said]


def _name_of(path: str) -> str:
    return path.replace(" ", "-")


def _text(text: str) -> str:
    """What roff shows as it is: a hyphen that can be copied, no line that begins like a macro."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
