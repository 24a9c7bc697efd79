"""Typed construction: a plain mapping becomes a frozen struct, or every reason why not, each with its place.

Not here: reading the file (`core.yamlfile`), finding the class (`core.find`), the layout of the config (`config.load`).
Invariants: a struct is made only if the mapping has no problem at all; unknown keys never pass, whatever the struct
says; a message never shows a value that came through a reference or stands under a key that holds a secret.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import inspect
import re
import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from gristmill.core.errors import ConfigError
from gristmill.core.find import near_miss, suggestion
from gristmill.core.references import is_secret, masked
from gristmill.core.yamlfile import Document, Keys

T = TypeVar("T", bound=msgspec.Struct)

_SHOWN = 40  # characters of a value that a message quotes
_LISTS = (list, set, frozenset)
_WORDS = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null", Any: "anything"}
# What YAML 1.1 took for booleans; in 1.2 they are texts.
_OLD_BOOLS = {"yes", "no", "on", "off", "y", "n"}
_PATH = re.compile(r"(.*) - at `(?:key in )?\$([^`]*)`", re.DOTALL)
_PATH_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class Where(msgspec.Struct, frozen=True):
    """The place of a mapping: its document, the way to it there, and what messages call it (`filter.length`)."""

    document: Document
    path: Keys
    name: str

    def at(self, path: Keys = (), *, key: bool = False) -> str:
        """Give `file:line:column` of what lies at `path` inside the mapping."""
        return self.document.at((*self.path, *path), key=key)

    def holds_references(self, path: Keys) -> bool:
        """Tell whether a value at or below `path` came through a reference."""
        full = (*self.path, *path)
        return any(leaf[: len(full)] == full for leaf in self.document.references)

    def is_unresolved(self, path: Keys) -> bool:
        """Tell whether a reference at or below `path` could not be resolved, which `core.references.resolve` has told."""
        full = (*self.path, *path)
        return any(leaf[: len(full)] == full for leaf in self.document.unresolved)

    def called(self, path: Keys) -> str:
        """Give `filter.length`, or `filter.length.rules[0]` for what lies in it; at the top of a file `rules[0]`."""
        inside = spelled(path)
        if not inside or inside.startswith("["):
            return self.name + inside
        return f"{self.name}.{inside}" if self.path else inside


def spelled(path: Keys) -> str:
    """Give `rules[0].name` for the way to a value."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def build(cls: type[T], mapping: Any, where: Where) -> T:
    """Make a struct from what the config says.

    Args:
        cls: the struct; its fields are the keys.
        mapping: the resolved value that stands at `where`; null is an empty mapping.
        where: its place.

    Raises:
        ConfigError: one sentence for each problem: unknown and missing keys, types, bounds, what the struct itself says;
            none at all where the only problem is a reference that could not be resolved, which is told already.
    """
    problems: list[str] = []
    value = {} if mapping is None else mapping
    if isinstance(value, dict):
        _check_struct(cls, value, where, (), problems)
    else:
        keys = ", ".join(field.encode_name for field in msgspec.structs.fields(cls)) or "none"
        found = _found(value, where, ())
        problems.append(f"{where.at()}: {where.name} takes a mapping of parameters, got {found}; parameters: {keys}")
    if not problems and not any(where.is_unresolved((key,)) for key in value):
        try:
            return msgspec.convert(value, cls)
        except (msgspec.ValidationError, ConfigError) as error:
            problems.append(_refused(cls, error, where, ()))
    raise ConfigError(*problems)


def unknown_key(key: str, where: Where, path: Keys, allowed: list[str]) -> str:
    """Give the sentence for a key nobody knows."""
    meant = suggestion(key, allowed)
    return (
        f"{where.at((*path, key), key=True)}: unknown key {key!r} in {where.called(path)}{meant or ';'} "
        f"allowed: {', '.join(allowed) or 'none'}"
    )


@functools.lru_cache(maxsize=1000)  # resolving the annotations of the parts was a third of reading a config
def _fields(cls: Any) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(cls)}


def _check_struct(cls: Any, mapping: dict[str, Any], where: Where, path: Keys, problems: list[str]) -> None:
    fields = _fields(cls)
    meant = set()
    for key in mapping:
        if key not in fields:
            problems.append(unknown_key(key, where, path, list(fields)))
            meant.add(near_miss(key, list(fields)))
    for name, field in fields.items():
        if name in mapping:
            _check(field.type, mapping[name], where, (*path, name), problems)
        elif field.required and name not in meant:
            expected = words(field.type)
            problems.append(
                f"{where.at(path, key=True)}: {name!r} is missing in {where.called(path)}; it takes {expected}"
            )


def _check(annotation: Any, value: Any, where: Where, path: Keys, problems: list[str]) -> None:
    """Add the problems of one value. Goes into structs, lists and mappings to find all of them, not the first."""
    before = len(problems)
    members = _members(annotation)
    if isinstance(value, dict):
        structs = [member for member in members if _is_struct(member)]
        maps = [member for member in members if get_origin(member) is dict]
        if len(structs) == 1 and not maps:
            _check_struct(structs[0], value, where, path, problems)
        elif len(maps) == 1 and not structs:
            for key, item in value.items():
                _check(get_args(maps[0])[1], item, where, (*path, key), problems)
    elif isinstance(value, list):
        lists = [member for member in members if get_origin(member) in _LISTS]
        if len(lists) == 1:
            for at, item in enumerate(value):
                _check(get_args(lists[0])[0], item, where, (*path, at), problems)
    if len(problems) > before or where.is_unresolved(path):
        return
    try:
        msgspec.convert(value, annotation)
    except (msgspec.ValidationError, ConfigError) as error:
        if error.__cause__ is not None or isinstance(error, ConfigError):
            problems.append(_refused(annotation, error, where, path))
        else:
            problems.append(_mistyped(annotation, value, error, where, path))


def _mistyped(annotation: Any, value: Any, error: Exception, where: Where, path: Keys) -> str:
    text, inner = _split(error)
    full = (*path, *inner)
    # `langs[0]` in filter.x: the last name and the positions after it.
    named = max((n for n, key in enumerate(full) if isinstance(key, str)), default=0)
    at, key, called = where.at(full), spelled(full[named:]), where.called(full[:named])
    if inner:
        # Inside a tuple or a union of structs msgspec knows best what it expected, but it may quote what it found.
        text = "not one of the accepted values" if text.startswith("Invalid") else text.replace("`", "")
        return f"{at}: {key!r} in {called}: {text}"
    expected, found = words(annotation), _found(value, where, path)
    return f"{at}: {key!r} in {called}: expected {expected}, got {found}{_advice(annotation, value, where, path)}"


def _advice(annotation: Any, value: Any, where: Where, path: Keys) -> str:
    members = _members(annotation)
    if where.holds_references(path):
        return "; what a reference gives is always text" if str not in members else ""
    if isinstance(value, str):
        if bool in members and value.lower() in _OLD_BOOLS:
            return "; write true or false"
        if {int, float} & set(members) and re.fullmatch(r"[-+]?\d+(?:\.\d+)?", value):
            return "; remove the quotes"
        if any(get_origin(member) in _LISTS for member in members):
            return "; write a list: [...]"
        options = [option for option in _options(members) if isinstance(option, str)]
        return suggestion(value, options) if options else ""
    if str in members and isinstance(value, int | float):
        with contextlib.suppress(msgspec.ValidationError):  # in quotes it would be no better
            msgspec.convert(str(value), annotation)
            return "; put it in quotes"
    return ""


def _refused(annotation: Any, error: Exception, where: Where, path: Keys) -> str:
    """Give the sentence for what a struct's own check says; whatever it quotes of a secret is shown as its reference."""
    text, inner = _split(error)
    place = (*path, *inner)
    if where.holds_references(place):
        raw = where.document.raw
        for key in (*where.path, *path):
            raw = raw[key]
        try:
            msgspec.convert({} if raw is None else raw, annotation)
            same = False
        except (msgspec.ValidationError, ConfigError) as other:
            same = _split(other)[0] == text
        if not same:
            text = masked(text, where.document.secrets)
    return f"{where.at(place, key=True)}: {where.called(place)}: {text}"


def _split(error: Exception) -> tuple[str, Keys]:
    """Split `what - at `$.a[0]`` into what and the way there."""
    text = str(error)
    match = _PATH.fullmatch(text)
    if not match:
        return text, ()
    keys: list[str | int] = []
    steps = match[2]
    while step := _PATH_STEP.match(steps):
        keys.append(step[1] if step[1] is not None else int(step[2]))
        steps = steps[step.end() :]
    return match[1], tuple(keys)


def _found(value: Any, where: Where, path: Keys) -> str:
    """Say what stands there: its type, and the value unless it may be a secret."""
    full = (*where.path, *path)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    kind = _WORDS.get(type(value), type(value).__name__)
    if full in where.document.references:
        return f"{kind} through a reference"
    if is_secret(full, value):
        return f"{kind} (not shown)"
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
        return f"{kind} {cut!r}"
    return f"{kind} {str(value).lower() if isinstance(value, bool) else str(value)[:_SHOWN]}"


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _members(annotation: Any) -> list[Any]:
    """Give what a type is a union of, without bounds; a plain type is a union of itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for one in get_args(annotation) if one is not msgspec.UnsetType for member in _members(one)]
    return [annotation]


def _options(members: Sequence[Any]) -> list[Any]:
    options: list[Any] = []
    for member in members:
        if get_origin(member) is Literal:
            options += get_args(member)
        elif isinstance(member, type) and issubclass(member, enum.Enum):
            options += [each.value for each in member]
    return options


def words(annotation: Any) -> str:
    """Say a type the way a user would: `int >= 1 or null`, `list of str`, `one of 'append', 'full'`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = " and ".join(text for meta in args[1:] if isinstance(meta, msgspec.Meta) for text in _bounds(meta))
        return f"{words(args[0])} {bounds}".strip()
    if origin in (Union, types.UnionType):
        return " or ".join(words(arg) for arg in args if arg is not msgspec.UnsetType)
    options = _options([annotation])
    if options:
        return ("one of " if len(options) > 1 else "") + ", ".join(repr(option) for option in options)
    if origin in _LISTS:
        return f"a list of {words(args[0])}"
    if origin is dict:
        return "a mapping" if args[1] is Any else f"a mapping of {words(args[1])}"
    if origin is tuple:
        return "a list of " + ", ".join("..." if arg is Ellipsis else words(arg) for arg in args)
    if _is_struct(annotation):
        return "a mapping with " + ", ".join(field.encode_name for field in msgspec.structs.fields(annotation))
    return _WORDS.get(annotation) or str(getattr(annotation, "__name__", annotation))


def _bounds(meta: msgspec.Meta) -> list[str]:
    limits = [(">=", meta.ge), (">", meta.gt), ("<=", meta.le), ("<", meta.lt)]
    texts = [f"{sign} {limit}" for sign, limit in limits if limit is not None]
    if meta.multiple_of is not None:
        texts.append(f"divisible by {meta.multiple_of}")
    if meta.examples:  # say more than the pattern that they follow
        texts.append(f"such as {', '.join(map(str, meta.examples))}")
    elif meta.pattern is not None:
        texts.append(f"matching {meta.pattern}")
    if meta.min_length is not None:
        texts.append(f"of length >= {meta.min_length}")
    if meta.max_length is not None:
        texts.append(f"of length <= {meta.max_length}")
    return texts


def components(classes: Sequence[type[msgspec.Struct]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give the JSON Schema of some structs: a reference for each, and the definitions, described by their docstrings."""
    references, found = msgspec.json.schema_components(classes, ref_template="#/$defs/{name}")
    definitions: dict[str, Any] = dict(found)
    docs = {reference["$ref"]: field_docs(cls) for reference, cls in zip(references, classes, strict=True)}
    for name, definition in definitions.items():
        text = " ".join(definition.get("description", "").split())
        if text:
            definition["description"] = text
        if "properties" in definition:
            definition["additionalProperties"] = False
            described = docs.get(f"#/$defs/{name}") or _labelled(text, list(definition["properties"]))
            for key, schema in definition["properties"].items():
                if key in described:
                    schema["description"] = described[key]
    return list(references), definitions


def field_docs(cls: type[msgspec.Struct]) -> dict[str, str]:
    """Give what the docstrings of a struct and its bases say of its fields, written as `name: what it is`."""
    names = [field.encode_name for field in msgspec.structs.fields(cls)]
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        docs.update(_labelled(" ".join(text.split()), names))
    return docs


def _labelled(text: str, names: list[str]) -> dict[str, str]:
    """Cut a text at its labels, `name: ` or `name, other: `, for these names."""
    if not names:
        return {}
    name = "`?(?:" + "|".join(map(re.escape, names)) + ")`?"
    pieces = re.split(rf"(?:^|(?<=[\s(]))({name}(?:, {name})*): ", text)
    docs: dict[str, str] = {}
    for label, body in zip(pieces[1::2], pieces[2::2], strict=True):
        docs.update(dict.fromkeys(label.replace("`", "").split(", "), body.strip(" (")))
    return docs
