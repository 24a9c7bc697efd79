"""What decides the records of a pipeline: its description, its fingerprint, and what changed between two of them.

Not here: the model (`config.settings`), reading it (`config.load`). In: sources, steps and `require` with their
parameters, versions and user code. Out: where the dataset lies, gate, exports, run settings, words for people.
Invariants: same records in, same description, same records out; a reference stands in it as written, never its value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from gristmill.config.monitoring import missing
from gristmill.config.settings import PipelineConfig
from gristmill.core import find
from gristmill.core.errors import GristmillError
from gristmill.core.source import NOTE, BoundSource
from gristmill.core.step import BoundStep
from gristmill.core.yamlfile import Keys

_SHOWN = 60  # characters of a value that a sentence quotes


def fingerprint(config: PipelineConfig) -> str:
    """Give the sha256 of everything that decides the records, in hex."""
    return _digest(_described(config))


def describe(config: PipelineConfig) -> dict[str, Any]:
    """Give what decides the records as plain values, for manifests and lineage; `changes` compares two."""
    described = _described(config)
    return {"fingerprint": _digest(described), **described}


def step_fingerprint(config: PipelineConfig, bound: BoundStep) -> dict[str, Any]:
    """Give `bound.fingerprint`, with references as written and the code of a user's own part."""
    key = "require" if bound is config.require else f"steps.{bound.name}"
    found = bound.fingerprint(config.folder)
    return {
        **found,
        "params": as_written(config, key, bound.step),
        "code": found["code"] or find.code_hash(type(bound.step)),
    }


def problems(config: PipelineConfig, *, sources: bool = True) -> list[str]:
    """Ask every step (and source and export) what would stop a run, as `examine` does.

    A run leaves its sources and exports out: what one cannot open there is quarantined, not a reason to stop.
    """
    return examine(config, sources=sources)[0]


def examine(config: PipelineConfig, *, sources: bool = True) -> tuple[list[str], list[str]]:
    """Ask every step, source and export what a user could act on; looks at the world, changes nothing.

    Returns:
        What would stop a run; and notes on what would not: advice, and sources that fail and may be left out.
    """
    found: list[str] = []
    notes: list[str] = []
    passed_over = {source.name for source in config.sources if source.on_error == "skip"}
    found += missing(config.monitoring, config.alerts)
    checks: list[tuple[str, str, str, Any]] = []
    for source in config.sources:
        if sources:
            checks.append((f"sources.{source.name}", f"source {source.name!r}", source.part, source.source))
        checks += [(f"steps.{step.name}", f"step {step.name!r}", step.part, step.step) for step in source.steps]
    checks += [(f"steps.{step.name}", f"step {step.name!r}", step.part, step.step) for step in config.steps]
    checks.append(("require", "require", "require", config.require.step))
    if sources:  # a run leaves exports out too: what a database lacks then keeps the export waiting, not the snapshot
        checks += [(f"exports.{each.name}", f"export {each.name!r}", each.part, each.export) for each in config.exports]
    for key, called, part, thing in checks:
        try:
            told = list(thing.check(config.folder))
        except GristmillError as error:
            told = [str(error)]
        place = config.written.places.get(key)
        begin = f"{place}: " if place else ""
        may_fail = key.partition(".")[0] == "sources" and key.partition(".")[2] in passed_over
        for one in told:
            advice = one.startswith(NOTE)
            text = config.redact(f"{begin}{called} ({part}): {one.removeprefix(NOTE)}")
            if may_fail and not advice:
                text += " (on_error: skip: a run goes on without it)"
            (notes if advice or may_fail else found).append(text)
    return found, notes


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Say in sentences what differs between two descriptions, in the order of the config."""
    told = list(_list_changes("source", old["sources"], new["sources"]))
    before = {source["name"]: source for source in old["sources"]}
    for source in new["sources"]:
        if source["name"] in before:
            told += _list_changes(f"source {source['name']}: step", before[source["name"]]["steps"], source["steps"])
    told += _list_changes("step", old["steps"], new["steps"])
    told += _part_changes("require", old["require"], new["require"])
    return told


def _described(config: PipelineConfig) -> dict[str, Any]:
    return {
        "sources": [_source(config, source) for source in config.sources],
        "steps": [step_fingerprint(config, step) for step in config.steps],
        "require": step_fingerprint(config, config.require),
    }


def _source(config: PipelineConfig, bound: BoundSource) -> dict[str, Any]:
    return {
        "name": bound.name,
        "part": bound.part,
        "version": bound.source.VERSION,
        "params": as_written(config, f"sources.{bound.name}", bound.source),
        "code": find.code_hash(type(bound.source)),
        "license": bound.license,
        "steps": [step_fingerprint(config, step) for step in bound.steps],
    }


def as_written(config: PipelineConfig, key: str, part: msgspec.Struct) -> Any:
    """Give the parameters of a part as plain values, references as they are written; key: `sources.<name>`, …."""
    # Deterministic: a set has no order of its own.
    params = msgspec.to_builtins(part, order="deterministic")
    for path, text in config.written.references.get(key, {}).items():
        _mask(params, path, text)
    return params


def _mask(tree: Any, path: Keys, text: str) -> None:
    """Put `text` at `path`; where the way ends early (a set, an own type) the whole of what stands there goes."""
    for key in path[:-1]:
        inner = tree[key]
        if not isinstance(inner, dict | list):
            tree[key] = text
            return
        tree = inner
    tree[path[-1]] = text


def _digest(described: dict[str, Any]) -> str:
    canonical = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _list_changes(one: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[str]:
    before, after = {item["name"]: item for item in old}, {item["name"]: item for item in new}
    yield from (f"{one} removed: {name}" for name in before if name not in after)
    previous = ""
    for name, item in after.items():
        if name in before:
            yield from _part_changes(name, before[name], item)
        else:
            yield f"{one} added: {name} " + (f"after {previous}" if previous else "at the beginning")
        previous = name
    kept_before, kept_after = [n for n in before if n in after], [n for n in after if n in before]
    if kept_before != kept_after:
        yield f"{one} order: {', '.join(kept_before)} -> {', '.join(kept_after)}"


def _part_changes(name: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in ("part", "version", "license"):
        if old.get(key) != new.get(key):
            yield f"{name}: {key} {_value(old.get(key))} -> {_value(new.get(key))}"
    if old["part"] == new["part"]:
        before, after = dict(_leaves(old["params"])), dict(_leaves(new["params"]))
        for key in [*after, *(key for key in before if key not in after)]:
            if before.get(key) != after.get(key) or (key in before) != (key in after):
                told_before = _value(before[key]) if key in before else "not set"
                told_after = _value(after[key]) if key in after else "not set"
                yield f"{name}: {key} {told_before} -> {told_after}"
    if old.get("code") != new.get("code"):
        yield f"{name}: its code changed"


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values; a list is one value."""
    if isinstance(tree, dict) and (tree or not name):
        for key, item in tree.items():
            yield from _leaves(item, f"{name}.{key}" if name else key)
    else:
        yield name, tree


def _value(value: Any) -> str:
    text = value if isinstance(value, str) and value and value.isprintable() else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
