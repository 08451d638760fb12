"""What the programs do that read and write files, as far as it ends in a file. Pure.

A program is one function; `shell_table` has their names.
"""

import re

from certagent.domain.sources.sed_script import Effect, read_sed
from certagent.domain.sources.shell_commands import Call
from certagent.domain.sources.shell_outcome import NOTHING, UNTOLD, CommandOutcome
from certagent.domain.sources.shell_printing import untold
from certagent.domain.sources.shell_redirections import read_path, write_path
from certagent.domain.sources.shell_state import TREE
from certagent.domain.sources.virtual_files import Guard, matches
from certagent.domain.sources.writes import UNKNOWN, Text, TextLine, Value, whole_lines


def cat(call: Call) -> CommandOutcome:
    """`cat FILE...`, or what comes in."""
    paths = [value for value in call.args if not value.text.startswith("-") or value.text == "-"]
    if not paths:
        return CommandOutcome(call.stdin)
    text: Text = ()
    for path in paths:
        part = call.stdin if path.text == "-" else read_path(call.follower, path)
        text += part if part is not None else untold(call).text
    return CommandOutcome(text)


def tee(call: Call) -> CommandOutcome:
    """`tee [-a] FILE...`."""
    options = [text for text in call.texts() if text.startswith("-")]
    appends = any(option in ("-a", "--append", "-ai", "-ia") for option in options)
    for path in call.args:
        if not path.text.startswith("-") and path.text != "/dev/null":
            write_path(call.follower, path, call.stdin, appends=appends)
    return CommandOutcome(call.stdin)


def sponge(call: Call) -> CommandOutcome:
    """`sponge FILE`."""
    for path in call.args[-1:]:
        write_path(call.follower, path, call.stdin, appends="-a" in call.texts())
    return NOTHING


def grep(call: Call) -> CommandOutcome:
    """What it asked is kept: who asks before adding adds once. With `-v` it takes lines out."""
    options, words = _options(call, with_value=("-e", "-f", "-m", "-A", "-B", "-C", "--regexp"))
    patterns = [value for option, value in options if option in ("-e", "--regexp") and value is not None]
    pattern = patterns[0] if patterns else (words.pop(0).text if words else "")
    letters = "".join(option[1:] for option, _ in options if not option.startswith("--"))
    fixed = "F" in letters or "--fixed-strings" in dict(options)
    if "v" in letters or "--invert-match" in dict(options):
        text = read_path(call.follower, words[0]) if words else call.stdin
        return CommandOutcome(_without(text or (), pattern, fixed=fixed), None)
    guards = tuple(
        Guard(call.shell.node, call.shell.absolute(word.text), pattern if "i" not in letters else None, fixed)
        for word in words
        if word.is_known
    )
    if not words:
        guards = tuple(guard for line in call.stdin if line.is_rest for guard in (_asked(call, line, pattern),))
    call.shell.asked += guards
    is_quiet = "q" in letters or "--quiet" in dict(options)
    return CommandOutcome(() if is_quiet else untold(call).text, None, guards)


def _asked(call: Call, line: TextLine, pattern: str) -> Guard:
    return Guard(call.shell.node, line.place.source, pattern)


def _without(text: Text, pattern: str, *, fixed: bool) -> Text:
    kept = [line for line in whole_lines(text) if not line.is_rest and not matches(pattern, line.text, fixed=fixed)]
    return tuple(line._replace(text=line.text + "\n") for line in kept)


def _options(call: Call, *, with_value: tuple[str, ...] = ()) -> tuple[list[tuple[str, str | None]], list[Value]]:
    """(options with their values, the other words)."""
    options: list[tuple[str, str | None]] = []
    words: list[Value] = []
    args = list(call.args)
    while args:
        value = args.pop(0)
        if value.text == "--":
            return options, [*words, *args]
        if value.text in with_value:
            options.append((value.text, args.pop(0).text if args else None))
        elif value.text.startswith("-") and value.text != "-":
            name, _, given = value.text.partition("=")
            options.append((name, given or None))
        else:
            words.append(value)
    return options, words


def getent(call: Call) -> CommandOutcome:
    """`getent hosts NAME`: asks the hosts file, too."""
    words = [text for text in call.texts() if not text.startswith("-")]
    if len(words) < 2 or words[0] not in ("hosts", "ahosts", "ahostsv4"):
        return untold(call)
    guard = Guard(call.shell.node, call.shell.absolute("/etc/hosts"), words[1], fixed=True)
    call.shell.asked.append(guard)
    return CommandOutcome(untold(call).text, None, (guard,))


def sed(call: Call) -> CommandOutcome:
    """`sed -i SCRIPT FILE...`; without `-i` nobody knows what it prints."""
    options, words = _options(call, with_value=("-e", "-f", "--expression"))
    scripts = [value for option, value in options if option in ("-e", "--expression") and value is not None]
    if not scripts and words and not any(option == "-f" for option, _ in options):
        scripts = [words.pop(0).text]
    is_in_place = any(re.match(r"-[nErsz]*i|--in-place", option) for option, _ in options)
    if not is_in_place:
        text = read_path(call.follower, words[0]) if words else call.stdin
        is_rest = bool(text) and any(line.is_rest for line in text or ())
        return CommandOutcome((), None) if is_rest else untold(call)
    resolved = any(value.resolved for value in call.args)
    for path in words:
        for script in scripts:
            _edit(call, path, script, resolved=resolved)
    return NOTHING


def _edit(call: Call, path: Value, script: str, *, resolved: bool) -> None:
    shell, files = call.shell, call.shell.run.files
    target = shell.absolute(path.text)
    for command in read_sed(script):
        lines = [TextLine(line, call.place, resolved) for line in (command.text or "").split("\n")]
        if command.effect is Effect.DELETE:
            files.remove(shell.node, target, command.text)
        elif command.effect is Effect.ADD:
            text = tuple(line._replace(text=line.text + "\n") for line in lines)
            files.append(shell.node, target, text, shell.guards)
        else:
            for line in lines:
                files.edit(shell.node, target, line)


def copy(call: Call) -> CommandOutcome:
    """`cp`, `mv`, `install`: FILE TARGET."""
    options, words = _options(call, with_value=("-m", "-o", "-g", "-S", "--mode", "--owner", "--group"))
    targets = [value for option, value in options if option in ("-t", "--target-directory") and value]
    if len(words) < 2 and not targets:
        return NOTHING
    *sources, last = words if not targets else [*words, Value(targets[0])]
    for source in sources:
        is_input = source.text in ("/dev/stdin", "-")
        text = call.stdin if is_input else read_path(call.follower, source)
        target = last.text
        if target.endswith("/") or target == "/etc":
            target = f"{target.rstrip('/')}/{source.text.rpartition('/')[2]}"
        path = Value(target, last.resolved)
        if text is not None and not all(line.is_rest for line in text):
            write_path(call.follower, path, text, appends=False)
    return NOTHING


def touch(call: Call) -> CommandOutcome:
    """The file is there from now on."""
    for path in call.args:
        if not path.text.startswith("-") and path.is_known:
            call.shell.run.files.append(call.shell.node, call.shell.absolute(path.text), ())
    return NOTHING


def mktemp(call: Call) -> CommandOutcome:
    """A path that nobody else has."""
    return CommandOutcome((TextLine(f"/tmp/made-in-line-{call.row}\n", call.place, True),))  # noqa: S108 - a name only


def change_folder(call: Call) -> CommandOutcome:
    """`cd`."""
    words = [value for value in call.args if not value.text.startswith("-")]
    if words and words[0].is_known:
        call.shell.folder = _normal(call.shell.absolute(words[0].text))
    return CommandOutcome(status=None if words else True)


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def folder(call: Call) -> CommandOutcome:
    """`pwd`."""
    return CommandOutcome((TextLine(call.shell.folder + "\n", call.place, True),))


def path_part(call: Call) -> CommandOutcome:
    """`dirname`, `readlink -f`, `realpath` of what is known."""
    words = [value for value in call.args if not value.text.startswith("-")]
    if len(words) != 1 or not words[0].is_known:
        return untold(call)
    return CommandOutcome((TextLine(_normal(call.shell.absolute(words[0].text)) + "\n", call.place, True),))


def dirname(call: Call) -> CommandOutcome:
    """The folder of a path."""
    text = path_part(call).text
    if UNKNOWN in text[0].text:
        return CommandOutcome(text, None)
    return CommandOutcome((text[0]._replace(text=text[0].text.strip().rpartition("/")[0] + "\n"),))


def git_root(call: Call) -> CommandOutcome:
    """`git rev-parse --show-toplevel`: the tree."""
    if call.texts()[:2] == ["rev-parse", "--show-toplevel"]:
        return CommandOutcome((TextLine(TREE + "\n", call.place, True),))
    return UNTOLD
