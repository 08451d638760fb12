"""The forms in which cloud-init takes user data: one configuration, one script, or several parts. Pure.

A part is what its content type says, else what it begins with. What a part fetches (`#include`) is not in the tree.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from typing import NamedTuple

from certagent.domain.sources.cloud_init import CloudConfig
from certagent.domain.sources.jinja_templates import TemplateError, is_template, render
from certagent.domain.sources.shell_files import follow_script
from certagent.domain.sources.shell_state import ShellRun
from certagent.domain.sources.shell_syntax import ShellScript
from certagent.domain.sources.writes import CodePlace, Note, Text, TextLine, whole_lines
from certagent.domain.sources.yaml_positions import NotYamlError, YamlFile

_MARKS = (
    ("#cloud-config-archive", "archive"),
    ("#cloud-config", "config"),
    ("#cloud-boothook", "boothook"),
    ("#include", "include"),
    ("content-type: multipart/", "multipart"),
    ("mime-version:", "multipart"),
    ("#!", "script"),
)
_KINDS = {
    "text/cloud-config": "config",
    "text/cloud-config-archive": "archive",
    "text/jinja2": "jinja",
    "text/x-shellscript": "script",
    "text/cloud-boothook": "boothook",
    "text/x-include-url": "include",
    "text/x-include-once-url": "include",
}
_ANY_KIND = ("", "text/plain", "text/x-not-multipart")
"""Types that say nothing: cloud-init looks at what the part begins with."""
_JINJA_MARK = re.compile(r"##\s*template:\s*jinja\s*", re.IGNORECASE)
_DEEPEST = 3
_MOST_PARTS = 200


class Part(NamedTuple):
    """One part of user data."""

    kind: str
    text: Text


def is_user_data(text: str) -> bool:
    """Whether its first line says that it is a configuration, or several parts."""
    return _kind_of(text) in ("config", "archive", "boothook", "jinja", "multipart")


def follow_user_data(run: ShellRun, text: Text, node: str | None, *, unmarked: str = "") -> CloudConfig:
    """What all its parts write, in the order in which they run. The result has the notes, and whose files are
    rewritten. `unmarked`: what a text is that does not say it; cloud-init leaves such a text out."""
    config = CloudConfig(run, node)
    parts = []
    for part in _parts(text, _kind_of("".join(line.text for line in text)) or unmarked):
        if isinstance(part, Note):
            config.notes.append(part)
        else:
            parts.append(part)
    files = list(_configurations(parts, config.notes))
    for file, _ in files:
        config.learn_name(file)
    for part in parts:
        if part.kind == "boothook":
            _follow(config, run, part.text, once=False)
    for number, (file, text_of_file) in enumerate(files):
        resolved = frozenset(line.place for line in text_of_file if line.resolved)
        hidden = frozenset(key for later, _ in files[number + 1 :] for key in _keys_set_anew(later))
        config.follow(file, resolved=resolved, hidden=hidden)
    for part in parts:
        if part.kind == "script":
            _follow(config, run, part.text, once=True)
    return config


def _keys_set_anew(file: YamlFile) -> Iterator[str]:
    """A key of a later part takes the place of the same key before, unless it asks for another way of merging."""
    for document in file.documents:
        keys = file.entries(document).keys()
        if not keys & {"merge_how", "merge_type"}:
            yield from keys


def _follow(config: CloudConfig, run: ShellRun, text: Text, *, once: bool) -> None:
    script = ShellScript.of_text(text, text[0].place)
    note = follow_script(run.another(), script, node=config.node, args=(), once=once)
    if note is not None:
        config.notes.append(note)


def _configurations(parts: list[Part], notes: list[Note]) -> Iterator[tuple[YamlFile, Text]]:
    for part in parts:
        if part.kind == "config":
            try:
                yield YamlFile.of_text(part.text), part.text
            except NotYamlError as error:
                if not is_template("".join(line.text for line in part.text)):
                    notes.append(Note(CodePlace(part.text[0].place.source, error.line), str(error)))


def _kind_of(text: str) -> str:
    start = text.lstrip()[:200].lower()
    if _JINJA_MARK.match(start):
        return "jinja"
    return next((kind for mark, kind in _MARKS if start.startswith(mark)), "")


def _parts(text: Text, kind: str = "", depth: int = 0) -> Iterator[Part | Note]:
    """Its parts one by one; what stands in a part is taken apart as well."""
    if not any(line.text.strip() for line in text):
        return
    joined = "".join(line.text for line in text)
    kind = kind or _kind_of(joined)
    if depth > _DEEPEST:
        yield Note(text[0].place, "its parts are nested too deeply")
    elif kind == "jinja":
        yield from _rendered(text, depth)
    elif kind == "archive":
        yield from _of_archive(text, depth)
    elif kind == "multipart":
        yield from _of_multipart(list(whole_lines(text)), depth)
    elif kind == "include":
        yield Note(text[0].place, "what it includes is fetched at the first boot and is not in this tree")
    elif kind == "boothook":
        yield Part(kind, text[1:] if joined.lstrip().lower().startswith("#cloud-boothook") else text)
    elif kind in ("script", "config"):
        yield Part(kind, text)


def _rendered(text: Text, depth: int) -> Iterator[Part | Note]:
    lines = tuple(line._replace(text=line.text + "\n") for line in whole_lines(text))
    kept = tuple(line for line in lines if not _JINJA_MARK.match(line.text))
    try:
        yield from _parts(render(kept, {}), depth=depth + 1)
    except TemplateError as error:
        yield Note(CodePlace(text[0].place.source, error.line), str(error))


def _of_archive(text: Text, depth: int) -> Iterator[Part | Note]:
    """A list of texts, or of maps with `type` and `content`."""
    try:
        file = YamlFile.of_text(text)
        items = [item for document in file.documents for item in file.items(document)][:_MOST_PARTS]
        for item in items:
            content = item if file.text(item) is not None else file.get(item, "content")
            if content is not None:
                kind = (file.text(file.get(item, "type")) or "").lower()
                yield from _typed(kind, file.lines(content), depth)
    except NotYamlError as error:
        yield Note(CodePlace(text[0].place.source, error.line), str(error))


def _typed(kind: str, text: Text, depth: int) -> Iterator[Part | Note]:
    if kind in _ANY_KIND:
        yield from _parts(text, depth=depth + 1)
    elif kind in _KINDS:
        yield from _parts(text, _KINDS[kind], depth + 1)


def _of_multipart(lines: list[TextLine], depth: int) -> Iterator[Part | Note]:
    """The lines between the marks that the header names; each keeps its own line of the tree."""
    header, body = _split_header(lines)
    boundary = header.get_boundary()
    if boundary is None:
        yield Note(lines[0].place, "it defines no boundary for its parts")
        return
    part: list[TextLine] | None = None
    count = 0
    for line in body:
        mark = line.text.rstrip()
        if mark in (f"--{boundary}", f"--{boundary}--"):
            if part:
                yield from _of_mime_part(part, depth)
            count += 1
            part = None if mark.endswith(f"{boundary}--") or count > _MOST_PARTS else []
        elif part is not None:
            part.append(line)


def _of_mime_part(lines: list[TextLine], depth: int) -> Iterator[Part | Note]:
    header, body = _split_header(lines)
    kind = header.get_content_type()
    if kind.startswith("multipart/"):
        yield from _parts(tuple(line._replace(text=line.text + "\n") for line in lines), "multipart", depth + 1)
        return
    text: Text = tuple(line._replace(text=line.text.rstrip("\r") + "\n") for line in body)
    if str(header.get("Content-Transfer-Encoding", "")).lower() == "base64" and text:
        try:
            decoded = base64.b64decode("".join(line.text for line in text)).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            yield Note(text[0].place, "its content is not base64")
            return
        text = tuple(TextLine(line, text[0].place) for line in decoded.splitlines(keepends=True))
    yield from _typed(kind, text, depth)


def _split_header(lines: list[TextLine]) -> tuple[Message, list[TextLine]]:
    end = next((number for number, line in enumerate(lines) if not line.text.strip()), len(lines))
    header = HeaderParser().parsestr("\n".join(line.text for line in lines[:end]) + "\n\n")
    return header, lines[end + 1 :]
