"""A YAML file as plain values, with the line and column of every key and value in it.

Not here: references such as `${env:NAME}` (`core.references`), what the values mean (`core.params`, `config.load`).
YAML 1.2 core schema only; tags, anchors, aliases, merge keys and doubled keys are refused, size, depth and number of
nodes are capped, so a hostile file costs a message and no more. Invariant: whatever the bytes are, the answer is a
`Document` or a `ConfigError` with a place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from gristmill.core.errors import ConfigError

# The way to a node: keys and list positions from the root.
Keys: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = tuple[int, int]

MAX_BYTES = 1 << 20
MAX_NODES = 100_000
MAX_DEPTH = 50

# The plain scalars of YAML 1.2 that are no strings (spec section 10.3.2), and `1_000` as a kindness.
_HALF = re.compile("[\ud800-\udfff]")
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INF = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed file. `raw` is what is written; `value` the same with references resolved (after `core.references.resolve`).

    keys, values: the line and column, from 1, of each mapping key and of each value; files: the file, where it is another. labels: places outside the file
    (`--set gate.min_docs`). references: the text as written of every leaf that holds a reference. unresolved: those of
    them that could not be resolved; spared: those that need not be. secrets: resolved text -> its reference, for redaction.
    """

    file: str
    folder: Path
    raw: Any
    value: Any
    keys: dict[Keys, Place]
    values: dict[Keys, Place]
    files: dict[Keys, str] = {}
    labels: dict[Keys, str] = {}
    references: dict[Keys, str] = {}
    unresolved: frozenset[Keys] = frozenset()
    spared: frozenset[Keys] = frozenset()
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Document({self.file!r})"

    def at(self, path: Keys, *, key: bool = False) -> str:
        """Give `file:line:column` of the value at `path` (of its key, if asked), or of the nearest node around it."""
        for n in range(len(path), -1, -1):
            near = path[:n]
            if near in self.labels:
                return self.labels[near]
            if n == len(path) and near not in self.keys:
                made = [label for way, label in self.labels.items() if way[:n] == near]
                if made:
                    return made[0]
            inner = n < len(path) or key
            place = self.keys.get(near) if inner else None
            place = place or self.values.get(near) or self.keys.get(near)
            if place:
                return f"{self.files.get(near, self.file)}:{place[0]}:{place[1]}"
        return f"{self.file}:1:1"

    def replaced(self, path: Keys, value: Any, label: str) -> Document:
        """Give the document with `value` at `path`, which messages call `label`; mappings on the way are made."""
        raw = _put(self.raw, path, value)
        keys = {at: place for at, place in self.keys.items() if at[: len(path)] != path}
        values = {at: place for at, place in self.values.items() if at[: len(path)] != path}
        labels = {**self.labels, path: label}
        return msgspec.structs.replace(self, raw=raw, value=raw, keys=keys, values=values, labels=labels)


def _put(tree: Any, path: Keys, value: Any) -> Any:
    if not path:
        return value
    if isinstance(tree, list):
        return [_put(item, path[1:], value) if at == path[0] else item for at, item in enumerate(tree)]
    inside = tree if isinstance(tree, dict) else {}
    return {**inside, path[0]: _put(inside.get(path[0]), path[1:], value)}


def read(path: Path, shown: str | None = None) -> Document:
    """Read and parse a file; references stay as they are.

    Args:
        path: the file.
        shown: what messages call it; its path by default.

    Raises:
        ConfigError: it cannot be read, or is not YAML this module accepts.
    """
    name = shown or str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{name}:1:1: the file is larger than {MAX_BYTES} bytes; a config names data, it does not hold it"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise ConfigError(f"{name}:{line}:{column}: this byte is not UTF-8; save the file as UTF-8") from None
    return parse(text, name, path.parent)


def parse(text: str, file: str, folder: Path) -> Document:
    """Parse a text.

    Args:
        text: one YAML document.
        file: what messages call it.
        folder: where `${file:...}` starts from.

    Raises:
        ConfigError: it is not YAML this module accepts; with the place.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    if len(text) > MAX_BYTES:
        raise ConfigError(f"{file}:1:1: the text is larger than {MAX_BYTES} bytes")
    builder = _Builder(file)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        what = f"{error.problem} {error.context}" if error.problem and error.context else error.problem or error.context
        raise ConfigError(f"{file}:{line + 1}:{column + 1}: not valid YAML: {what}{_hint(text, line, what)}") from None
    except AssertionError as error:  # of a %YAML line, on a version there is not
        raise ConfigError(f"{file}:1:1: not valid YAML: {error}") from None
    except ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        raise ConfigError(f"{file}:{line}:{column}: not valid YAML: a control character; remove it") from None
    except (YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise ConfigError(f"{file}:1:1: not valid YAML: {type(error).__name__}") from None
    if not builder.values:
        raise ConfigError(f"{file}:1:1: the file is empty; `gristmill init` writes one to start from")
    return Document(
        file=file, folder=folder, raw=builder.root, value=builder.root, keys=builder.keys, values=builder.values
    )


def _hint(text: str, line: int, what: str) -> str:
    lines = text.splitlines()
    here = lines[line] if line < len(lines) else ""
    if "${" in here:
        return '; a reference inside { } or [ ] must stand in quotes: "${env:NAME}"'
    if "\\t" in what:
        return "; indent with spaces, not tabs"
    if "mapping values are not allowed" in what:
        return '; put a text that holds ": " in quotes'
    if "could not find expected ':'" in what:
        return "; is a ':' missing after a key, or the indentation off?"
    return ""


class _Builder:
    """Makes plain values from parser events, with a stack instead of recursion."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Any = None
        self.keys: dict[Keys, Place] = {}
        self.values: dict[Keys, Place] = {}
        self._open: list[tuple[Keys, Any]] = []  # the containers around the next node, outermost first
        self._key: list[str | None] = []  # the key read last in each of them, None when a key is due
        self._documents = 0

    def take(self, event: Any) -> None:
        """Take the next event of the parser."""
        kind = type(event).__name__
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        if kind == "DocumentStartEvent":
            self._documents += 1
            if self._documents > 1:
                raise self._refused(place, "a second document starts here; a file holds one")
            if event.version not in (None, (1, 2)) or event.tags:
                raise self._refused((1, 1), "directives are not supported; the file is read as YAML 1.2")
        elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
            self._open.pop()
            self._key.pop()
        elif kind == "AliasEvent":
            raise self._refused(place, f"the alias *{event.anchor} is not supported; write the value out")
        elif kind in {"ScalarEvent", "MappingStartEvent", "SequenceStartEvent"}:
            if kind == "ScalarEvent" and _HALF.search(event.value):
                raise self._refused(place, "an escape gives half a surrogate pair, which is no character")
            if event.anchor is not None:
                raise self._refused(
                    place, f"the anchor &{event.anchor} is not supported; write the value out each time"
                )
            if event.tag is not None:
                raise self._refused(place, f"the tag {event.tag} is not supported; values have their natural type")
            self._node(kind, event, place)

    def _refused(self, place: Place, what: str) -> ConfigError:
        return ConfigError(f"{self.file}:{place[0]}:{place[1]}: {what}")

    def _node(self, kind: str, event: Any, place: Place) -> None:
        if self._open and isinstance(self._open[-1][1], dict) and self._key[-1] is None:
            self._take_key(kind, event, place)
            return
        path: Keys = ()
        value: Any = {} if kind == "MappingStartEvent" else []
        if kind == "ScalarEvent":
            value = self._scalar(event.value, plain=event.implicit[0], place=place)
        if self._open:
            around, container = self._open[-1]
            if isinstance(container, dict):
                key = self._key[-1] or ""
                path = (*around, key)
                container[key] = value
                if value is None and not event.value:
                    place = self.keys[path]  # nothing stands there: the parser's mark is at the next thing in the file
                self._key[-1] = None
            else:
                path = (*around, len(container))
                container.append(value)
        else:
            self.root = value
        self.values[path] = place
        if len(self.values) > MAX_NODES:
            raise self._refused(place, f"more than {MAX_NODES} values; a config names data, it does not hold it")
        if kind != "ScalarEvent":
            if len(self._open) >= MAX_DEPTH:
                raise self._refused(place, f"nested deeper than {MAX_DEPTH} levels")
            self._open.append((path, value))
            self._key.append(None)

    def _take_key(self, kind: str, event: Any, place: Place) -> None:
        if kind != "ScalarEvent":
            raise self._refused(place, "a key must be plain text, not a list or mapping")
        key = str(event.value)
        path = (*self._open[-1][0], key)
        if key == "<<" and event.implicit[0]:
            raise self._refused(place, "the merge key << is not supported; write the values out")
        if path in self.keys:
            first = self.keys[path]
            raise self._refused(
                place, f"key {key!r} is here a second time; the first is at line {first[0]}, column {first[1]}"
            )
        self.keys[path] = place
        self._key[-1] = key

    def _scalar(self, text: str, *, plain: bool, place: Place) -> Any:
        if not plain:
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text[0] in "tT"
        if _INT.fullmatch(text):
            if len(text) > 100:
                raise self._refused(place, "this number has more than 100 digits")
            return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
        if text[:1] in "0123456789+-." and _FLOAT.fullmatch(text):
            return float(text)
        if _INF.fullmatch(text):
            return float(text.replace(".", "", 1))
        return text
