"""Jinja templates as far as their values are known, line by line. Pure.

Jinja only parses: its syntax tree is followed here, with a bound on steps and on text, so that no template runs.
A condition of which nobody knows is taken both ways, a loop over what nobody knows once.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes

from certagent.domain.sources.jinja_values import COMPARISONS, FILTERS, METHODS, UNDEFINED, UNTOLD, as_text, as_truth
from certagent.domain.sources.writes import CodePlace, Text, TextLine, whole_lines

LARGEST_TEMPLATE = 128 * 1024
_MOST_STEPS = 20_000
_MOST_TEXT = 256 * 1024
_DEEPEST = 8

_MARKS = re.compile(r"\{\{|\{%|\{#")


class TemplateError(Exception):
    """The template is none, or does more than anybody follows. `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def is_template(text: str) -> bool:
    """Whether Jinja has anything to do in it."""
    return _MARKS.search(text) is not None


def render(text: Text, variables: Mapping[str, Any]) -> Text:
    """A template's text, each part with its place. Raises `TemplateError`."""
    lines = list(whole_lines(text))
    source = "\n".join(line.text for line in lines) + ("\n" if text and text[-1].text.endswith("\n") else "")
    if not is_template(source):
        return text
    return _Rendering(tuple(line.place for line in lines), variables).render(source)


def evaluate(source: str, variables: Mapping[str, Any]) -> Any:
    """The value of an expression as it stands in `when`; `UNTOLD` for what cannot be told."""
    try:
        value = _Rendering((CodePlace("", 1),), variables).expression(source)
    except TemplateError:
        return UNTOLD
    return UNTOLD if value is UNDEFINED else value


def expand(text: str, variables: Mapping[str, Any]) -> Any:
    """A text of a variables file: the value itself where it is one expression, else a text."""
    found = re.fullmatch(r"\s*\{\{(?P<expression>(?:(?!\}\}).)*)\}\}\s*", text, re.DOTALL)
    if found is not None:
        return evaluate(found["expression"], variables)
    if not is_template(text):
        return text
    try:
        return "".join(part.text for part in render((TextLine(text, CodePlace("", 1)),), variables))
    except TemplateError:
        return UNTOLD


@cache
def _environment() -> Environment:
    return Environment(trim_blocks=True, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - it parses only


class _Budget:
    """What a template may do, with all that its variables do."""

    def __init__(self) -> None:
        self.steps = 0
        self.length = 0

    def is_spent(self) -> bool:
        return self.steps > _MOST_STEPS or self.length > _MOST_TEXT


class _Rendering:
    def __init__(
        self, places: Sequence[CodePlace], variables: Mapping[str, Any], depth: int = 0, budget: _Budget | None = None
    ) -> None:
        self._places = places
        self._scope: dict[str, Any] = dict(variables)
        self._parts: list[TextLine] = []
        self._budget = budget or _Budget()
        self._depth = depth

    def render(self, source: str) -> Text:
        for node in self._parse(source).body:
            self._follow(node)
        return tuple(self._parts)

    def expression(self, source: str) -> Any:
        body = self._parse("{{ " + source + " }}").body
        output = body[0] if body else None
        return self._value(output.nodes[0]) if isinstance(output, nodes.Output) else UNTOLD

    def _parse(self, source: str) -> nodes.Template:
        if len(source) > LARGEST_TEMPLATE:
            raise TemplateError(self._places[0].line, f"it is longer than {LARGEST_TEMPLATE // 1024} KiB")
        try:
            return _environment().parse(source)
        except TemplateSyntaxError as error:
            raise TemplateError(self._place(error.lineno).line, error.message or "it is not a template") from error
        except (RecursionError, ValueError, OverflowError, MemoryError) as error:
            raise TemplateError(self._places[0].line, "it is nested too deeply") from error

    def _place(self, line: int) -> CodePlace:
        return self._places[min(max(line, 1), len(self._places)) - 1]

    def _step(self, node: nodes.Node) -> None:
        self._budget.steps += 1
        if self._budget.is_spent():
            raise TemplateError(self._place(node.lineno).line, "it is more complex than certagent evaluates")

    def _follow(self, node: nodes.Node) -> None:
        self._step(node)
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                self._print(part)
        elif isinstance(node, nodes.For):
            self._loop(node)
        elif isinstance(node, nodes.If):
            self._choose(node)
        elif isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            self._scope[node.target.name] = self._value(node.node)
        elif isinstance(node, nodes.Scope | nodes.With | nodes.FilterBlock | nodes.Block):
            for child in node.body:
                self._follow(child)

    def _print(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.TemplateData):
            for number, line in enumerate(node.data.splitlines(keepends=True)):
                self._add(TextLine(line, self._place(node.lineno + number)))
            return
        value = self._value(node)
        self._add(TextLine(as_text(value), self._place(node.lineno), not isinstance(node, nodes.Const)))

    def _add(self, part: TextLine) -> None:
        self._budget.length += len(part.text)
        self._parts.append(part)

    def _loop(self, node: nodes.For) -> None:
        values = self._value(node.iter)
        if isinstance(values, Mapping):
            values = list(values)
        items = list(values) if isinstance(values, list | tuple | range) else [UNTOLD]
        kept = dict(self._scope)
        for number, item in enumerate(items):
            self._step(node)
            self._scope["loop"] = {"index": number + 1, "index0": number, "last": number == len(items) - 1}
            self._scope["loop"]["first"] = number == 0
            self._bind(node.target, item)
            if node.test is not None and as_truth(self._value(node.test)) is False:
                continue
            for child in node.body:
                self._follow(child)
        for child in node.else_ if not items else []:
            self._follow(child)
        self._scope = kept

    def _bind(self, target: nodes.Node, item: Any) -> None:
        if isinstance(target, nodes.Name):
            self._scope[target.name] = item
        elif isinstance(target, nodes.Tuple):
            parts = list(item) if isinstance(item, list | tuple) else [UNTOLD] * len(target.items)
            for name, part in zip(target.items, [*parts, *[UNTOLD] * len(target.items)], strict=False):
                self._bind(name, part)

    def _choose(self, node: nodes.If) -> None:
        truth = as_truth(self._value(node.test))
        for child in node.body if truth is not False else []:
            self._follow(child)
        if truth is True:
            return
        for other in node.elif_:
            self._choose(other)
            if truth is False and as_truth(self._value(other.test)) is True:
                return
        for child in node.else_:
            self._follow(child)

    # --- expressions ---

    def _value(self, node: nodes.Node) -> Any:
        self._step(node)
        evaluate_node = _EXPRESSIONS.get(type(node))
        try:
            return evaluate_node(self, node) if evaluate_node is not None else UNTOLD
        except (TypeError, ValueError, KeyError, IndexError, AttributeError):
            return UNTOLD

    def _name(self, node: Any) -> Any:
        if node.name not in self._scope:
            return UNTOLD if node.name.startswith(("ansible_", "hostvars", "groups", "group_names")) else UNDEFINED
        return self._resolved(self._scope[node.name])

    def _resolved(self, value: Any) -> Any:
        """A variable's text may be a template itself."""
        if isinstance(value, str) and is_template(value):
            if self._depth >= _DEEPEST:
                return UNTOLD
            inner = _Rendering((CodePlace("", 1),), self._scope, self._depth + 1, self._budget)
            found = re.fullmatch(r"\s*\{\{((?:(?!\}\}).)*)\}\}\s*", value, re.DOTALL)
            if found is not None:
                return inner.expression(found[1])
            return "".join(part.text for part in inner.render(value))
        return value

    def _item(self, node: Any) -> Any:
        value = self._value(node.node)
        key = node.attr if isinstance(node, nodes.Getattr) else self._value(node.arg)
        if isinstance(value, Mapping):
            if str(key) not in value:
                return UNTOLD if str(key).startswith("ansible_") else UNDEFINED
            return self._resolved(value[str(key)])
        if isinstance(value, list | tuple):
            return self._resolved(value[int(key)])
        return UNTOLD

    def _filter(self, node: Any) -> Any:
        value = self._value(node.node) if node.node is not None else UNTOLD
        args = [self._value(argument) for argument in node.args]
        if node.name in ("default", "d"):
            other = args[0] if args else ""
            return other if value is UNDEFINED or (len(args) > 1 and not value) else value
        if value is UNDEFINED or value == UNTOLD or UNTOLD in args:
            return UNTOLD
        return FILTERS[node.name](value, *args) if node.name in FILTERS else UNTOLD

    def _call(self, node: Any) -> Any:
        args = [self._value(argument) for argument in node.args]
        if isinstance(node.node, nodes.Name) and node.node.name == "range" and 0 < len(args) <= 2:
            return range(*(int(argument) for argument in args))[:1000]
        if not isinstance(node.node, nodes.Getattr):
            return UNTOLD
        value, name = self._value(node.node.node), node.node.attr
        if value == UNTOLD or value is UNDEFINED or UNTOLD in args:
            return UNTOLD
        return METHODS[name](value, *args) if name in METHODS else UNTOLD

    def _test(self, node: Any) -> Any:
        value = self._value(node.node)
        if node.name in ("defined", "undefined"):
            return UNTOLD if value == UNTOLD else (value is not UNDEFINED) is (node.name == "defined")
        if value == UNTOLD or value is UNDEFINED:
            return UNTOLD
        return {"none": value is None, "string": isinstance(value, str)}.get(node.name, UNTOLD)

    def _compare(self, node: Any) -> Any:
        left = self._value(node.expr)
        right = self._value(node.ops[0].expr)
        if len(node.ops) != 1 or UNTOLD in (left, right) or UNDEFINED in (left, right):
            return UNTOLD
        return COMPARISONS[node.ops[0].op](left, right)

    def _add_values(self, node: Any) -> Any:
        left, right = self._value(node.left), self._value(node.right)
        if isinstance(left, list) and isinstance(right, list) and len(left) + len(right) < 1000:
            return left + right
        if isinstance(left, int) and isinstance(right, int):
            return left + right
        both = as_text(left) + as_text(right)
        return both if len(both) < _MOST_TEXT else UNTOLD

    def _concat(self, node: Any) -> Any:
        text = "".join(as_text(self._value(part)) for part in node.nodes)
        return text if len(text) < _MOST_TEXT else UNTOLD

    def _logic(self, node: Any) -> Any:
        left, right = as_truth(self._value(node.left)), as_truth(self._value(node.right))
        decides = isinstance(node, nodes.Or)
        if decides in (left, right):
            return decides
        return UNTOLD if None in (left, right) else not decides

    def _not(self, node: Any) -> Any:
        truth = as_truth(self._value(node.node))
        return UNTOLD if truth is None else not truth

    def _either(self, node: Any) -> Any:
        truth = as_truth(self._value(node.test))
        if truth is None:
            return UNTOLD
        if truth:
            return self._value(node.expr1)
        return self._value(node.expr2) if node.expr2 is not None else ""

    def _list(self, node: Any) -> Any:
        return [self._value(item) for item in node.items]

    def _dict(self, node: Any) -> Any:
        return {as_text(self._value(pair.key)): self._value(pair.value) for pair in node.items}

    def _const(self, node: Any) -> Any:
        return node.value


_EXPRESSIONS: Mapping[type, Callable[[_Rendering, Any], Any]] = {
    nodes.Name: _Rendering._name,  # noqa: SLF001 - its own table
    nodes.Const: _Rendering._const,  # noqa: SLF001
    nodes.TemplateData: lambda _, node: node.data,
    nodes.Getattr: _Rendering._item,  # noqa: SLF001
    nodes.Getitem: _Rendering._item,  # noqa: SLF001
    nodes.Filter: _Rendering._filter,  # noqa: SLF001
    nodes.Call: _Rendering._call,  # noqa: SLF001
    nodes.Test: _Rendering._test,  # noqa: SLF001
    nodes.Compare: _Rendering._compare,  # noqa: SLF001
    nodes.Add: _Rendering._add_values,  # noqa: SLF001
    nodes.Concat: _Rendering._concat,  # noqa: SLF001
    nodes.And: _Rendering._logic,  # noqa: SLF001
    nodes.Or: _Rendering._logic,  # noqa: SLF001
    nodes.Not: _Rendering._not,  # noqa: SLF001
    nodes.CondExpr: _Rendering._either,  # noqa: SLF001
    nodes.List: _Rendering._list,  # noqa: SLF001
    nodes.Tuple: _Rendering._list,  # noqa: SLF001
    nodes.Dict: _Rendering._dict,  # noqa: SLF001
}
