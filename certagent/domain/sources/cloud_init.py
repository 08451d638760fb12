"""cloud-init's configuration: `bootcmd`, `runcmd`, `write_files`, `manage_etc_hosts`, `resolv_conf`. Pure.

As Debian's cloud-init does it: the truth of every snippet of this family is checked by two boots of the real one; that
of `resolv_conf` as Alpine runs it, because Debian's leaves that file alone. By its documents alone: user data in
Terraform's files, vendor data (each file is taken by itself, not merged with the user data), `merge_how`, the names of
templates of distributions other than Debian. What those templates hold by themselves, such as the node's own name at a
loopback address, is in no tree and is not told.
"""

import base64
import binascii
import posixpath
import re
import zlib
from collections.abc import Iterable

from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.sources.jinja_templates import TemplateError, is_template, render
from certagent.domain.sources.shell_files import follow_script
from certagent.domain.sources.shell_state import ShellRun
from certagent.domain.sources.shell_syntax import ShellScript
from certagent.domain.sources.virtual_files import ONCE
from certagent.domain.sources.writes import UNKNOWN, CodePlace, Note, Text, TextLine, is_resolver_file
from certagent.domain.sources.yaml_positions import LARGEST_YAML, Node, YamlFile, is_true

_KEYS = {"bootcmd", "runcmd", "write_files", "manage_etc_hosts", "manage_resolv_conf", "resolv_conf"}
_TEMPLATES = "/etc/cloud/templates/"
_SCRIPTS = re.compile(r"/var/lib/cloud/scripts/(?P<when>per-boot|per-instance|per-once)/[^/]+")
_YES = ("true", "1", "on", "yes", "template")
_BASE64 = ("b64", "base64")
_GZIP = ("gz", "gzip")


def has_its_keys(file: YamlFile) -> bool:
    """Whether a file without a first line that says so has two or more of its keys."""
    return any(len(_KEYS & file.entries(document).keys()) >= 2 for document in file.documents)


class CloudConfig:
    """One configuration. `node`: whose it is; `managed`: (node, file, place) of files that cloud-init rewrites at every
    start."""

    def __init__(self, run: ShellRun, node: str | None = None) -> None:
        self._run = run
        self.node = node
        self._fqdn: str | None = None
        self.notes: list[Note] = []
        self.managed: list[tuple[str | None, str, CodePlace]] = []

    def learn_name(self, file: YamlFile) -> None:
        """The name that a configuration gives its node; of several the last one counts."""
        for document in file.documents:
            fqdn, hostname = (file.text(file.get(document, key)) for key in ("fqdn", "hostname"))
            name = hostname or fqdn
            if name and not is_template(name) and UNKNOWN not in name:
                self.node = name.partition(".")[0]
                self._fqdn = fqdn or (hostname if hostname and "." in hostname else None)

    def follow(
        self, file: YamlFile, *, resolved: frozenset[CodePlace] = frozenset(), hidden: frozenset[str] = frozenset()
    ) -> None:
        """A whole file. `resolved`: the lines that came by way of a variable; `hidden`: keys that another part sets
        anew."""
        for document in file.documents:
            file.hide(document, hidden)
            self._document(file, document, resolved)

    def _document(self, file: YamlFile, document: Node, resolved: frozenset[CodePlace]) -> None:
        """In the order of a boot. The files that no start reads by itself come first: a `bootcmd` may use them from the
        second boot on."""
        entries = list(file.items(file.get(document, "write_files")))
        resolver_files = [entry for entry in entries if is_resolver_file(_path(file, entry) or "")]
        manages = file.get(document, "manage_etc_hosts")
        self._write_files(file, (entry for entry in entries if entry not in resolver_files), resolved, manages)
        self._commands(file, document, "bootcmd", resolved)
        self._write_files(file, resolver_files, resolved, manages)
        if manages is not None and (file.text(manages) or "").lower() in _YES:
            self.managed.append((self.node, HOSTS_FILE, file.place(manages)))
        if is_true(file.data(file.get(document, "manage_resolv_conf"))):
            self._resolv_conf(file, file.get(document, "resolv_conf"))
        for entry in entries:
            self._script_of_its_folders(file, entry, resolved)
        self._commands(file, document, "runcmd", resolved)

    def _write_files(
        self, file: YamlFile, entries: Iterable[Node], resolved: frozenset[CodePlace], manages: Node | None
    ) -> None:
        for entry in sorted(entries, key=lambda entry: is_true(file.data(file.get(entry, "defer")))):
            path, text = _path(file, entry), self._text_of_entry(file, entry, resolved)
            if path is None or text is None:
                continue
            if path.startswith(_TEMPLATES):
                if manages is not None and (file.text(manages) or "").lower() not in _YES:
                    continue  # cloud-init makes nothing of a template then
                text = self._template(text)
            if is_true(file.data(file.get(entry, "append"))):
                self._run.files.append(self.node, path, text, (ONCE,))
            else:
                self._run.files.replace(self.node, path, text)

    def _text_of_entry(self, file: YamlFile, entry: Node, resolved: frozenset[CodePlace]) -> Text | None:
        content = file.get(entry, "content")
        if content is None or file.text(content) is None:
            return None
        text = self._content(file, content, file.text(file.get(entry, "encoding")))
        return _marked(text, resolved)

    def _script_of_its_folders(self, file: YamlFile, entry: Node, resolved: frozenset[CodePlace]) -> None:
        """A script that cloud-init runs because of where it lies, if it may be run."""
        found = _SCRIPTS.fullmatch(_path(file, entry) or "")
        permissions = file.text(file.get(entry, "permissions")) or ""
        text = self._text_of_entry(file, entry, resolved)
        if found is not None and text and re.fullmatch(r"(?:0o?)?[0-7]?[1357][0-7]{2}", permissions):
            self._follow(ShellScript.of_text(text, text[0].place), once=found["when"] != "per-boot")

    def _content(self, file: YamlFile, node: Node, encoding: str | None) -> Text:
        """What is written. Of an encoding that it does not know cloud-init takes the text as it stands."""
        packing, _, coding = (encoding or "").lower().strip().partition("+")
        is_packed = packing in _GZIP and coding in ("", *_BASE64)
        is_base64 = coding in _BASE64 if is_packed else packing in _BASE64 and not coding
        is_binary = node.tag.endswith(":binary")
        if not is_base64 and not is_packed and not is_binary:
            return file.lines(node)
        try:
            decoded = (file.text(node) or "").encode()
            for _ in range(is_binary + is_base64):
                decoded = base64.b64decode(decoded)
            if is_packed:
                decoded = zlib.decompressobj(wbits=31).decompress(decoded, LARGEST_YAML)
        except (binascii.Error, ValueError, zlib.error):
            self.notes.append(Note(file.place(node), f"its content is not {encoding}"))
            return ()
        return (TextLine(decoded.decode("utf-8", "replace"), file.place(node)),)

    def _template(self, text: Text) -> Text:
        """A template of cloud-init's own for the hosts file, without the line that says so."""
        lines = tuple(line for line in text if not line.text.startswith("## template:"))
        names = {"hostname": self.node or UNKNOWN, "fqdn": self._fqdn or UNKNOWN}
        try:
            return render(lines, names)
        except TemplateError as error:
            self.notes.append(Note(lines[0].place, str(error)))
            return ()

    def _resolv_conf(self, file: YamlFile, node: Node | None) -> None:
        """The lines that cloud-init makes of the key, in its own order; each with the line of its key or item."""
        servers = file.items(file.get(node, "nameservers"))
        lines = [TextLine(f"nameserver {file.text(item)}\n", file.place(item)) for item in servers if file.text(item)]
        for key, keyword in (("searchdomains", "search"), ("domain", "domain"), ("sortlist", "sortlist")):
            value = file.get(node, key)
            if value is not None:
                items = [item for item in file.items(value) if file.text(item)]
                words = " ".join(str(file.text(item)) for item in items) or file.text(value) or ""
                lines.append(TextLine(f"{keyword} {words}\n", _place_of_key(file, node, key)))
        options = file.data(file.get(node, "options"))
        if isinstance(options, dict):
            flags = [name for name, value in options.items() if value is True]
            others = [f"{name}:{value}" for name, value in sorted(options.items()) if not isinstance(value, bool)]
            if flags or others:
                words = " ".join([*flags, *others])
                lines.append(TextLine(f"options {words}\n", _place_of_key(file, node, "options")))
        if lines:
            self._run.files.replace(self.node, RESOLV_CONF_FILE, tuple(lines), manager="cloud-init")

    def _commands(self, file: YamlFile, document: Node, key: str, resolved: frozenset[CodePlace]) -> None:
        """cloud-init makes one script of the whole list: a folder, a variable or an `exit` of one command counts for
        those after it. `bootcmd` runs at every boot."""
        commands = file.get(document, key)
        if commands is None:
            return
        text = [TextLine("#!/bin/sh\n", file.place(commands))]
        for command in file.items(commands):
            text += _marked(_command(file, command), resolved)
        if len(text) > 1:
            self._follow(ShellScript.of_text(tuple(text), text[0].place), once=key == "runcmd")

    def _follow(self, script: ShellScript, *, once: bool) -> None:
        note = follow_script(self._run.another(), script, node=self.node, args=(), once=once)
        if note is not None:
            self.notes.append(note)


def _command(file: YamlFile, node: Node) -> Text:
    """A text is a line of the script; of a list each word is quoted. A line that is made of a whole list stands where
    its word that speaks of a file does."""
    if file.text(node) is not None:
        return (*file.lines(node), TextLine("\n", file.place(node)))
    words = [item for item in file.items(node) if file.text(item)]
    if not words:
        return ()
    told = [file.lines(item)[0].place for item in words if "/etc/" in str(file.text(item))]
    place = told[-1] if told else file.place(node)
    parts: list[TextLine] = []
    for item in words:
        quoted = (line._replace(text=line.text.replace("'", "'\\''")) for line in file.lines(item))
        parts += [TextLine("'", place), *quoted, TextLine("' ", place)]
    return (*parts, TextLine("\n", place))


def _path(file: YamlFile, entry: Node) -> str | None:
    path = file.text(file.get(entry, "path"))
    return posixpath.normpath(path) if path else None


def _marked(text: Text, resolved: frozenset[CodePlace]) -> Text:
    return tuple(line._replace(resolved=line.resolved or line.place in resolved) for line in text)


def _place_of_key(file: YamlFile, node: Node | None, key: str) -> CodePlace:
    return file.place(file.entries(node)[key][0])
