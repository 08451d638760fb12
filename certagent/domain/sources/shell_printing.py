"""What `echo`, `printf` and their like print, with the place of each line. Pure."""

import re

from certagent.domain.sources.shell_commands import Call
from certagent.domain.sources.shell_outcome import NOTHING, CommandOutcome
from certagent.domain.sources.shell_text import unescape
from certagent.domain.sources.writes import UNKNOWN, Text, TextLine, Value

_DIRECTIVE = re.compile(r"%%|%[-0 +#]*\d*(?:\.\d+)?[sdqbi]")
_MOST_WORDS = 200


def printed(call: Call, value: Value) -> Text:
    """A text that a command prints. Where it stands in the script line for line, each line has its own place."""
    caller = call.shell.caller
    if value.row is None or "\n" not in value.text.removesuffix("\n"):
        return (TextLine(value.text, call.place, value.resolved, caller=caller),)
    return tuple(
        TextLine(line, call.shell.place(value.row + number), value.resolved, caller=caller)
        for number, line in enumerate(value.text.splitlines(keepends=True))
    )


def untold(call: Call) -> CommandOutcome:
    """Something is printed, and nobody knows what."""
    return CommandOutcome((TextLine(UNKNOWN + "\n", call.place, True),), None)


def echo(call: Call) -> CommandOutcome:
    """`echo [-neE] WORD...`."""
    words, options = list(call.args), ""
    while words and re.fullmatch(r"-[neE]+", words[0].text):
        options += words.pop(0).text
    joined = spaced(words)
    if "e" in options or (call.shell.dashlike and "E" not in options):
        joined = Value(unescape(joined.text), joined.resolved, joined.row if "\\" not in joined.text else None)
    return CommandOutcome(printed(call, joined if "n" in options else joined.joined(Value("\n", row=joined.row))))


def spaced(words: list[Value]) -> Value:
    """Words with a blank between, as one text."""
    value = words[0] if words else Value("")
    for word in words[1:]:
        value = value.joined(Value(" ", row=value.row)).joined(word)
    return value


def printf(call: Call) -> CommandOutcome:
    """`printf FORMAT WORD...`: the format again for as long as words are left."""
    args = list(call.args)
    if args and args[0].text == "--":
        args.pop(0)
    if not args or args[0].text == "-v":
        if len(args) > 2:
            call.shell.set(args[1].text, _formatted(args[2], args[3:]))
        return NOTHING
    return CommandOutcome(printed(call, _formatted(args[0], args[1:])))


def _formatted(form: Value, words: list[Value]) -> Value:
    directives = [found for found in _DIRECTIVE.findall(form.text) if found != "%%"]
    text, resolved, left = "", form.resolved, list(words[:_MOST_WORDS])
    while True:
        text += _DIRECTIVE.sub(lambda found: _directive(found[0], left), unescape(form.text))
        if not left or not directives or len(text) > 65536:
            break
    resolved |= any(word.resolved for word in words)
    return Value(text, resolved)


def _directive(form: str, words: list[Value]) -> str:
    if form == "%%":
        return "%"
    word = words.pop(0).text if words else ""
    if form.endswith("b"):
        return unescape(word)
    width = re.search(r"(-?)0*(\d{1,3})", form)
    if width is None or UNKNOWN in word:
        return word
    size = int(width[2])
    if form.endswith(("d", "i")) and "0" in form[1:2]:
        return word.zfill(size)
    return word.ljust(size) if width[1] else word.rjust(size)


def sequence(call: Call) -> CommandOutcome:
    """`seq [FIRST [STEP]] LAST`."""
    numbers = [text for text in call.texts() if re.fullmatch(r"-?\d{1,6}", text)]
    if not numbers or len(numbers) != len(call.args):
        return untold(call)
    first, step = int(numbers[0]) if len(numbers) > 1 else 1, int(numbers[1]) if len(numbers) > 2 else 1
    values = range(first, int(numbers[-1]) + (1 if step > 0 else -1), step or 1)[:1000]
    return CommandOutcome(tuple(TextLine(f"{number}\n", call.place, True) for number in values))


def basename(call: Call) -> CommandOutcome:
    """The last part of a path, without a suffix."""
    words = call.texts()
    if not words or UNKNOWN in words[0]:
        return untold(call)
    name = words[0].rstrip("/").rpartition("/")[2]
    return CommandOutcome((TextLine(name.removesuffix(words[1] if len(words) > 1 else "") + "\n", call.place, True),))
