"""What the modules of Ansible's tasks write into files. Pure."""

import shlex
from collections.abc import Callable, Mapping

from certagent.domain.sources.ansible_arguments import Arguments, TaskContext, places_of, split
from certagent.domain.sources.jinja_templates import TemplateError, render
from certagent.domain.sources.jinja_values import UNTOLD
from certagent.domain.sources.shell_files import follow_script
from certagent.domain.sources.shell_state import ShellRun
from certagent.domain.sources.shell_syntax import ShellScript
from certagent.domain.sources.virtual_files import Guard
from certagent.domain.sources.writes import CodePlace, Note, Text, TextLine, Value, lines_at


class AnsibleModules:
    """Each module by its name; what cannot be followed is noted."""

    def __init__(self, run: ShellRun, notes: list[Note]) -> None:
        self._run = run
        self._tree = run.tree
        self.notes = notes

    def line_in_file(self, arguments: Arguments, around: TaskContext) -> None:
        """`lineinfile`: a line that is there once."""
        path = arguments.text("path", "dest", "destfile")
        if path is None or arguments.text("state") == "absent" or "line" not in arguments.named:
            return
        self._append(around, path, arguments.named["line"])

    def block_in_file(self, arguments: Arguments, around: TaskContext) -> None:
        """`blockinfile`: lines between two marks."""
        path = arguments.text("path", "dest", "destfile")
        block = arguments.named.get("block", arguments.named.get("content"))
        if path is not None and block is not None and arguments.text("state") != "absent":
            self._append(around, path, block)

    def replace_in_file(self, arguments: Arguments, around: TaskContext) -> None:
        """`replace`: what the pattern leaves of a line is unknown."""
        path, text = arguments.text("path", "dest"), arguments.text("replace")
        if path is not None and text:
            place = arguments.named["replace"][0].place
            line = TextLine(f"{UNTOLD}{text.strip()}{UNTOLD}", place, True)
            self._run.files.edit(around.host, path, line)

    def _append(self, around: TaskContext, path: str, text: Text) -> None:
        closed = (*text, TextLine("\n", text[-1].place)) if text else ()
        self._run.files.append(around.host, path, closed, (Guard(around.host, path),))

    def copy_file(self, arguments: Arguments, around: TaskContext) -> None:
        """`copy`: a content, or a file of the tree."""
        path, source = arguments.text("dest"), arguments.text("src")
        if path is None:
            return
        if "content" in arguments.named:
            self._run.files.replace(around.host, path, arguments.named["content"])
        elif source is not None and arguments.text("remote_src") not in ("true", "yes", "True"):
            found = self._tree.first(places_of(around.folder, "files", source))
            text = self._tree.read(found) if found is not None else None
            if found is not None and text is not None:
                self._run.files.replace(around.host, path, lines_at(text, found))

    def fill_template(self, arguments: Arguments, around: TaskContext) -> None:
        """`template`: a Jinja file of the tree."""
        path, source = arguments.text("dest"), arguments.text("src")
        found = self._tree.first(places_of(around.folder, "templates", source)) if source is not None else None
        text = self._tree.read(found) if found is not None else None
        if path is None or found is None or text is None:
            return
        try:
            self._run.files.replace(around.host, path, render(lines_at(text, found), around.variables))
        except TemplateError as error:
            self.notes.append(Note(CodePlace(found, error.line), str(error)))

    def run_shell(self, arguments: Arguments, around: TaskContext) -> None:
        """`shell`, `raw`."""
        self._script(arguments.named.get("cmd", arguments.free), around)

    def run_command(self, arguments: Arguments, around: TaskContext) -> None:
        """`command`: no shell, so that `>` is a word like any other."""
        text = arguments.named.get("cmd", arguments.free)
        argv = split("".join(part.text for part in text))
        if argv and text:
            resolved = any(part.resolved for part in text)
            self._script((TextLine(shlex.join(argv) + "\n", text[0].place, resolved),), around)

    def run_script(self, arguments: Arguments, around: TaskContext) -> None:
        """`script`: a file of the tree is run there."""
        words = split(arguments.text("cmd") or "".join(part.text for part in arguments.free))
        found = self._tree.first(places_of(around.folder, "files", words[0])) if words else None
        text = self._tree.read(found) if found is not None else None
        if found is not None and text is not None:
            script, args = ShellScript.of_file(text, found), tuple(Value(word, True) for word in words[1:])
            self._note(follow_script(self._run.another(), script, node=around.host, args=args))

    def _script(self, text: Text, around: TaskContext) -> None:
        if text:
            script = ShellScript.of_text(text, text[0].place)
            self._note(follow_script(self._run.another(), script, node=around.host, args=()))

    def _note(self, note: Note | None) -> None:
        if note is not None:
            self.notes.append(note)


MODULES: Mapping[str, Callable[[AnsibleModules, Arguments, TaskContext], None]] = {
    "lineinfile": AnsibleModules.line_in_file,
    "blockinfile": AnsibleModules.block_in_file,
    "replace": AnsibleModules.replace_in_file,
    "copy": AnsibleModules.copy_file,
    "template": AnsibleModules.fill_template,
    "shell": AnsibleModules.run_shell,
    "raw": AnsibleModules.run_shell,
    "command": AnsibleModules.run_command,
    "script": AnsibleModules.run_script,
}
"""By the names that tasks have for them, without their collection."""
