"""A whole tree of provisioning code: which file is what, and everything that it would write. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from certagent.domain.resolution.file_formats import RESOLV_CONF_FILE
from certagent.domain.sources.ansible import Playbooks, is_playbook, is_task_list
from certagent.domain.sources.cloud_init import CloudConfig, has_its_keys
from certagent.domain.sources.compose import ComposeFile, is_compose
from certagent.domain.sources.jinja_templates import is_template
from certagent.domain.sources.shell_files import follow_script
from certagent.domain.sources.shell_state import ShellRun
from certagent.domain.sources.shell_syntax import LARGEST_SCRIPT, ShellScript
from certagent.domain.sources.terraform import Terraform
from certagent.domain.sources.user_data import follow_user_data, is_user_data
from certagent.domain.sources.virtual_files import VirtualFiles, lines_of_guest
from certagent.domain.sources.writes import NOBODY_KNOWS, CodePlace, Note, SourceTree, Value, Write, folder_of, lines_at
from certagent.domain.sources.yaml_positions import LARGEST_YAML, NotYamlError, YamlFile

_OF_INTEREST = re.compile(
    r"hosts|resolv|nsswitch|dnsmasq|nameserver|searchdomain|add-host|\bdns|^\s*(?:source|\.)\s|^\s*import_|^\s*roles:"
    r"|^\s*- hosts:|hookscript|\.sh\b",
    re.MULTILINE,
)
_PLAY = re.compile(r"^- hosts:", re.MULTILINE)
_SHELL_MARK = re.compile(r"#!\s*\S*(?:/|env\s+(?:-\S+\s+)?)(?:ba|da|a|k|z)?sh\b")
_GUEST_CONF = re.compile(r"(?:.*/)?(?P<node>\d+)\.conf")
_GUEST_KEYS = re.compile(r"^(?:arch|ostype|rootfs|scsihw|net0|bootdisk|cores):\s", re.MULTILINE)
_HOOK = re.compile(r"^hookscript:\s*[\w-]+:snippets/(?P<name>\S+)", re.MULTILINE)
_DNSMASQ = re.compile(r"(?:.*/)?(?:dnsmasq[\w.-]*\.conf|dnsmasq\.d/[\w.-]+)(?P<template>\.j2|\.tmpl|\.tftpl)?")
_TEMPLATES = (".j2", ".jinja", ".jinja2", ".tftpl", ".tpl", ".tmpl", ".erb")
"""What they come to is known only where they are filled."""
_CA_NAMES = re.compile(r"(?:.*[_-])?(?:step[_-]?ca|smallstep|ca)(?:[_-]?\d+)?", re.IGNORECASE)


class ManagedFile(msgspec.Struct, frozen=True):
    """A resolver file that somebody else rewrites, by a setting of the tree."""

    node: str | None
    file: str
    place: CodePlace
    manager: str


class SourceSurvey(msgspec.Struct, frozen=True, kw_only=True):
    """What a tree writes. `authorities`: (node, source) of code that sets up the CA; `guests`: node -> who rewrites its
    resolver files; `dnsmasq`: files of dnsmasq's that stand in the tree as they are."""

    writes: tuple[Write, ...]
    notes: tuple[Note, ...]
    managed: tuple[ManagedFile, ...]
    authorities: frozenset[tuple[str | None, str]]
    guests: Mapping[str, str]
    dnsmasq: tuple[str, ...]


class NodeRule:
    """Tells the node by a file's path: `lxc/{node}.sh`, where `*` is any part of a path."""

    def __init__(self, pattern: str) -> None:
        parts = re.split(r"(\{node\}|\*)", pattern)
        known = {"{node}": r"(?P<node>[\w.-]+?)", "*": "[^/]*"}
        self._pattern = re.compile("(?:.*/)?" + "".join(known.get(part) or re.escape(part) for part in parts))

    def node_of(self, path: str) -> str | None:
        """The node of a file; None for one of which it says nothing."""
        found = self._pattern.fullmatch(path)
        return found["node"] if found is not None else None


def survey(files: Mapping[str, str], rules: tuple[NodeRule, ...] = ()) -> SourceSurvey:
    """Everything that the files of a tree would write."""
    return _Surveyor(SourceTree(files), rules).survey()


class _Surveyor:
    def __init__(self, tree: SourceTree, rules: tuple[NodeRule, ...]) -> None:
        self._tree = tree
        self._rules = rules
        self._files = VirtualFiles()
        self._run = ShellRun(tree, self._files)
        self._playbooks = Playbooks(self._run)
        self._notes: list[Note] = []
        self._managed: list[ManagedFile] = []
        self._dnsmasq: list[str] = []
        self._plays: list[YamlFile] = []
        self._other_yaml: list[YamlFile] = []
        self._hooks: dict[str, list[str]] = {}
        self._folders: dict[str, None] = {}
        self._scripts: list[str] = []
        self._user_data: list[str] = []

    def survey(self) -> SourceSurvey:
        for path in self._tree.under(""):
            self._sort(path, self._tree.read(path) or "")
        for path in self._scripts:
            self._script(path)
        for path in self._user_data:
            self._follow_user_data(path)
        for file in self._plays:
            self._follow_yaml(file, self._playbooks.follow)
        for file in self._other_yaml:
            self._follow_yaml(file, self._follow_other)
        for folder in self._folders:
            terraform = Terraform(self._run.another(elsewhere=True), folder)
            terraform.follow()
            self._notes += terraform.notes
        return self._result()

    def _result(self) -> SourceSurvey:
        notes = dict.fromkeys([*self._notes, *self._playbooks.notes])
        return SourceSurvey(
            writes=tuple(self._files.writes()),
            notes=tuple(notes),
            managed=tuple(self._managed),
            authorities=frozenset(self._run.authorities),
            guests=dict(self._run.guests),
            dnsmasq=tuple(self._dnsmasq),
        )

    def _sort(self, path: str, text: str) -> None:
        """What a file is, by its name and its first lines."""
        if path.endswith((".tf", ".tfvars")):
            if _OF_INTEREST.search(text):
                self._folders[folder_of(path)] = None
        elif is_user_data(text):
            self._user_data.append(path)
        elif path.endswith((".yml", ".yaml")):
            if len(text) > LARGEST_YAML or _OF_INTEREST.search(text) or "manage_" in text:
                self._read_yaml(path, text)
        elif _GUEST_CONF.fullmatch(path) and len(_GUEST_KEYS.findall(text)) >= 2:
            self._guest(path, text)
        elif _DNSMASQ.fullmatch(path):
            self._dnsmasq.append(path)
        elif self._is_script(path, text) and (len(text) > LARGEST_SCRIPT or _OF_INTEREST.search(text)):
            self._scripts.append(path)

    def _is_script(self, path: str, text: str) -> bool:
        is_named = path.endswith((".sh", ".bash", ".ash"))
        return (is_named or _SHELL_MARK.match(text) is not None) and not path.endswith(_TEMPLATES)

    def _read_yaml(self, path: str, text: str) -> None:
        try:
            file = YamlFile.parse(text, path)
            (self._plays if is_playbook(file) else self._other_yaml).append(file)
        except NotYamlError as error:
            if not is_template(text) or len(text) > LARGEST_YAML or _PLAY.search(text):
                self._notes.append(Note(CodePlace(path, error.line), str(error)))

    def _follow_yaml(self, file: YamlFile, follow: Callable[[YamlFile], None]) -> None:
        try:
            follow(file)
        except (NotYamlError, RecursionError) as error:
            line = error.line if isinstance(error, NotYamlError) else 1
            self._notes.append(Note(CodePlace(file.source, line), str(error)))

    def _follow_user_data(self, path: str) -> None:
        text = lines_at(self._tree.read(path) or "", path)
        try:
            self._keep(follow_user_data(self._run.another(elsewhere=True), text, self._node_of(path)))
        except (NotYamlError, RecursionError) as error:
            self._notes.append(Note(CodePlace(path, error.line if isinstance(error, NotYamlError) else 1), str(error)))

    def _keep(self, config: CloudConfig) -> None:
        self._notes += config.notes
        self._managed += [ManagedFile(*one, "cloud-init") for one in config.managed]

    def _follow_other(self, file: YamlFile) -> None:
        if has_its_keys(file):
            config = CloudConfig(self._run.another(elsewhere=True), self._node_of(file.source))
            config.learn_name(file)
            config.follow(file)
            self._keep(config)
        elif is_compose(file):
            compose = ComposeFile(self._run.another(elsewhere=True), file)
            compose.follow()
            self._notes += compose.notes
        elif is_task_list(file):
            self._playbooks.follow_unused(file)

    def _guest(self, path: str, text: str) -> None:
        match = _GUEST_CONF.fullmatch(path)
        node = match["node"] if match is not None else None
        lines = tuple(line._replace(text=line.text.rstrip("\n")) for line in lines_at(text, path))
        found = tuple(line._replace(text=line.text + "\n") for line in lines_of_guest(list(lines)))
        if found:
            self._files.elsewhere().replace(node, RESOLV_CONF_FILE, found, manager="Proxmox VE")
        for hook in _HOOK.finditer(text):
            self._hooks.setdefault(hook["name"], []).append(str(node))

    def _script(self, path: str) -> None:
        text = self._tree.read(path) or ""
        if len(text) > LARGEST_SCRIPT:
            reason = f"it is longer than {LARGEST_SCRIPT // 1024} KiB, and only that part is read"
            self._notes.append(Note(CodePlace(path, 1), reason))
        guests = self._hooks.get(path.rpartition("/")[2], [])
        script = ShellScript.of_file(text, path)
        for guest in guests:
            args = (Value(guest), NOBODY_KNOWS)
            self._notes += self._followed(script, None, args)
        if not guests:
            self._notes += self._followed(script, self._node_of(path), None)

    def _followed(self, script: ShellScript, node: str | None, args: tuple[Value, ...] | None) -> Iterator[Note]:
        note = follow_script(self._run.another(elsewhere=True), script, node=node, args=args)
        return iter([note] if note is not None else [])

    def _node_of(self, path: str) -> str | None:
        return next((node for rule in self._rules if (node := rule.node_of(path)) is not None), None)


def is_authority_name(name: str) -> bool:
    """Whether a node's name says that it is the CA's."""
    return _CA_NAMES.fullmatch(name.partition(".")[0]) is not None
