"""Ansible's playbooks and roles: what their tasks write into resolver files, host by host. Pure.

Followed are plays, roles, includes, blocks, loops, `when`, variables of plays, roles, groups and hosts, and templates.
Facts are known to nobody.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from certagent.domain.sources.ansible_arguments import (
    Arguments,
    TaskContext,
    is_false,
    items,
    pairs,
    rendered,
)
from certagent.domain.sources.ansible_inventory import AnsibleInventory
from certagent.domain.sources.ansible_modules import MODULES, AnsibleModules
from certagent.domain.sources.jinja_templates import TemplateError, expand
from certagent.domain.sources.jinja_values import UNTOLD
from certagent.domain.sources.shell_state import ShellRun
from certagent.domain.sources.writes import CodePlace, Note, Text, TextLine, folder_of
from certagent.domain.sources.yaml_positions import Node, NotYamlError, YamlFile

_MOST_TASKS = 2_000
_DEEPEST = 12
_KEYWORDS = ("name", "when", "loop", "vars", "become", "tags", "register", "notify", "delegate_to", "block", "args")


class Playbooks:
    """All playbooks of a tree, and the roles and task files that none of them names."""

    def __init__(self, run: ShellRun) -> None:
        self._run = run
        self._tree = run.tree
        self._inventory: AnsibleInventory | None = None
        self._used: set[str] = set()
        self._count = 0
        self.notes: list[Note] = []
        self._modules = AnsibleModules(run, self.notes)

    def follow(self, file: YamlFile) -> None:
        """A file that is a list of plays."""
        self._used.add(file.source)
        for document in file.documents:
            for play in file.items(document):
                self._play(file, play)

    def follow_unused(self, file: YamlFile) -> None:
        """A file that is a list of tasks, if no play came to it: on whatever host."""
        if file.source in self._used:
            return
        self._used.add(file.source)
        role = file.source.partition("/tasks/")[0] if "/tasks/" in file.source else ""
        folder = role or folder_of(file.source)
        variables = self._role_variables(role) if role else {}
        around = TaskContext(None, {**self.inventory.variables_of(None), **variables}, folder)
        for document in file.documents:
            self._tasks(file, document, around)

    @property
    def inventory(self) -> AnsibleInventory:
        """Read when the first play needs it."""
        if self._inventory is None:
            self._inventory = AnsibleInventory(self._tree)
        return self._inventory

    def _play(self, file: YamlFile, play: Node) -> None:
        imported = file.text(file.get(play, "import_playbook", "ansible.builtin.import_playbook"))
        if imported is not None:
            self._import(folder_of(file.source), imported)
        hosts = file.data(file.get(play, "hosts"))
        if hosts is None:
            return
        folder = folder_of(file.source)
        for host in self.inventory.hosts_of(hosts):
            variables = {**self.inventory.variables_of(host), **self._play_variables(file, play, folder)}
            around = TaskContext(host, variables, folder)
            for key in ("pre_tasks", "roles", "tasks", "post_tasks", "handlers"):
                part = file.get(play, key)
                if key == "roles":
                    self._roles(file, part, around)
                else:
                    self._tasks(file, part, around)

    def _import(self, folder: str, path: str) -> None:
        file = self._yaml([f"{folder}/{path}", path])
        if file is not None and file.source not in self._used:
            self.follow(file)

    def _play_variables(self, file: YamlFile, play: Node, folder: str) -> dict[str, Any]:
        variables = file.data(file.get(play, "vars"))
        found: dict[str, Any] = dict(variables) if isinstance(variables, dict) else {}
        paths = file.data(file.get(play, "vars_files"))
        for path in paths if isinstance(paths, list) else []:
            found |= self._variables_at([f"{folder}/{path}", str(path)])
        return found

    def _variables_at(self, paths: Sequence[str]) -> dict[str, Any]:
        file = self._yaml(paths)
        data = file.data(file.documents[0]) if file is not None and file.documents else None
        return data if isinstance(data, dict) else {}

    def _yaml(self, paths: Sequence[str]) -> YamlFile | None:
        found = self._tree.first(paths)
        text = self._tree.read(found) if found is not None else None
        if found is None or text is None:
            return None
        try:
            return YamlFile.parse(text, found)
        except NotYamlError as error:
            self.notes.append(Note(CodePlace(found, error.line), str(error)))
            return None

    # --- roles ---

    def _roles(self, file: YamlFile, node: Node | None, around: TaskContext) -> None:
        for role in file.items(node):
            name = file.text(role) or file.text(file.get(role, "role", "name"))
            given = file.data(file.get(role, "vars"))
            if name is not None:
                self._role(name, around, given if isinstance(given, dict) else {})

    def _role(self, name: str, around: TaskContext, given: Mapping[str, Any], tasks: str = "main") -> None:
        short = name.rpartition(".")[2]
        tops = dict.fromkeys((around.folder.partition("roles/")[0].rstrip("/"), around.folder, ""))
        for root in [f"{top}/roles/{short}" if top else f"roles/{short}" for top in tops]:
            file = self._yaml([f"{root}/tasks/{tasks}.yml", f"{root}/tasks/{tasks}.yaml", f"{root}/tasks/{tasks}"])
            if file is None or around.depth > _DEEPEST:
                continue
            self._used.add(file.source)
            defaults = self._role_variables(root)
            variables = {**defaults, **around.variables, **given}
            inner = TaskContext(around.host, variables, root, around.depth + 1)
            for document in file.documents:
                self._tasks(file, document, inner)
            handlers = self._yaml([f"{root}/handlers/main.yml"])
            if handlers is not None:
                for document in handlers.documents:
                    self._tasks(handlers, document, inner)
            return

    def _role_variables(self, root: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in ("defaults", "vars"):
            found |= self._variables_at([f"{root}/{part}/main.yml", f"{root}/{part}/main.yaml"])
        return found

    # --- tasks ---

    def _tasks(self, file: YamlFile, node: Node | None, around: TaskContext) -> None:
        for task in file.items(node):
            self._count += 1
            if self._count > _MOST_TASKS or around.depth > _DEEPEST:
                return
            try:
                self._task(file, task, around)
            except TemplateError as error:
                self.notes.append(Note(CodePlace(file.place(task).source, error.line), str(error)))

    def _task(self, file: YamlFile, task: Node, around: TaskContext) -> None:
        entries = file.entries(task)
        if not entries:
            return
        around = self._with_task(file, entries, around)
        if any(is_false(condition, around.variables) for condition in self._conditions(file, entries)):
            return
        for key in ("block", "rescue", "always"):
            if key in entries:
                inner = msgspec.structs.replace(around, depth=around.depth + 1)
                self._tasks(file, entries[key][1], inner)
        for key, (_, value) in entries.items():
            module = key.rpartition(".")[2]
            if key in _KEYWORDS or module not in MODULES.keys() | _INCLUDES.keys():
                continue
            for turn in self._turns(file, entries, around):
                arguments = self._arguments(file, entries, value, turn)
                if module in _INCLUDES:
                    _INCLUDES[module](self, arguments, turn)
                else:
                    MODULES[module](self._modules, arguments, turn)

    def _with_task(self, file: YamlFile, entries: Mapping[str, tuple[Node, Node]], around: TaskContext) -> TaskContext:
        given = file.data(entries["vars"][1]) if "vars" in entries else None
        variables = {**around.variables, **(given if isinstance(given, dict) else {})}
        host = around.host
        if "delegate_to" in entries:
            target = expand(file.text(entries["delegate_to"][1]) or UNTOLD, variables)
            host = target if isinstance(target, str) and UNTOLD not in target else None
        return msgspec.structs.replace(around, variables=variables, host=host)

    def _conditions(self, file: YamlFile, entries: Mapping[str, tuple[Node, Node]]) -> list[Any]:
        value = file.data(entries["when"][1]) if "when" in entries else []
        return value if isinstance(value, list) else [value]

    def _turns(
        self, file: YamlFile, entries: Mapping[str, tuple[Node, Node]], around: TaskContext
    ) -> Iterator[TaskContext]:
        """The task once for each item of its loop."""
        key = next((key for key in entries if key == "loop" or key.startswith("with_")), None)
        if key is None:
            yield around
            return
        values = file.data(entries[key][1])
        control = file.data(entries["loop_control"][1]) if "loop_control" in entries else None
        name = control.get("loop_var", "item") if isinstance(control, dict) else "item"
        for item in items(values, around.variables, is_flat=key != "loop"):
            yield msgspec.structs.replace(around, variables={**around.variables, str(name): item})

    def _arguments(
        self, file: YamlFile, entries: Mapping[str, tuple[Node, Node]], value: Node, around: TaskContext
    ) -> Arguments:
        """What the module is given, with variables in their place."""
        named = _scalars(file, file.entries(value))
        named |= _scalars(file, file.entries(entries["args"][1])) if "args" in entries else {}
        free: Text = ()
        text = file.text(value)
        if text is not None:
            free = file.lines(value)
            named |= {name: (TextLine(part, file.place(value)),) for name, part in pairs(text)}
        around_text = {name: rendered(part, around.variables) for name, part in named.items()}
        return Arguments(around_text, rendered(free, around.variables))

    # --- includes ---

    def include_tasks(self, arguments: Arguments, around: TaskContext) -> None:
        """`include_tasks`, `import_tasks`."""
        path = arguments.text("file") or "".join(part.text for part in arguments.free).strip()
        file = self._yaml([f"{around.folder}/{path}", f"{around.folder}/tasks/{path}", path])
        if file is None:
            return
        self._used.add(file.source)
        for document in file.documents:
            self._tasks(file, document, msgspec.structs.replace(around, depth=around.depth + 1))

    def include_role(self, arguments: Arguments, around: TaskContext) -> None:
        """`include_role`, `import_role`."""
        name = arguments.text("name")
        if name is not None:
            self._role(name, around, {}, arguments.text("tasks_from") or "main")


_INCLUDES: Mapping[str, Callable[[Playbooks, Arguments, TaskContext], None]] = {
    "include_tasks": Playbooks.include_tasks,
    "import_tasks": Playbooks.include_tasks,
    "include": Playbooks.include_tasks,
    "include_role": Playbooks.include_role,
    "import_role": Playbooks.include_role,
}


def is_playbook(file: YamlFile) -> bool:
    """Whether it is a list of plays."""
    return any(
        {"hosts", "import_playbook", "ansible.builtin.import_playbook"} & file.entries(item).keys()
        for document in file.documents
        for item in file.items(document)
    )


def is_task_list(file: YamlFile) -> bool:
    """Whether it is a list of tasks."""
    keys = {key.rpartition(".")[2] for item in _all_items(file) for key in file.entries(item)}
    return bool(keys & (_INCLUDES.keys() | MODULES.keys() | {"block"}))


def _all_items(file: YamlFile) -> Iterator[Node]:
    return (item for document in file.documents for item in file.items(document))


def _scalars(file: YamlFile, entries: Mapping[str, tuple[Node, Node]]) -> dict[str, Text]:
    return {name: file.lines(node) for name, (_, node) in entries.items() if file.text(node) is not None}
