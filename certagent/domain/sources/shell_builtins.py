"""Commands that a shell has itself, and programs that only run another. Pure."""

import re

from certagent.domain.sources.shell_arithmetic import evaluate
from certagent.domain.sources.shell_commands import Call, Program
from certagent.domain.sources.shell_outcome import NOTHING, UNTOLD, CommandOutcome
from certagent.domain.sources.shell_printing import spaced, untold
from certagent.domain.sources.shell_state import Leave
from certagent.domain.sources.shell_tests import judge_words
from certagent.domain.sources.virtual_files import ONCE
from certagent.domain.sources.writes import Value, whole_lines

_WITH_VALUE = ("-u", "-g", "-s", "-k")


def set_words(call: Call) -> CommandOutcome:
    """`set -- a b`."""
    if "--" in call.texts():
        call.shell.args = call.args[call.texts().index("--") + 1 :]
    return NOTHING


def shift(call: Call) -> CommandOutcome:
    """The arguments move up."""
    count = call.args[0].text if call.args else "1"
    if call.shell.args is not None and count.isdigit():
        call.shell.args = call.shell.args[int(count[:4]) :]
    return NOTHING


def leave(kind: str) -> Program:
    """`exit`, `return`, `break`, `continue`; `exec PROGRAM` ends the shell as well."""

    def program(call: Call) -> CommandOutcome:
        del call
        raise Leave(kind)

    return program


def replace_shell(call: Call) -> CommandOutcome:
    """`exec PROGRAM...`."""
    if not call.args:
        return NOTHING
    ended = Leave("exit")
    ended.text = wrapped(call).text
    raise ended


def wrapped(call: Call) -> CommandOutcome:
    """A program that runs what follows, here and now: `sudo -u root CMD`."""
    args = list(call.args)
    while args and (args[0].text.startswith("-") or re.fullmatch(r"\w+=.*|\d+[smhd]?", args[0].text)):
        option = args.pop(0).text
        if option in ("-u", "-g", "-n", "-s", "-k", "-c", "-E") and args and option in _WITH_VALUE:
            args.pop(0)
    if not args:
        return NOTHING
    return call.commands.execute(call.follower, args, call.stdin, call.row, call.separator)


def evaluate_words(call: Call) -> CommandOutcome:
    """`eval`, where all of it is known."""
    text = spaced(list(call.args))
    if not text.is_known:
        return UNTOLD
    shell_call = call._replace(args=(Value("-c"), text))
    return call.commands.start_shell(shell_call, is_posix=False)


def per_instance(call: Call) -> CommandOutcome:
    """`cloud-init-per FREQUENCY NAME CMD...`: once, or once an instance."""
    frequency = call.texts()[:1]
    guards = () if frequency == ["always"] else (ONCE,)
    with call.shell.guarded(*guards):
        return call.commands.execute(call.follower, call.args[2:], call.stdin, call.row) if call.args[2:] else NOTHING


def read_once(call: Call) -> CommandOutcome:
    """`read a b <<< LINE`."""
    lines = call.commands.lines_to_read(call.stdin, call.place)
    call.commands.read_into(call.shell, call.texts(), lines[0].text, call.separator)
    return UNTOLD


def map_file(call: Call) -> CommandOutcome:
    """`mapfile -t x`, `readarray`."""
    words = [text for text in call.texts() if not text.startswith("-")]
    lines = [Value(line.text, True) for line in whole_lines(call.stdin) if not line.is_rest]
    call.shell.set(words[-1] if words else "MAPFILE", tuple(lines))
    return NOTHING


def source(call: Call) -> CommandOutcome:
    """`. FILE`, `source FILE`."""
    return call.commands.source(call.follower, call.args[0], call.args[1:]) if call.args else NOTHING


def test(call: Call) -> CommandOutcome:
    """`test ...`, and `[` where its words were built."""
    return judge_words(call.follower, [value for value in call.args if value.text != "]"])


def let(call: Call) -> CommandOutcome:
    """`let i++`."""
    for text in call.texts():
        evaluate(call.shell, text)
    return NOTHING


def unset(call: Call) -> CommandOutcome:
    """`unset x`."""
    for text in call.texts():
        call.shell.variables.pop(text, None)
    return NOTHING


def passed_on(call: Call) -> CommandOutcome:
    """`sort`, `uniq`: the same lines."""
    return CommandOutcome(call.stdin) if call.stdin else untold(call)


def nothing(call: Call) -> CommandOutcome:
    """It neither prints nor changes what matters."""
    del call
    return NOTHING


def fails(call: Call) -> CommandOutcome:
    """`false`."""
    del call
    return CommandOutcome(status=False)
