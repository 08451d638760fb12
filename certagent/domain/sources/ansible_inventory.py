"""Ansible's inventory: hosts, groups and their variables, as files of the tree name them. Pure."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

from certagent.domain.sources.writes import SourceTree
from certagent.domain.sources.yaml_positions import NotYamlError, YamlFile

_FILE = re.compile(r"(?:.*/)?(?:inventor(?:y|ies)(?:/.*|\.\w+)?|hosts|hosts\.(?:ini|ya?ml))")
_SECTION = re.compile(r"\[(?P<name>[\w.-]+)(?::(?P<kind>children|vars))?\]\s*")
_RANGE = re.compile(r"(?P<before>.*)\[(?P<first>\d+):(?P<last>\d+)\](?P<after>.*)")
_VARIABLES = re.compile(r"(?:.*/)?(?P<kind>group_vars|host_vars)/(?P<name>[\w.-]+?)(?:/.*)?(?:\.ya?ml|\.json)?")
_MOST_HOSTS = 500


class AnsibleInventory:
    """Groups by name, and the variables of groups and hosts."""

    def __init__(self, tree: SourceTree) -> None:
        self._groups: dict[str, list[str]] = {}
        self._children: dict[str, list[str]] = {}
        self._host_variables: dict[str, dict[str, Any]] = {}
        self._group_variables: dict[str, dict[str, Any]] = {}
        self._everybody: dict[str, dict[str, Any]] | None = None
        for path in tree.under(""):
            if _VARIABLES.fullmatch(path):
                self._read_variables(path, tree.read(path) or "")
            elif _FILE.fullmatch(path):
                self._read(path, tree.read(path) or "")

    def hosts_of(self, pattern: Any) -> list[str | None]:
        """The hosts of a play; one that nobody knows where its pattern does not tell."""
        parts = pattern if isinstance(pattern, list) else re.split(r"[,:]", str(pattern))
        hosts: dict[str | None, None] = {}
        for part in (str(part).strip() for part in parts):
            if part.startswith(("!", "&")):
                continue
            hosts |= dict.fromkeys(self._hosts_of(part))
        return list(hosts)[:_MOST_HOSTS]

    def _hosts_of(self, name: str) -> list[str] | list[None]:
        if name in ("all", "*"):
            return [*self._all_hosts()] or [None]
        if name in self._groups or name in self._children:
            return list(dict.fromkeys(self._members(name, 0))) or [None]
        return [name] if re.fullmatch(r"[\w.-]+", name) else [None]

    def _all_hosts(self) -> list[str]:
        return list(dict.fromkeys(host for hosts in self._groups.values() for host in hosts))

    def _members(self, group: str, depth: int) -> Iterator[str]:
        yield from self._groups.get(group, ())
        for child in self._children.get(group, ()) if depth < 10 else ():
            yield from self._members(child, depth + 1)

    def variables_of(self, host: str | None) -> dict[str, Any]:
        """What a host's groups and its own files say, the nearest last."""
        if self._everybody is None:
            self._everybody = {
                "groups": {group: list(self._members(group, 0)) for group in {*self._groups, *self._children}},
                "hostvars": {name: self._own_variables(name) for name in self._all_hosts()[:_MOST_HOSTS]},
            }
            self._everybody["groups"]["all"] = self._all_hosts()
        found = {**self._everybody, **self._group_variables.get("all", {})}
        return found if host is None else {**found, **self._own_variables(host)}

    def _own_variables(self, host: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for group, variables in self._group_variables.items():
            if group != "all" and host in self._members(group, 0):
                found |= variables
        return {**found, **self._host_variables.get(host, {}), "inventory_hostname": host}

    def _read_variables(self, path: str, text: str) -> None:
        match = _VARIABLES.fullmatch(path)
        data = _first_document(path, text)
        if match is None or not isinstance(data, dict):
            return
        store = self._group_variables if match["kind"] == "group_vars" else self._host_variables
        store.setdefault(match["name"], {}).update(data)

    def _read(self, path: str, text: str) -> None:
        data = _first_document(path, text) if path.endswith((".yml", ".yaml")) else None
        if isinstance(data, dict):
            for name, group in data.items():
                self._read_group(name, group, 0)
        elif not path.endswith((".yml", ".yaml", ".sh", ".py", ".j2", ".tf")):
            self._read_ini(text)

    def _read_group(self, name: str, group: Any, depth: int) -> None:
        if not isinstance(group, dict) or depth > 10:
            return
        hosts = group.get("hosts")
        for host, variables in hosts.items() if isinstance(hosts, dict) else ():
            self._groups.setdefault(name, []).append(host)
            if isinstance(variables, dict):
                self._host_variables.setdefault(host, {}).update(variables)
        if isinstance(group.get("vars"), dict):
            self._group_variables.setdefault(name, {}).update(group["vars"])
        children = group.get("children")
        for child, inner in children.items() if isinstance(children, dict) else ():
            self._children.setdefault(name, []).append(child)
            self._read_group(child, inner, depth + 1)

    def _read_ini(self, text: str) -> None:
        group, kind = "ungrouped", None
        for line in (line.partition("#")[0].strip() for line in text[:200_000].splitlines()):
            section = _SECTION.fullmatch(line)
            if section is not None:
                group, kind = section["name"], section["kind"]
            elif line and kind == "children":
                self._children.setdefault(group, []).append(line)
            elif line and kind == "vars":
                name, _, value = line.partition("=")
                self._group_variables.setdefault(group, {})[name.strip()] = value.strip()
            elif line and re.match(r"[A-Za-z0-9]", line):
                self._read_host(group, line)

    def _read_host(self, group: str, line: str) -> None:
        try:
            name, *words = shlex.split(line)
        except ValueError:
            return
        if any("=" not in word for word in words):
            return  # a hosts file, or whatever else has that name
        for host in _expanded(name):
            self._groups.setdefault(group, []).append(host)
            for word in words:
                key, _, value = word.partition("=")
                self._host_variables.setdefault(host, {})[key] = value


def _expanded(name: str) -> list[str]:
    found = _RANGE.fullmatch(name)
    if found is None:
        return [name]
    width = len(found["first"])
    numbers = range(int(found["first"][:6]), int(found["last"][:6]) + 1)[:_MOST_HOSTS]
    return [f"{found['before']}{number:0{width}d}{found['after']}" for number in numbers]


def _first_document(path: str, text: str) -> Any:
    try:
        file = YamlFile.parse(text, path)
        return file.data(file.documents[0]) if file.documents else None
    except NotYamlError:
        return None
