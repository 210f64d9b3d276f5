"""Read YAML files to plain data, by the core schema of YAML 1.2, with labels kept as written.

PyYAML parses; its events are composed here instead of by its loader, which follows YAML 1.1 (``010`` is 8, ``8:30`` is
510), recurses with the nesting depth, and expands aliases without a limit.

A plain scalar becomes a number only if ``str`` of that number is the text as written. So ``010``, ``1e3``, ``3.10`` and
``2020-01-01`` stay text, which a numeric setting coerces (``010`` to ten) and a label keeps. ``true`` and ``false`` are
also text, which a boolean setting coerces. Keys are always text.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from metavoxel.errors import SchemaError

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 100
MAX_NODES = 1_000_000
"""Maximum number of scalars, lists and mappings after the expansion of aliases."""

_CHARACTERS_PER_NODE = 100
"""Characters of a scalar that count as one further node, since messages quote wrong values."""

Plain: TypeAlias = str | int | float | list[Any] | dict[str, Any] | None
"""Nested plain data; not a recursive type, since those cannot be checked at run time."""

_Mark: TypeAlias = "yaml.error.Mark | yaml._yaml.Mark | None"
"""Start of an event; None where the parser gives none."""

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_NUMBER_LENGTH = 300
_CORE = "tag:yaml.org,2002:"
_MERGE = "<<"


def read_yaml(path: Path) -> Plain:
    """Read a YAML file as plain data: text, numbers, None, lists, and mappings with text keys.

    Raises:
        SchemaError: no such file, not YAML, not a mapping, too large, or not plain data; with line and column.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SchemaError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise SchemaError(f"{path}: is a folder; give the schema's YAML file") from None
    except (OSError, ValueError) as error:
        raise SchemaError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_BYTES:
        raise SchemaError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, so not a schema; give the schema's YAML file")
    try:
        return _Composer().compose(_decoded(content))
    except _RefusedError as error:
        place = f"line {error.line + 1}, column {error.column + 1}"
        raise SchemaError(f"{path}: not valid YAML: {place}: {error.what}") from None


def as_number(text: str) -> int | float | None:
    """Parse a number by the core schema of YAML 1.2; None if the text is not one."""
    if len(text) > _MAX_NUMBER_LENGTH:
        return None
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else None


def _plain(text: str) -> str | int | float | None:
    """Parse a plain scalar. Without a point, ``1e3`` is text, as in YAML 1.1, which other programs write."""
    if text in _NULL:
        return None
    number = as_number(text)
    if _NOT_FINITE.fullmatch(text):
        return number
    is_canonical = str(number) == text and ("." in text or isinstance(number, int))
    return number if number is not None and is_canonical else text


class _RefusedError(Exception):
    """A refused text: the reason, and the line and column counted from 0. Final."""

    def __init__(self, what: str, line: int, column: int) -> None:
        super().__init__(what)
        self.what, self.line, self.column = what, line, column


def _at(what: str, mark: _Mark) -> _RefusedError:
    return _RefusedError(what, *((mark.line, mark.column) if mark is not None else (0, 0)))


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, last = before.count(b"\n"), before.rfind(b"\n") + 1
        what = f"byte 0x{content[error.start]:02x} is not UTF-8 text; save the file as UTF-8"
        raise _RefusedError(what, line, len(before[last:].decode("utf-8", "replace"))) from None


class _Node(NamedTuple):
    """A finished value, its number of nodes after expansion, and its start."""

    value: Plain
    size: int
    mark: _Mark


class _Open:
    """An unfinished list or mapping. Final."""

    def __init__(self, event: yaml.CollectionStartEvent) -> None:
        self.mark: _Mark = event.start_mark
        self.anchor: str | None = event.anchor
        self.is_mapping = isinstance(event, yaml.MappingStartEvent)
        self.nodes: list[_Node] = []

    @property
    def size(self) -> int:
        return 1 + sum(node.size for node in self.nodes)


class _Composer:
    """Composer of one document's events to plain data, without recursion. Final."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, _Node] = {}
        self._nodes = 0

    def compose(self, text: str) -> Plain:
        """Compose the single document of a text.

        Raises:
            _RefusedError: it is not YAML, not one mapping, or not plain data.
        """
        documents: list[_Node] = []
        for event in _events(text):
            if isinstance(event, yaml.DocumentStartEvent) and documents:
                raise _at("expected a single document, but another starts here", event.start_mark)
            node = self._finished(event)
            if node is None:
                continue
            if self._open:
                self._open[-1].nodes.append(node)
            else:
                documents.append(node)
        if not documents:
            raise _RefusedError("the file is empty; a schema has the sections cohort and variables", 0, 0)
        (top,) = documents
        if not isinstance(top.value, dict):
            kind = "a list" if isinstance(top.value, list) else "a single value"
            raise _at(f"a schema must be a mapping of section names to settings, not {kind}", top.mark)
        return top.value

    def _finished(self, event: yaml.Event) -> _Node | None:
        """Return the value that an event completes; None if it completes none."""
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self._open) >= MAX_DEPTH:
                raise _at(f"nested too deeply (more than {MAX_DEPTH} levels)", event.start_mark)
            self._count(1, event)
            self._open.append(_Open(event))
            expected = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
            if event.tag not in (None, "!", _CORE + expected):
                raise _unsupported(event.tag, event.start_mark)
            return None
        if isinstance(event, yaml.CollectionEndEvent):
            done = self._open.pop()
            value = _mapping(done.nodes) if done.is_mapping else [node.value for node in done.nodes]
            return self._anchored(done.anchor, _Node(value, done.size, done.mark))
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                inside = any(one.anchor == event.anchor for one in self._open)
                what = "refers to a value that contains it" if inside else "has no anchor before it"
                raise _at(f"alias *{event.anchor} {what}", event.start_mark)
            node = self._anchors[event.anchor]
            self._count(node.size, event)
            return node._replace(mark=event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            size = 1 + len(event.value) // _CHARACTERS_PER_NODE
            self._count(size, event)
            is_key = bool(self._open) and self._open[-1].is_mapping and len(self._open[-1].nodes) % 2 == 0
            return self._anchored(event.anchor, _Node(_scalar(event, is_key=is_key), size, event.start_mark))
        return None

    def _anchored(self, anchor: str | None, node: _Node) -> _Node:
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _count(self, nodes: int, event: yaml.Event) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            what = f"more than {MAX_NODES:,} values once its aliases are expanded; write fewer aliases"
            raise _at(what, event.start_mark)


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        parts = [part for part in (error.context, error.problem) if part]
        raise _at(", ".join(parts), error.problem_mark or error.context_mark) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, last = before.count("\n"), before.rfind("\n") + 1
        code = f"U+{ord(text[error.position]):04X}"
        raise _RefusedError(f"the control character {code} is not allowed", line, error.position - last) from None


def _unsupported(tag: str, mark: _Mark) -> _RefusedError:
    shown = tag.replace(_CORE, "!!", 1)
    return _at(f"the tag {shown!r} is not supported: a schema is plain data; omit it", mark)


def _without_surrogates(event: yaml.ScalarEvent) -> str:
    """Decode the text, with surrogate pairs (as JSON escapes them) as one character."""
    try:
        return str(event.value).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _at("half of a surrogate pair is not a character", event.start_mark) from None


def _scalar(event: yaml.ScalarEvent, *, is_key: bool) -> str | int | float | None:
    text = _without_surrogates(event)
    if event.tag is None:
        if event.style is not None:
            return text
        value = _plain(text)
        return text if is_key and value is not None else value
    kind = event.tag.removeprefix(_CORE)
    if event.tag == "!" or kind == "str":
        return text
    if kind == "null" and text in _NULL:
        return None
    if kind in ("int", "float"):
        number = as_number(text)
        if number is None or (kind == "int" and not isinstance(number, int)):
            raise _at(f"{text!r} is not a number of the tag '!!{kind}'", event.start_mark)
        return number if kind == "int" else float(number)
    if kind == "bool" and text.lower() in ("true", "false"):
        return text
    raise _unsupported(event.tag, event.start_mark)


def _mapping(nodes: list[_Node]) -> dict[str, Plain]:
    """Build a mapping from alternating keys and values. Merged keys (``<<``) come first, and own keys override them.

    Raises:
        _RefusedError: a key that is not text or is given twice, or a merge of anything but mappings.
    """
    merged: dict[str, Plain] = {}
    own: dict[str, Plain] = {}
    for key, node in zip(nodes[::2], nodes[1::2], strict=True):
        if not isinstance(key.value, str):
            what = "a key must be text, not null" if key.value is None else "a key must be text"
            raise _at(f"{what}; write it in quotation marks if text is meant", key.mark)
        if key.value in own or (key.value == _MERGE and merged):
            raise _at(f"key {key.value!r} is given twice", key.mark)
        if key.value != _MERGE:
            own[key.value] = node.value
            continue
        for other in reversed(node.value if isinstance(node.value, list) else [node.value]):
            if not isinstance(other, dict):
                raise _at("'<<' merges a mapping or a list of mappings, but this is neither", node.mark)
            merged |= other
    return {**merged, **own}
