"""Conditions: the part of CEL that the KFP compiler writes.

    or   := and ('||' and)*          and  := not ('&&' not)*
    not  := '!' not | term [('=='|'!='|'>='|'<='|'>'|'<') term]
    term := '(' or ')' | ('int'|'double'|'string') '(' or ')' | inputs.parameter_values['x'] | literal

The compiler does not escape texts: ``== 'it's'`` is what it writes for "it's". So a quotation mark ends
a text only where the text may end: before an operator, a closing bracket or the end.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fleetml.errors import InvalidPipeline
from fleetml.frozen import frozen
from fleetml.pipeline.values import as_text, shown

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<input>inputs\.parameter_values\[\s*(?P<quote>['"])(?P<name>[^'"\]]+)(?P=quote)\s*\])
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
    | (?P<mark>\|\||&&|==|!=|>=|<=|[<>!()])
    | (?P<text>'(?:[^\\]|\\.)*?'|"(?:[^\\]|\\.)*?")(?=\s*(?:$|\)|\|\||&&|==|!=|>=|<=|>|<))
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?", "n": "\n", "t": "\t", "r": "\r"}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_KINDS = {"STRING": "text", "NUMBER_INTEGER": "number", "NUMBER_DOUBLE": "number", "BOOLEAN": "boolean"}
_CASTS = {"int": "number", "double": "number", "string": "text"}


@frozen
class Node:
    """One operation of a parsed condition: `kind` is an operator, a cast, "input" or "literal"."""

    kind: str
    arguments: tuple[Any, ...]


@frozen
class Condition:
    """A parsed condition; `names` are the inputs it reads, in order of appearance."""

    expression: str
    root: Node
    names: tuple[str, ...]

    def check(self, types: Mapping[str, str]) -> None:
        """Raise InvalidPipeline unless the operands fit each other; `types` are the inputs' declared types."""
        try:
            kind = _kind(self.root, types, self.expression)
        except RecursionError:
            raise _too_deep(self.expression) from None
        if kind not in ("boolean", ""):
            raise InvalidPipeline(f"a condition must be true or false, got {self.expression}; compare its value")

    def evaluate(self, values: Mapping[str, Any]) -> bool:
        """Return whether it holds. Raises InvalidPipeline for a cast that fails or operands that do not fit."""
        try:
            return bool(_value(self.root, values))
        except RecursionError:
            raise _too_deep(self.expression) from None
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidPipeline(
                f"condition {self.expression} cannot be evaluated: {error} ({self.reading(values)})"
            ) from None

    def reading(self, values: Mapping[str, Any]) -> str:
        """Return the values it reads, for a message: ``mase = 1.2, best = 'mlp'``."""
        return ", ".join(f"{name.removeprefix('pipelinechannel--')} = {shown(values.get(name))}" for name in self.names)

    def __str__(self) -> str:
        """The expression as a user reads it: names instead of ``inputs.parameter_values['…']``."""
        return _TOKEN.sub(_readable, self.expression).strip()


def parse(expression: str) -> Condition:
    """Return the parsed condition. Raises InvalidPipeline at what is outside the grammar."""
    parser = _Parser(expression)
    try:
        root = parser.alternatives()
        if parser.kind != "end":
            raise parser.error()
        return Condition(expression, root, tuple(dict.fromkeys(_inputs(root))))
    except RecursionError:
        raise _too_deep(expression) from None


def _too_deep(expression: str) -> InvalidPipeline:
    return InvalidPipeline(
        f"a condition holds about a hundred operations, one of {len(expression):,} characters holds more than can be "
        f"read ({shown(expression)}); let a step decide and compare its output"
    )


def _readable(token: re.Match[str]) -> str:
    found = token["name"]
    return token[0] if found is None else token[0].replace(token["input"], found.removeprefix("pipelinechannel--"))


class _Parser:
    """Recursive descent over the tokens, one method a rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.advance()

    def advance(self) -> None:
        self.start = self.position
        if not self.text[self.position :].strip():
            self.kind, self.value = "end", ""
            return
        token = _TOKEN.match(self.text, self.position)
        if token is None:
            raise self.error()
        self.position = token.end()
        self.kind = str(token.lastgroup)
        if token["input"]:
            self.kind, self.value = "input", token["name"]
        else:
            self.value = token[self.kind]

    def error(self) -> InvalidPipeline:
        rest = self.text[self.start :].strip() or "its end"
        return InvalidPipeline(
            f"condition {self.text} cannot be read at {shown(rest)}; compile the pipeline with kfp >= 2.16"
        )

    def accept(self, *marks: str) -> str:
        if self.kind == "mark" and self.value in marks:
            value = self.value
            self.advance()
            return value
        return ""

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise self.error()

    def alternatives(self) -> Node:
        node = self.conjunction()
        while self.accept("||"):
            node = Node("||", (node, self.conjunction()))
        return node

    def conjunction(self) -> Node:
        node = self.negation()
        while self.accept("&&"):
            node = Node("&&", (node, self.negation()))
        return node

    def negation(self) -> Node:
        if self.accept("!"):
            return Node("!", (self.negation(),))
        left = self.term()
        comparison = self.accept(*_COMPARISONS)
        return Node(comparison, (left, self.term())) if comparison else left

    def term(self) -> Node:
        if self.accept("("):
            return self.closed()
        kind, value = self.kind, self.value
        if kind == "word" and value in _CASTS:
            self.advance()
            self.expect("(")
            return Node(value, (self.closed(),))
        node = Node("input", (value,)) if kind == "input" else Node("literal", (self.literal(kind, value),))
        self.advance()
        return node

    def closed(self) -> Node:
        node = self.alternatives()
        self.expect(")")
        return node

    def literal(self, kind: str, value: str) -> Any:
        if kind == "number":
            return int(value) if value.lstrip("-").isdigit() else float(value)
        if kind == "text":
            return self.unquoted(value[1:-1])
        if kind == "word" and value in ("true", "false"):
            return value == "true"
        raise self.error()

    def unquoted(self, text: str) -> str:
        if "inputs.parameter_values[" in text:
            raise InvalidPipeline(
                f"condition {self.text} compares a number with a text, which kfp compiles into a text that never "
                "matches; compare values of the same type in pipeline.py"
            )
        for escaped in _ESCAPE.findall(text):
            if escaped not in _ESCAPES:
                raise InvalidPipeline(
                    f"condition {self.text} holds the unknown escape \\{escaped}; write \\\\ for a backslash"
                )
        return _ESCAPE.sub(lambda found: _ESCAPES[found[1]], text)


def _inputs(node: Node) -> Iterator[str]:
    if node.kind == "input":
        yield node.arguments[0]
    for argument in node.arguments:
        if isinstance(argument, Node):
            yield from _inputs(argument)


def _kind(node: Node, types: Mapping[str, str], expression: str) -> str:
    """Return "text", "number" or "boolean": what the node yields ("" where nothing is declared)."""
    if node.kind == "literal":
        value = node.arguments[0]
        return "boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
    if node.kind == "input":
        declared = types[node.arguments[0]]
        if declared and declared not in _KINDS:
            raise InvalidPipeline(
                f"condition {expression} reads {node.arguments[0]!r} of type {declared}; "
                "only texts, numbers and booleans can be compared"
            )
        return _KINDS.get(declared, "")
    kinds = [_kind(argument, types, expression) for argument in node.arguments]
    if node.kind in _CASTS:
        return _CASTS[node.kind]
    wanted = kinds[0] if node.kind in _COMPARISONS else "boolean"
    if wanted and not set(kinds) <= {wanted, ""}:
        raise InvalidPipeline(
            f"condition {expression}: {node.kind} gets a {' and a '.join(kinds)}; compare values of one type"
        )
    return "boolean"


def _value(node: Node, values: Mapping[str, Any]) -> Any:
    match node.kind, node.arguments:
        case "literal", (value,):
            return value
        case "input", (name,):
            if name not in values:
                raise ValueError(
                    f"{name.removeprefix('pipelinechannel--')!r} was not given; give it a value or a default"
                )
            return values[name]
        case "!", (inner,):
            return not _value(inner, values)
        case "||", (left, right):
            return _value(left, values) or _value(right, values)
        case "&&", (left, right):
            return _value(left, values) and _value(right, values)
        case "int", (inner,):
            return int(_value(inner, values))
        case "double", (inner,):
            return float(_value(inner, values))
        case "string", (inner,):
            return as_text(_value(inner, values))
    return _COMPARISONS[node.kind](*(_value(argument, values) for argument in node.arguments))
