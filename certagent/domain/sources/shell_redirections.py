"""Where the input of a shell's statement comes from, and where its output goes. Pure."""

import re

from certagent.domain.sources.shell import Follower
from certagent.domain.sources.shell_outcome import NOTHING, CommandOutcome
from certagent.domain.sources.shell_syntax import Node
from certagent.domain.sources.virtual_files import rest_of
from certagent.domain.sources.writes import UNKNOWN, Text, TextLine, Value, lines_at

_DISCARDED = ("/dev/null", "/dev/stderr", "/dev/tty")
_PRINTED = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def redirect(follower: Follower, node: Node, stdin: Text) -> CommandOutcome:
    """Run the statement with its input, and write what it prints."""
    body = node.child_by_field_name("body")
    return _redirect(follower, node, body, stdin)


def _redirect(follower: Follower, node: Node, body: Node | None, stdin: Text) -> CommandOutcome:
    if body is not None and body.type == "list":  # the grammar lets a redirection of the last command be the list's
        left, right = body.named_children[0], body.named_children[-1]
        operator = next((child.type for child in body.children if child.type in ("&&", "||")), "&&")
        return follower.either(follower.run(left, stdin), operator, lambda: _redirect(follower, node, right, stdin))
    redirects = [child for child in node.children if child.type.endswith("_redirect")]
    heredoc = next((child for child in redirects if child.type == "heredoc_redirect"), None)
    for child in redirects:
        stdin = _input(follower, child, stdin)
    outcome = follower.run(body, stdin) if body is not None else NOTHING
    inner = heredoc.children_by_field_name("redirect") if heredoc is not None else []
    for child in [*redirects, *inner]:
        outcome = _output(follower, child, outcome)
    return _rest_of_line(follower, heredoc, outcome) if heredoc is not None else outcome


def _rest_of_line(follower: Follower, heredoc: Node, outcome: CommandOutcome) -> CommandOutcome:
    """What stands behind `<<EOF` on its line: a pipe, or `&&` and `||`."""
    for child in heredoc.named_children:
        if child.type == "pipeline":
            return follower.pipeline(child, outcome.text)
    right = heredoc.child_by_field_name("right")
    operator = heredoc.child_by_field_name("operator")
    if right is None or operator is None:
        return outcome
    return follower.either(outcome, follower.shell.script.text_of(operator), lambda: follower.run(right))


def here_string(follower: Follower, node: Node) -> Text:
    """`<<< WORD`."""
    value = follower.words.value(node.named_children[-1])
    return (TextLine(value.text + "\n", follower.shell.place(node.start_point[0]), value.resolved),)


def _input(follower: Follower, node: Node, stdin: Text) -> Text:
    if node.type == "herestring_redirect":
        return here_string(follower, node)
    if node.type == "heredoc_redirect":
        return _here_document(follower, node)
    if any(child.type == "<" for child in node.children):
        destination = node.child_by_field_name("destination")
        if destination is not None and destination.type == "process_substitution":
            return follower.run_all(destination.named_children)
        path = follower.words.value(destination)
        return read_path(follower, path) or (_unknown(follower, node),)
    return stdin


def read_path(follower: Follower, path: Value) -> Text | None:
    """A file's text: as it was written before, as it is in the tree, or the rest that nobody knows; None for a file
    of which nothing is known."""
    shell = follower.shell
    if not path.is_known:
        return None
    written = shell.run.files.read(shell.node, shell.absolute(path.text))
    if written is not None:
        return written
    found = shell.in_tree(path.text)
    text = shell.run.tree.read(found) if found is not None else None
    if text is not None and found is not None:
        return lines_at(text, found)
    return (rest_of(path.text),) if path.text.startswith("/etc/") else None


def _unknown(follower: Follower, node: Node) -> TextLine:
    return TextLine(UNKNOWN + "\n", follower.shell.place(node.start_point[0]), True)


def _here_document(follower: Follower, node: Node) -> Text:
    script = follower.shell.script
    parts = {child.type: child for child in node.children}
    body, end, mark = parts.get("heredoc_body"), parts.get("heredoc_end"), parts.get("heredoc_start")
    if body is None or mark is None:
        return ()
    strips_tabs = "<<-" in parts
    start = script.content.rfind(b"\n", 0, body.start_byte) + 1
    if script.content[start : body.start_byte].strip():
        start = body.start_byte
    if not re.search(r"[\\'\"]", script.text_of(mark)):
        return follower.words.body(body, start, strips_tabs=strips_tabs)
    stop = script.content.rfind(b"\n", 0, end.start_byte) + 1 if end is not None else body.end_byte
    row = body.start_point[0]
    lines = script.between(start, max(stop, start)).splitlines(keepends=True)
    return tuple(
        TextLine(
            line.lstrip("\t") if strips_tabs else line, script.place(row + number), script.is_tainted(row + number)
        )
        for number, line in enumerate(lines)
    )


def _output(follower: Follower, node: Node, outcome: CommandOutcome) -> CommandOutcome:
    if node.type != "file_redirect":
        return outcome
    operator = next((child.type for child in node.children if ">" in child.type), "")
    descriptor = node.child_by_field_name("descriptor")
    if not operator or (descriptor is not None and follower.shell.script.text_of(descriptor) != "1"):
        return outcome
    path = follower.words.value(node.child_by_field_name("destination"))
    if path.text in _PRINTED or (operator == ">&" and path.text == "1"):
        return outcome
    if operator != ">&" and path.text not in _DISCARDED:
        write_path(follower, path, outcome.text, appends=operator.endswith(">>"))
    return outcome._replace(text=())


def write_path(follower: Follower, path: Value, text: Text, *, appends: bool) -> None:
    """Append to a file, or write it anew."""
    shell = follower.shell
    write = shell.run.files.append if appends else shell.run.files.replace
    write(shell.node, shell.absolute(path.text), text, shell.guards)
