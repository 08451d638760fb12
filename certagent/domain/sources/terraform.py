"""Terraform: provisioners, user data, and the resolver settings of Proxmox's guests. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping

from certagent.domain.resolution.file_formats import RESOLV_CONF_FILE
from certagent.domain.sources.shell_files import follow_script
from certagent.domain.sources.shell_state import ShellRun
from certagent.domain.sources.shell_syntax import ShellScript
from certagent.domain.sources.terraform_syntax import Block, NotTerraformError, TerraformToken, parse
from certagent.domain.sources.user_data import follow_user_data
from certagent.domain.sources.writes import UNKNOWN, CodePlace, Note, Text, TextLine, folder_of, lines_at

_INTERPOLATED = re.compile(r"(?P<escaped>\$\$\{|%%\{)|\$\{(?P<expression>[^{}]*)\}|%\{[^{}]*\}")
_USER_DATA = re.compile(r"(?:.*_)?(?:user[-_]data(?:_base64|_replace)?|(?:metadata_)?startup[-_]script|custom_data)")
_GUESTS = re.compile(r".*(?:instance|_vm|_lxc|container|droplet|server|machine|domain).*")

Variables = Mapping[str, str]


class Terraform:
    """The files of one folder; variables of all of them count in each."""

    def __init__(self, run: ShellRun, folder: str) -> None:
        self._run = run
        self._folder = folder
        self._variables: dict[str, str] = {"path.module": f"/@tree/{folder}".rstrip("/"), "path.root": "/@tree"}
        self._files: list[Block] = []
        self.notes: list[Note] = []
        for path in run.tree.under(folder):
            if folder_of(path) == folder and path.endswith((".tf", ".tfvars")):
                self._read(path)

    def _read(self, path: str) -> None:
        try:
            whole = parse(self._run.tree.read(path) or "", path)
        except NotTerraformError as error:
            self.notes.append(Note(CodePlace(path, 1), str(error)))
            return
        self._files.append(whole)
        for block in whole.inner("variable"):
            if "default" in block.attributes and len(block.words) > 1:
                self._define(f"var.{block.words[1]}", block.attributes["default"])
        for block in whole.inner("locals"):
            for name, tokens in block.attributes.items():
                self._define(f"local.{name}", tokens)
        if path.endswith(".tfvars"):
            for name, tokens in whole.attributes.items():
                self._define(f"var.{name}", tokens)

    def _define(self, name: str, tokens: list[TerraformToken]) -> None:
        if len(tokens) == 1 and tokens[0].kind in ("text", "word"):
            token = tokens[0]
            self._variables[name] = "".join(part.text for part in token.text) if token.kind == "text" else token.value

    def follow(self) -> None:
        """All resources and data of the folder."""
        for whole in self._files:
            for kind in ("resource", "data"):
                for block in whole.inner(kind):
                    self._resource(block)

    def _resource(self, block: Block) -> None:
        node = self._node(block)
        self._guest(block, node)
        for holder in (block, *block.inner("initialization"), *block.inner("part"), *block.inner("metadata")):
            for name, tokens in holder.attributes.items():
                is_part = (holder is not block and name == "content") or (
                    name == "template" and block.words[0] == "data"
                )
                if _USER_DATA.fullmatch(name) or is_part:
                    self._user_data(tokens, node)
                elif name == "metadata":
                    self._metadata(tokens, node)
        for provisioner in block.inner("provisioner"):
            self._provisioner(provisioner, node)

    def _node(self, block: Block) -> str | None:
        for name in ("vmid", "vm_id", "hostname", "name"):
            is_name = name != "name" or (len(block.words) > 1 and _GUESTS.fullmatch(block.words[1]))
            text = self._text(block.attributes.get(name, [])) if is_name else ()
            value = "".join(part.text for part in text).strip()
            if value and UNKNOWN not in value:
                return value
        return None

    def _guest(self, block: Block, node: str | None) -> None:
        """`nameserver`, `searchdomain` of a guest of Proxmox's."""
        if len(block.words) < 2 or not block.words[1].startswith("proxmox"):
            return
        lines = [
            part._replace(text=f"{keyword} {value}\n")
            for name, keyword in (("nameserver", "nameserver"), ("searchdomain", "search"))
            for part in self._text(block.attributes.get(name, []))
            for value in (part.text.split() if keyword == "nameserver" else [part.text])
        ]
        for setup in block.inner("initialization"):
            for dns in setup.inner("dns"):
                servers = self._items(dns.attributes.get("servers", []))
                lines += [part._replace(text=f"nameserver {part.text}\n") for item in servers for part in item]
                domain = self._text(dns.attributes.get("domain", []))
                lines += [part._replace(text=f"search {part.text}\n") for part in domain]
        if lines:
            self._run.files.replace(node, RESOLV_CONF_FILE, tuple(lines), manager="Proxmox VE")

    def _metadata(self, tokens: list[TerraformToken], node: str | None) -> None:
        """`metadata = { user-data = <<EOF ... }`."""
        for number, token in enumerate(tokens):
            if token.kind == "word" and _USER_DATA.fullmatch(token.value):
                self._user_data(tokens[number + 2 : number + 3], node)

    def _user_data(self, tokens: list[TerraformToken], node: str | None) -> None:
        self.notes += follow_user_data(self._run, self._text(tokens), node, unmarked="script").notes

    def _provisioner(self, block: Block, node: str | None) -> None:
        kind = block.words[1] if len(block.words) > 1 else ""
        if kind == "local-exec":
            self._script(self._text(block.attributes.get("command", [])), None)
        elif kind == "remote-exec":
            lines = [
                part._replace(text=part.text + "\n")
                for item in self._items(block.attributes.get("inline", []))
                for part in item
            ]
            self._script(tuple(lines), node)
            self._script(self._file_of(block.attributes.get("script", [])), node)
        elif kind == "file":
            target = "".join(part.text for part in self._text(block.attributes.get("destination", [])))
            content = self._text(block.attributes.get("content", []))
            text = content or self._file_of(block.attributes.get("source", []))
            if target and text:
                self._run.files.replace(node, target, text)

    def _script(self, text: Text, node: str | None) -> None:
        if text:
            script = ShellScript.of_text(text, text[0].place)
            note = follow_script(self._run.another(), script, node=node, args=(), once=True)
            self.notes += [note] if note is not None else []

    # --- texts ---

    def _items(self, tokens: list[TerraformToken]) -> Iterator[Text]:
        return (self._filled(token.text, self._variables) for token in tokens if token.kind == "text")

    def _text(self, tokens: list[TerraformToken]) -> Text:
        """The text that an expression comes to; none where nobody knows what it is."""
        if not tokens:
            return ()
        first = tokens[0]
        if first.kind == "text":
            return self._filled(first.text, self._variables)
        if len(tokens) > 2 and tokens[1].value == "(" and first.value in _FUNCTIONS:
            return _FUNCTIONS[first.value](self, tokens[2:-1])
        if first.kind == "word" and len(tokens) == 1:
            value = self._variables.get(first.value, first.value if first.value[0].isdigit() else UNKNOWN)
            return (TextLine(value, CodePlace(self._folder, first.line), True),)
        return ()

    def _joined(self, tokens: list[TerraformToken]) -> Text:
        """`join(SEPARATOR, [...])`."""
        texts = list(self._items(tokens))
        separator = "".join(part.text for part in texts[0]) if texts else ""
        parts = [part for text in texts[1:] for part in text]
        return tuple(part._replace(text=part.text + separator) for part in parts[:-1]) + tuple(parts[-1:])

    def _filled(self, text: Text, variables: Variables) -> Text:
        return tuple(_fill(part, variables) for part in text)

    def _file_of(self, tokens: list[TerraformToken]) -> Text:
        """The file of the tree that an expression names."""
        path = "".join(part.text for part in self._text(tokens))
        found = self._run.tree.first([path.removeprefix("/@tree"), f"{self._folder}/{path}"]) if path else None
        content = self._run.tree.read(found) if found is not None else None
        return lines_at(content, found) if found is not None and content is not None else ()

    def _template(self, tokens: list[TerraformToken]) -> Text:
        """`templatefile(PATH, { name = "value" })`."""
        variables = {}
        for number, token in enumerate(tokens[:-2]):
            if token.kind == "word" and tokens[number + 1].value == "=":
                value = self._text(tokens[number + 2 : number + 3])
                variables[token.value] = "".join(part.text for part in value) if value else UNKNOWN
        return self._filled(self._file_of(tokens[:1]), variables)


def _fill(part: TextLine, variables: Variables) -> TextLine:
    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return match["escaped"][1:]
        expression = (match["expression"] or "").strip()
        return variables.get(expression, UNKNOWN) if match["expression"] is not None else ""

    text = _INTERPOLATED.sub(value, part.text)
    is_changed = _INTERPOLATED.sub(lambda match: match[0] if match["escaped"] else "", part.text) != part.text
    return part._replace(text=text, resolved=part.resolved or is_changed)


_FUNCTIONS: Mapping[str, Callable[[Terraform, list[TerraformToken]], Text]] = {
    "base64encode": Terraform._text,  # noqa: SLF001 - its own table
    "base64gzip": Terraform._text,  # noqa: SLF001
    "trimspace": Terraform._text,  # noqa: SLF001
    "chomp": Terraform._text,  # noqa: SLF001
    "join": Terraform._joined,  # noqa: SLF001
    "file": Terraform._file_of,  # noqa: SLF001
    "templatefile": Terraform._template,  # noqa: SLF001
}
