"""Where a shell stands while its script is followed: variables, arguments, the node, what was asked before. Pure."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from certagent.domain.sources.shell_syntax import Node, ShellScript
from certagent.domain.sources.virtual_files import Guard, VirtualFiles
from certagent.domain.sources.writes import NOBODY_KNOWS, CodePlace, SourceTree, Text, Value

TREE = "/@tree"
"""Where the tree seems to be mounted, for what a script finds out about its own place."""
MOST_STEPS = 20_000
MOST_TURNS = 300
"""Of one loop."""
DEEPEST = 40

Variable = Value | tuple[Value, ...] | dict[str, Value]


class TooMuchError(Exception):
    """The script does more than anybody follows."""


class Leave(Exception):
    """`break`, `continue`, `return` or `exit`. `text`: what was printed before."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.text: Text = ()


class Function(msgspec.Struct, frozen=True):
    """A function's body, in the script that defines it."""

    body: Node
    script: ShellScript


class ShellRun:
    """What all shells of one run share: the tree, the files that are written, and how much was done already."""

    def __init__(self, tree: SourceTree, files: VirtualFiles) -> None:
        self.tree = tree
        self.files = files
        self.authorities: set[tuple[str | None, str]] = set()
        """(node, source) of commands that set up or run the CA."""
        self.guests: dict[str, str] = {}
        """Node -> who rewrites its resolver files: a container of Proxmox's or of Docker's."""
        self._steps = 0

    def another(self, *, elsewhere: bool = False) -> "ShellRun":
        """The next run, with as many steps again: on the same files, or on files of its own."""
        run = ShellRun(self.tree, self.files.elsewhere() if elsewhere else self.files)
        run.authorities, run.guests = self.authorities, self.guests
        return run

    def step(self) -> None:
        """Count one command. Raises `TooMuchError`."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TooMuchError("it is more complex than certagent evaluates")


class Shell:
    """One shell. `args`: None where nobody knows with what it is called."""

    def __init__(self, run: ShellRun, script: ShellScript, node: str | None = None) -> None:
        self.run = run
        self.script = script
        self.node = node
        self.args: tuple[Value, ...] | None = None
        self.variables: dict[str, Variable] = {}
        self.functions: dict[str, Function] = {}
        self.folder = f"{TREE}/{script.folder}".rstrip("/")
        self.root = ""
        self.guards: tuple[Guard, ...] = ()
        self.asked: list[Guard] = []
        self.dashlike = script.is_posix
        self.depth = 0
        self.caller: CodePlace | None = None
        self._locals: list[dict[str, Variable | None]] = []

    def child(self, script: ShellScript) -> "Shell":
        """A shell that this one starts on the same node; what this one has set is taken to be exported."""
        other = self.on_node(script, self.node)
        other.variables, other.folder, other.root = dict(self.variables), self.folder, self.root
        return other

    def on_node(self, script: ShellScript, node: str | None) -> "Shell":
        """A shell that this one starts on another node, which knows nothing of its variables."""
        other = Shell(self.run, script, node)
        other.guards, other.depth, other.caller = self.guards, self.depth + 1, self.caller
        other.check_depth()
        return other

    def check_depth(self) -> None:
        """Raises `TooMuchError` where scripts call scripts without an end."""
        if self.depth > DEEPEST:
            raise TooMuchError("its calls are nested too deeply")

    def get(self, name: str) -> Variable | None:
        """A variable's value; None for one that nobody has set."""
        return self.variables.get(name)

    def set(self, name: str, value: Variable) -> None:
        """Assign; by way of a variable a text is no literal any more."""
        if isinstance(value, Value):
            self.variables[name] = self.carried(value)
        elif isinstance(value, dict):
            self.variables[name] = {key: self.carried(entry) for key, entry in value.items()}
        else:
            self.variables[name] = tuple(self.carried(entry) for entry in value)

    def carried(self, value: Value) -> Value:
        """The value by way of a variable or an argument: where it stood literally is kept."""
        origin = value.origin or (self.script.place(value.row) if value.row is not None else None)
        return Value(value.text, True, None, origin)

    def make_local(self, name: str) -> None:
        """Give the name back its value when the function ends."""
        if self._locals and name not in self._locals[-1]:
            self._locals[-1][name] = self.variables.pop(name, None)

    def made_local(self, name: str, before: Variable | None) -> None:
        """The same for a name that has its new value already."""
        if self._locals:
            self._locals[-1].setdefault(name, before)

    @contextmanager
    def calling(self, script: ShellScript, args: tuple[Value, ...], row: int) -> Iterator[None]:
        """Inside a function: its script, its arguments, its locals, its guards; called in that row."""
        kept = (self.script, self.args, self.guards, self.caller)
        self.caller = self.caller_of(args, row)
        self.script, self.args = script, tuple(map(self.carried, args))
        self._locals.append({})
        self.depth += 1
        try:
            self.check_depth()
            yield
        finally:
            self.depth -= 1
            for name, value in self._locals.pop().items():
                if value is None:
                    self.variables.pop(name, None)
                else:
                    self.variables[name] = value
            self.script, self.args, self.guards, self.caller = kept

    def caller_of(self, args: tuple[Value, ...], row: int) -> CodePlace | None:
        """The call that gives the words: this one if it has words of its own, else the one that led here."""
        return self.script.place(row) if any(not value.resolved for value in args) else self.caller

    @contextmanager
    def guarded(self, *guards: Guard) -> Iterator[None]:
        """Inside of what is done only if these are not so yet."""
        kept = self.guards
        self.guards = (*kept, *guards)
        try:
            yield
        finally:
            self.guards = kept

    def place(self, row: int) -> CodePlace:
        """A row of the script as a line of the tree."""
        return self.script.place(row)

    def absolute(self, path: str) -> str:
        """The path from the root of the node."""
        if not path.startswith("/"):
            path = f"{self.folder}/{path.removeprefix('./')}"
        if not path.startswith(TREE):
            path = self.root + path
        while "/./" in path:
            path = path.replace("/./", "/")
        return path.replace("//", "/")

    def in_tree(self, path: str) -> str | None:
        """The path of a file of the tree that this path of the script means."""
        absolute = self.absolute(path)
        if not absolute.startswith(TREE):
            return None
        from_root = [path] if not path.startswith("/") else []
        return self.run.tree.first([absolute.removeprefix(TREE), *from_root])


def merge(first: Mapping[str, Variable], other: Mapping[str, Variable]) -> dict[str, Variable]:
    """The variables after two ways of which nobody knows which is taken: what only one of them knows stays, what they
    differ in is unknown."""
    merged: dict[str, Variable] = {**first, **other}
    for name in first.keys() & other.keys():
        if first[name] != other[name]:
            known = [value for value in (first[name], other[name]) if not isinstance(value, Value) or value.is_known]
            merged[name] = known[0] if len(known) == 1 else NOBODY_KNOWS
    return merged
