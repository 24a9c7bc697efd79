"""Runs the user's own Python function on the records.

    call: ./mine.py:clean         a file (from the config's folder) and a function in it
    call: mypkg.module:clean      an installed module and a function in it
    Custom(call=clean)            from Python: the function itself

mode `record` (default): called with one record, a dict of `FIELDS` (`time` and `fetched_at` are datetimes with a zone,
    `meta` is what its JSON says). Gives the dict (changed in place or new, with exactly these keys), or None (dropped:
    `none`), or `Drop("reason")`. What is not in `CHANGEABLE` must stay as it was; a new field goes under `meta`.
mode `list`: called with the records of a batch as a list of such dicts; gives a list of equal length of such answers.
    Batch borders are no property of the data: using it declares that they do not matter to the function.
mode `batch`: called with a pyarrow.RecordBatch (`RECORD_SCHEMA`); gives one of the same schema, rows and ids.

Reads: every column.
Changes: text, url, time, lang, script, lang_score, license, meta.
Drops: none, or the reason in Drop (modes record and list).
Cost: the function's own, and a dict made and compared for each record (not in mode batch).
Source: the user's.

For the engine: `open` gives an object with `run(batch) -> (batch, reasons)`: the same rows in the same order with error
words set, and one dictionary-encoded string a row, null to keep it. Error words: `step.error <Type>` (the function
raised it in mode record; its message is not kept), `step.output` (not a record, or a bad value: which), `step.changed_id`. In
modes batch and list what the function raises comes out of `run`; a StepError means it breaks the contract.

Not here: retries and the search for the record a batch fails on (`engine.flow`); finding steps by name (`core.find`).
Invariants: the file's folder does not enter `sys.path`; no text of a document enters a message; a record that fails
keeps its values.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import CodeType
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa

from gristmill.core import modules, own
from gristmill.core.batch import RECORD_SCHEMA, Batch
from gristmill.core.errors import ConfigError, StepError
from gristmill.core.step import Step
from gristmill.steps.signals import reasons

Record: TypeAlias = dict[str, Any]
Function: TypeAlias = Callable[..., Any]

FIELDS = [name for name in RECORD_SCHEMA.names if name != "content_hash"]
CHANGEABLE = ["text", "url", "time", "lang", "script", "lang_score", "license", "meta"]
INLINE = "inline:"  # in front of a function that only this process knows (a lambda, a notebook's)


class Drop(msgspec.Struct, frozen=True):
    """What a custom function gives for a record that is to be dropped. `reason`: a short word, counted in the report."""

    reason: str

    def __post_init__(self) -> None:
        if not isinstance(self.reason, str) or not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", self.reason):
            raise ValueError("a reason is a word of letters, digits and _ . : - (64 at most)")


class Custom(Step, frozen=True, kw_only=True, dict=True):
    """Runs the user's own function. `call`: "./file.py:function", "package.module:function", or the function."""

    call: Any
    mode: Literal["record", "batch", "list"] = "record"

    def __post_init__(self) -> None:
        if callable(self.call):
            # Not a field: parameters must be plain values, because the fingerprint is made of them.
            msgspec.structs.force_setattr(self, "_function", self.call)
            msgspec.structs.force_setattr(self, "call", _name(self.call))
        elif not isinstance(self.call, str) or not all(self.call.rpartition(":")):
            raise ValueError(f'call: expected "./file.py:function" or "package.module:function", found {self.call!r}')

    def open(self, folder: Path) -> Step:
        """Load the function; give the object whose `run` the engine calls."""
        function = self._inline()
        if function is None:
            problems = self.check(folder)
            if problems:
                raise ConfigError(*problems)
            function = _load(self.call, folder)
        return _Opened(function=function, mode=self.mode, name=self.call)

    def check(self, folder: Path) -> list[str]:
        """Give what keeps the function from being found, without running any of the user's code."""
        if self._inline() is not None:
            return []
        if self.call.startswith(INLINE):
            return [
                f"call: {self.call!r} lives in another process: put the function into a file, or run with one worker"
            ]
        place, _, name = self.call.rpartition(":")
        source = modules.source_of(place, folder)
        if source is None:
            return [_missing_file(place, folder)]
        try:
            known = _defined(ast.parse(source.read_bytes()))
        except (SyntaxError, ValueError) as error:
            return [f"call: {source}:{getattr(error, 'lineno', None) or 1}: {type(error).__name__}: correct the file"]
        if name in known or "*" in known:
            return []
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known) or 'nothing'}"
        return [f"call: {source} has no function {name!r}; {hint}"]

    def code_hash(self, folder: Path) -> str:
        """Give the sha256 of the file the function stands in; of the function itself if it stands in none.

        What that file imports is not in it: raise a number in the function's file when such code changes.
        """
        function = self._inline()
        source = None if self.call.startswith(INLINE) else modules.source_of(self.call.rpartition(":")[0], folder)
        if source is not None:
            code = source.read_bytes()
        elif function is not None:
            code = _own_code(function)
        else:
            code = b""
        return hashlib.sha256(code).hexdigest()

    def _inline(self) -> Function | None:
        function: Function | None = getattr(self, "_function", None)
        return function


class _Opened(Step, frozen=True, kw_only=True):
    """A custom step with its function loaded."""

    function: Any
    mode: str
    name: str

    def run(self, batch: Batch) -> tuple[Batch, pa.Array]:
        """Call the function on every record.

        Returns:
            The same rows in the same order with error words set, and one reason a row: null keeps it.

        Raises:
            StepError: in modes batch and list, the answer is not what the contract asks for.
        """
        if self.mode == "batch":
            return self._batch(batch), reasons(len(batch), [])
        before: list[Record] = batch.rows.select(FIELDS).to_pylist()
        records = [_for_user(record) for record in before]
        if self.mode == "record":
            answers = [_call(self.function, record) for record in records]
        else:
            answers = self.function(records)
            if not isinstance(answers, list) or len(answers) != len(batch):
                found = f"{len(answers)} items" if isinstance(answers, list) else type(answers).__name__
                raise self._breach(found, f"a list of {len(batch)}, None or Drop for what is to go")
        return _settled(batch, before, answers)

    def _batch(self, batch: Batch) -> Batch:
        rows = self.function(batch.rows)
        if not isinstance(rows, pa.RecordBatch):
            raise self._breach(type(rows).__name__, "a pyarrow.RecordBatch")
        if not rows.schema.equals(batch.rows.schema):
            raise self._breach("another schema", "the same columns, types and order (cast to batch.schema)")
        if rows.num_rows != len(batch):
            raise self._breach(f"{rows.num_rows} rows", f"{len(batch)}; to drop records use mode record or list")
        for name in ("id", "source", "origin", "fetched_at", "content_hash", "ord"):
            if not rows.column(name).equals(batch.rows.column(name)):
                raise self._breach(f"other values in {name!r}", "the same rows in the same order")
        if rows.column("text").null_count:
            raise self._breach("a null text", "a text in every row, empty if there is none")
        try:
            rows.validate(full=True)
        except pa.ArrowInvalid:
            raise self._breach("invalid data", "valid Arrow arrays and UTF-8") from None
        return Batch(rows)

    def _breach(self, found: str, wanted: str) -> StepError:
        return StepError(f"custom {self.name!r} (mode {self.mode}) gave {found}; it must give {wanted}")


class _Failed(msgspec.Struct, frozen=True):
    """Stands in the place of an answer; `word` is the error word."""

    word: str


def _call(function: Function, record: Record) -> Any:
    try:
        return function(record)
    except BaseException as error:
        if not own.is_raised(error):
            raise
        return _Failed(f"step.error {type(error).__name__}")


def _for_user(record: Record) -> Record:
    """Give a copy with `meta` parsed, which the function may change at will."""
    meta = record["meta"]
    return {**record, "meta": None if meta is None else json.loads(meta)}


def _settled(batch: Batch, before: list[Record], answers: list[Any]) -> tuple[Batch, pa.Array]:
    """Turn one answer a record into changed columns, error words and reasons."""
    changed: set[str] = set()
    errors: list[str | None] = [None] * len(before)
    dropped: dict[str, list[int]] = {}
    for row, (record, answer) in enumerate(zip(before, answers, strict=True)):
        if answer is None or isinstance(answer, Drop):
            dropped.setdefault("none" if answer is None else answer.reason, []).append(row)
            continue
        errors[row] = answer.word if isinstance(answer, _Failed) else _problem(record, answer)
        if errors[row] is None:
            values = {**answer, "meta": _meta_text(record["meta"], answer["meta"])}
            different = {name for name in CHANGEABLE if values[name] != record[name]}
            changed |= different
            record.update((name, values[name]) for name in different)
    rows = batch
    for name in CHANGEABLE:
        if name in changed:
            values_of = pa.array([record[name] for record in before], RECORD_SCHEMA.field(name).type)
            rows = rows.with_column(name, values_of)
    words = pa.array(errors, pa.string()) if any(errors) else None
    masks = [(reason, np.isin(np.arange(len(before)), at)) for reason, at in sorted(dropped.items())]
    return rows if words is None else Batch(rows.rows, words), reasons(len(before), masks)


def _problem(record: Record, answer: Any) -> str | None:
    """Give the error word for an answer that is no record like the one before, and what of it is not; keys of the answer are not told."""
    if not isinstance(answer, dict):
        return f"step.output {type(answer).__name__}"
    if answer.keys() != record.keys():
        lacking = [name for name in record if name not in answer]
        return f"step.output lacks {' '.join(lacking)}" if lacking else "step.output more than the record's keys"
    if any(answer[name] != record[name] for name in FIELDS if name not in CHANGEABLE):
        return "step.changed_id"
    wrong = next((name for name in CHANGEABLE if not _is_valid(name, answer[name])), None)
    return None if wrong is None else f"step.output {wrong} {_kind(wrong, answer[wrong])}"


def _kind(name: str, value: Any) -> str:
    """Say what a value is that no column can hold."""
    if name == "meta":
        return "is no JSON"
    if isinstance(value, str) and name not in {"time", "lang_score"}:
        return "is no Unicode"
    if isinstance(value, datetime):
        return "has no zone"
    return f"is {type(value).__name__}"


def _is_valid(name: str, value: Any) -> bool:
    if value is None:
        return name != "text"
    match name:
        case "time":
            return isinstance(value, datetime) and value.tzinfo is not None
        case "lang_score":
            return isinstance(value, float) or (type(value) is int and abs(value) <= 2**24)  # what float32 holds
        case "meta":
            try:
                return _is_unicode(_dump(value))
            except (TypeError, ValueError, RecursionError):
                return False
        case _:
            return isinstance(value, str) and _is_unicode(value)


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _meta_text(before: str | None, after: Any) -> str | None:
    """Give the JSON text of `after`; the text as it was if it says the same, so that untouched bytes stay."""
    if after is None:
        return None
    text = _dump(after)
    return before if before is not None and _dump(json.loads(before)) == text else text


def _name(function: Function) -> str:
    """Give `module:function` if another process can import it so, else `inline:function`."""
    module, name = getattr(function, "__module__", None) or "", getattr(function, "__qualname__", repr(type(function)))
    found = getattr(sys.modules.get(module), name, None)
    return f"{module}:{name}" if module != "__main__" and found is function else INLINE + name


def _missing_file(place: str, folder: Path) -> str:
    if not modules.is_file(place):
        return f"call: there is no module {place!r} to import; install it, or give a file: ./mine.py:function"
    path = folder / place
    beside = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"call: there is no file {path}" + (f"; did you mean {near[0]!r}?" if near else "")


def _defined(tree: ast.Module) -> list[str]:
    """Give the names a module defines at its top level; `*` if it takes over those of another."""
    names: list[str] = []
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.append(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names += [alias.asname or alias.name for alias in aliases]
            case ast.Assign(targets=targets):
                names += [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.If(body=body) | ast.Try(body=body):
                others = [*getattr(node, "handlers", []), *node.orelse, *getattr(node, "finalbody", [])]
                names += _defined(ast.Module([*body, *others], []))
            case ast.ExceptHandler(body=body):
                names += _defined(ast.Module(body, []))
            case _:
                pass
    return names


def _load(call: str, folder: Path) -> Function:
    place, _, name = call.rpartition(":")
    try:
        module = modules.load(place, folder)
    except BaseException as error:
        if not own.is_raised(error):
            raise
        raise ConfigError(f"call: importing {place!r} raised {type(error).__name__}: {error}") from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"call: {name!r} in {place!r} is no function")
    return function  # type: ignore[no-any-return]


def _own_code(function: Function) -> bytes:
    """Give the source, if there is one, and the compiled code: two lambdas on a line share their source."""
    try:
        source = inspect.getsource(function).encode()
    except (OSError, TypeError):
        source = repr(type(function)).encode()
    code = getattr(function, "__code__", None)
    return source + (_compiled(code) if code else b"")


def _compiled(code: CodeType) -> bytes:
    """Give a code object's instructions and constants, those of inner functions too (their repr holds an address)."""
    parts = [_compiled(c) if isinstance(c, CodeType) else repr(c).encode() for c in code.co_consts]
    return b"\0".join([code.co_code, *parts])
