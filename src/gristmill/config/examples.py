"""The key `tests` of a config: example records, and what the steps are to make of them.

Not here: running the steps on them (`engine.examples`). Invariants: nothing here changes a record or a fingerprint; what an example
names (a source, steps, columns) is there, or the config is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from gristmill.core.batch import RECORD_SCHEMA
from gristmill.core.find import suggestion
from gristmill.core.yamlfile import Keys

OURS = {"source", "origin", "content_hash", "ord"}  # what no example can say
GIVEN = [*(name for name in RECORD_SCHEMA.names if name not in OURS)]
OUTCOMES = ("kept", "dropped", "duplicate", "quarantined")
EXPECTED = [*OUTCOMES, *(name for name in GIVEN if name != "id")]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """Records, and what the steps are to make of them.

    name: for people, unique. given: a text, a record (columns; other keys go to meta), or a list of them. expect: for each what becomes of it: kept: true; dropped,
    duplicate or quarantined with the reason, the step, `step:reason`, or true; columns with their values. source: whose own steps come first; that of the
    only source if there is one. steps: the names of the only ones to run; all of them by default, `require` last.
    """

    name: Annotated[str, msgspec.Meta(min_length=1)]
    given: str | dict[str, Any] | list[Any]
    expect: dict[str, Any] | list[Any]
    source: str | None = None
    steps: list[str] | None = None

    @property
    def records(self) -> list[Any]:
        """The records, one or more."""
        return self.given if isinstance(self.given, list) else [self.given]

    @property
    def wanted(self) -> list[Any]:
        """What is expected of each."""
        return self.expect if isinstance(self.expect, list) else [self.expect]


def check(examples: Sequence[Example], sources: Sequence[str], steps: Sequence[str]) -> Iterator[tuple[Keys, str]]:
    """Give what is wrong with examples, each with the way to it from `tests` on."""
    seen: set[str] = set()
    for at, example in enumerate(examples):
        if example.name in seen:
            yield (at, "name"), f"a second test is called {example.name!r}; give one of them another name"
        seen.add(example.name)
        if example.source is not None and example.source not in sources:
            yield (at, "source"), _no("source", example.source, sources)
        for n, step in enumerate(example.steps or []):
            if step not in steps:
                yield (at, "steps", n), _no("step", step, steps)
        if not example.records:
            yield (at, "given"), "given holds no record"
        if len(example.records) != len(example.wanted):
            yield (at, "expect"), f"{len(example.records)} records are given, and {len(example.wanted)} are expected"
        for n, record in enumerate(example.records):
            inner: Keys = (n,) if isinstance(example.given, list) else ()
            yield from ((((at, "given", *inner, *key)), told) for key, told in _of_record(record))
        for n, wanted in enumerate(example.wanted):
            inner = (n,) if isinstance(example.expect, list) else ()
            yield from ((((at, "expect", *inner, *key)), told) for key, told in _of_expected(wanted))


def _no(kind: str, name: str, names: Sequence[str]) -> str:
    return f"there is no {kind} {name!r}{suggestion(name, list(names)) or ';'} it is one of {', '.join(names)}"


def _of_record(record: Any) -> Iterator[tuple[Keys, str]]:
    if isinstance(record, str):
        return
    if not isinstance(record, dict):
        yield (), "a record is a text, or a mapping with `text` and other columns"
        return
    if not isinstance(record.get("text"), str):
        yield (), "a record has a `text`"
    yield from (((name,), f"{name!r} is set by gristmill and cannot be given") for name in record if name in OURS)
    for field in RECORD_SCHEMA:
        value = record.get(field.name)
        if value is None or field.name in {"text", "id", "meta", *OURS} or not pa.types.is_string(field.type):
            continue
        if not isinstance(value, str):
            yield (field.name,), f"{field.name} is a text; write it in quotes"
    score = record.get("lang_score")
    if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
        yield ("lang_score",), "lang_score is a number"
    if not isinstance(record.get("meta"), dict | str | None):
        yield ("meta",), "meta is a mapping"


def _of_expected(wanted: Any) -> Iterator[tuple[Keys, str]]:
    if not isinstance(wanted, dict) or not wanted:
        yield (), f"what is expected is a mapping; keys: {', '.join(EXPECTED)}"
        return
    for name, value in wanted.items():
        if name not in EXPECTED:
            yield (name,), f"{name!r} cannot be expected{suggestion(name, EXPECTED) or ';'} keys: {', '.join(EXPECTED)}"
        elif name in OUTCOMES and value is not True and (name == "kept" or not isinstance(value, str)):
            yield (name,), f"{name}: write true{'' if name == 'kept' else ', a reason, a step or step:reason'}"
    if sum(name in OUTCOMES for name in wanted) > 1:
        yield (), f"a record ends in one way: only one of {', '.join(OUTCOMES)}"
