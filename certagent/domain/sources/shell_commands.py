"""Commands, assignments and redirections of a shell, and how a further shell is started. Pure.

What the programs do that write and read files is in `shell_programs`; those that lead to another node in
`shell_remote`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from certagent.domain.sources import shell_tests
from certagent.domain.sources.shell import Follower
from certagent.domain.sources.shell_outcome import NOTHING, UNTOLD, CommandOutcome
from certagent.domain.sources.shell_redirections import here_string, redirect
from certagent.domain.sources.shell_state import TREE, Leave, Shell, ShellRun
from certagent.domain.sources.shell_syntax import Node, ShellScript
from certagent.domain.sources.writes import NOBODY_KNOWS, UNKNOWN, CodePlace, Text, TextLine, Value, whole_lines

_SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh"}
_CA_WORDS = re.compile(r"\bstep-ca\b|\bstep ca init\b|\bsmallstep/step-ca\b")


class Call(NamedTuple):
    """A program with its arguments. `separator`: its IFS, where it has one of its own."""

    commands: "Commands"
    follower: Follower
    args: tuple[Value, ...]
    stdin: Text
    row: int
    separator: str | None = None

    @property
    def shell(self) -> Shell:
        """The shell that calls it."""
        return self.follower.shell

    @property
    def place(self) -> CodePlace:
        """Where it is called."""
        return self.shell.place(self.row)

    def texts(self) -> list[str]:
        """Its arguments as texts."""
        return [value.text for value in self.args]


Program = Callable[[Call], CommandOutcome]
Statement = Callable[[Follower, Node, Text], CommandOutcome]


class Commands:
    """What simple commands do; the same for every shell of a run. `programs`: those that are known by name;
    `loops`: how each kind of loop is followed."""

    def __init__(self, run: ShellRun, programs: Mapping[str, Program], loops: Mapping[str, Statement]) -> None:
        self.run = run
        self.loops = loops
        self._programs = programs

    def follow(self, shell: Shell, stdin: Text = ()) -> CommandOutcome:
        """A whole script in a shell of its own."""
        follower = Follower(shell, self)
        try:
            return CommandOutcome(follower.follow(stdin), None)
        except Leave as leave:
            return CommandOutcome(leave.text, None)

    # --- simple commands ---

    def command(self, follower: Follower, node: Node, stdin: Text) -> CommandOutcome:
        """Its words, expanded, and what it does with them."""
        name = node.child_by_field_name("name")
        for part in node.children_by_field_name("redirect"):
            if part.type == "herestring_redirect":
                stdin = here_string(follower, part)
        assignments = [child for child in node.children if child.type == "variable_assignment"]
        if name is None:
            for assignment in assignments:
                self.assign(follower, assignment)
            return NOTHING
        arguments = node.children_by_field_name("argument")
        words = [value for word in (name, *arguments) for value in follower.words.fields(word)]
        if not words:
            return NOTHING
        separator = self._separator(follower, assignments)
        return self.execute(follower, words, stdin, node.start_point[0], separator)

    def execute(
        self, follower: Follower, words: Sequence[Value], stdin: Text, row: int, separator: str | None = None
    ) -> CommandOutcome:
        """A command with its arguments."""
        shell = follower.shell
        name = words[0].text
        self._note_authority(shell, words, row)
        function = shell.functions.get(name)
        if function is not None:
            return follower.call(function, tuple(words[1:]), stdin, row)
        bare = name.rpartition("/")[2] if not name.startswith(("./", TREE)) else name
        call = Call(self, follower, tuple(words[1:]), stdin, row, separator)
        program = self._programs.get(bare)
        if bare in _SHELLS:
            return self.start_shell(call, is_posix=bare in ("sh", "dash", "ash"))
        if program is not None:
            return program(call)
        return self.run_file(call, words[0]) or UNTOLD

    def _note_authority(self, shell: Shell, words: Sequence[Value], row: int) -> None:
        if _CA_WORDS.search(" ".join(word.text for word in words[:40])):
            self.run.authorities.add((shell.node, shell.place(row).source))

    def _separator(self, follower: Follower, assignments: Sequence[Node]) -> str | None:
        for assignment in assignments:
            name = assignment.child_by_field_name("name")
            if name is not None and follower.shell.script.text_of(name) == "IFS":
                return follower.words.value(assignment.child_by_field_name("value")).text
        return None

    # --- other shells ---

    def start_shell(self, call: Call, *, is_posix: bool) -> CommandOutcome:
        """`sh -c TEXT ARG...`, `sh FILE ARG...`, `sh -s ARG... < TEXT`."""
        words = list(call.args)
        while words and words[0].text.startswith(("-", "+")):
            option = words.pop(0).text
            if option.startswith("-") and not option.startswith("--") and "c" in option:
                return self._run_text(call, words, is_posix=is_posix) if words else NOTHING
            if option.startswith("-") and not option.startswith("--") and "s" in option:
                return self.run_lines(call, call.stdin, tuple(words), is_posix=is_posix)
            if option in ("-o", "+o", "--rcfile", "--init-file"):
                words = words[1:]
        if not words or words[0].text in ("-", "/dev/stdin"):
            return self.run_lines(call, call.stdin, tuple(words[1:]), is_posix=is_posix)
        return self.run_file(call._replace(args=tuple(words[1:])), words[0]) or UNTOLD

    def _run_text(self, call: Call, words: Sequence[Value], *, is_posix: bool) -> CommandOutcome:
        script = ShellScript.of_value(words[0], call.shell.script, call.row)
        child = call.shell.child(script)
        child.args, child.dashlike = tuple(map(call.shell.carried, words[2:])), is_posix
        return self.follow(child, call.stdin)

    def run_lines(
        self,
        call: Call,
        text: Text,
        args: tuple[Value, ...] = (),
        *,
        is_posix: bool = False,
    ) -> CommandOutcome:
        """A script that came as a text, line by line."""
        if not text or any(line.is_rest for line in text):
            return UNTOLD
        child = call.shell.child(ShellScript.of_text(text, call.place))
        child.args = tuple(map(call.shell.carried, args))
        child.dashlike = is_posix or child.script.is_posix
        return self.follow(child)

    def run_file(self, call: Call, path: Value) -> CommandOutcome | None:
        """A script of the tree, or one that was written before; None for what is neither."""
        script = self.script_at(call.shell, path)
        if script is None:
            return None
        child = call.shell.child(script)
        child.args = tuple(map(call.shell.carried, call.args))
        child.caller = call.shell.caller_of(call.args, call.row)
        return self.follow(child, call.stdin)

    def script_at(self, shell: Shell, path: Value) -> ShellScript | None:
        """The script that a path means."""
        if not path.is_known or ("/" not in path.text and "." not in path.text):
            return None
        written = self.run.files.read(shell.node, shell.absolute(path.text))
        if written is not None and not any(line.is_rest for line in written):
            return ShellScript.of_text(written, written[0].place) if written else None
        found = shell.in_tree(path.text)
        text = self.run.tree.read(found) if found is not None else None
        return ShellScript.of_file(text, found) if found is not None and text is not None else None

    def source(self, follower: Follower, path: Value, args: tuple[Value, ...]) -> CommandOutcome:
        """`. FILE`: in this very shell."""
        shell = follower.shell
        script = self.script_at(shell, path)
        if script is None:
            return UNTOLD
        kept, shell.script = shell.script, script
        kept_args, shell.args = shell.args, args or shell.args
        shell.depth += 1
        try:
            shell.check_depth()
            return CommandOutcome(follower.follow(), None)
        except Leave as leave:
            if leave.kind != "return":
                raise
            return CommandOutcome(leave.text, None)
        finally:
            shell.depth -= 1
            shell.script, shell.args = kept, kept_args

    # --- assignments ---

    def assign(self, follower: Follower, node: Node) -> None:
        """`x=1`, `x+=1`, `x=(a b)`, `x[i]=1`."""
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if name is None:
            return
        adds = any(child.type == "+=" for child in node.children)
        if name.type == "subscript":
            self._assign_entry(follower, name, value)
            return
        text = follower.shell.script.text_of(name)
        if value is not None and value.type == "array":
            self._assign_array(follower, text, value, adds=adds)
            return
        new = follower.words.value(value)
        old = follower.shell.get(text)
        follower.shell.set(text, old.joined(new) if adds and isinstance(old, Value) else new)

    def _assign_array(self, follower: Follower, name: str, node: Node, *, adds: bool) -> None:
        entries = [child for child in node.named_children if child.type != "comment"]
        old = follower.shell.get(name)
        if entries and all(follower.shell.script.text_of(entry).startswith("[") for entry in entries):
            keyed = dict(self._keyed(follower, entry) for entry in entries)
            follower.shell.set(name, {**old, **keyed} if adds and isinstance(old, dict) else keyed)
            return
        values = tuple(value for entry in entries for value in follower.words.fields(entry))
        before = old if adds and isinstance(old, tuple) and not isinstance(old, Value) else ()
        follower.shell.set(name, (*before, *values))

    def _keyed(self, follower: Follower, entry: Node) -> tuple[str, Value]:
        whole = follower.words.value(entry)
        key, _, value = whole.text.removeprefix("[").partition("]=")
        return key, Value(value, whole.resolved)

    def _assign_entry(self, follower: Follower, name: Node, value: Node | None) -> None:
        array, index = name.child_by_field_name("name"), name.child_by_field_name("index")
        if array is None or index is None:
            return
        text = follower.shell.script.text_of(array)
        old = follower.shell.get(text)
        key = follower.words.value(index).text
        if isinstance(old, tuple) and not isinstance(old, Value):
            old = {str(number): entry for number, entry in enumerate(old)}
        follower.shell.set(text, {**(old if isinstance(old, dict) else {}), key: follower.words.value(value)})

    def declare(self, follower: Follower, node: Node) -> None:
        """`local x=1`, `export x`, `declare -A x=(...)`."""
        is_local = node.children[0].type in ("local", "declare", "typeset")
        script = follower.shell.script
        for child in node.named_children:
            name = child.child_by_field_name("name") if child.type == "variable_assignment" else child
            if name is None or child.type not in ("variable_assignment", "variable_name"):
                continue
            if child.type == "variable_name":
                if is_local:
                    follower.shell.make_local(script.text_of(child))
                continue
            before = follower.shell.get(script.text_of(name))
            self.assign(follower, child)
            if is_local:
                follower.shell.made_local(script.text_of(name), before)

    # --- tests and read ---

    def test(self, follower: Follower, node: Node) -> CommandOutcome:
        """`[ ... ]`."""
        return shell_tests.judge(follower, node)

    def is_read(self, follower: Follower, node: Node) -> bool:
        """Whether the condition of a loop is `read`."""
        name = node.child_by_field_name("name") if node.type == "command" else None
        return name is not None and follower.shell.script.text_of(name) == "read"

    def lines_to_read(self, stdin: Text, place: CodePlace) -> Text:
        """The lines that a loop reads; where nobody knows them, one."""
        lines = tuple(line for line in whole_lines(stdin) if not line.is_rest)
        return lines or (TextLine(UNKNOWN, place, True),)

    def read_line(self, follower: Follower, node: Node, line: TextLine) -> None:
        """`read a b c`."""
        arguments = node.children_by_field_name("argument")
        words = [value.text for word in arguments for value in follower.words.fields(word)]
        assignments = [child for child in node.children if child.type == "variable_assignment"]
        self.read_into(follower.shell, words, line.text, self._separator(follower, assignments))

    def read_into(self, shell: Shell, words: Sequence[str], text: str, separator: str | None) -> None:
        """Split a line and assign its fields; the last name gets the rest."""
        names = [word for word in words if re.fullmatch(r"[A-Za-z_]\w*", word)] or ["REPLY"]
        flag = next((number for number, word in enumerate(words[:-1]) if re.fullmatch(r"-\w*a", word)), None)
        array = words[flag + 1] if flag is not None else None
        if array is None and text == UNKNOWN:
            for name in names:
                shell.set(name, NOBODY_KNOWS)
            return
        blank = separator is None or not separator.strip()
        if array is not None:
            parts = text.split() if blank else re.split(f"[{re.escape(separator or '')}]", text)
            shell.set(array, tuple(Value(part, True) for part in parts))
            return
        if separator == "":
            parts = [text]
        elif blank:
            parts = text.strip().split(None, len(names) - 1)
        else:
            parts = re.split(f"[{re.escape(separator or '')}]", text, maxsplit=len(names) - 1)
        for number, name in enumerate(names):
            shell.set(name, Value(parts[number] if number < len(parts) else "", True))

    # --- redirections ---

    def redirected(self, follower: Follower, node: Node, stdin: Text) -> CommandOutcome:
        """A statement whose input or output is a file, or a text that stands in the script."""
        return redirect(follower, node, stdin)
