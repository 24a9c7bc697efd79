"""Names for parts and their places in a pipeline; a pipeline out of Python objects.

Not here: reading a file (`config.load`). Invariants: names of sources and exports are unique and safe in a path; a
step's name is unique over the pipeline, and adding a source's own step never renames a common one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gristmill.config.settings import (
    BoundExport,
    Envelope,
    Gate,
    PipelineConfig,
    RunSettings,
    SourceEnvelope,
    StepEnvelope,
    Written,
)
from gristmill.core import find
from gristmill.core.errors import ConfigError
from gristmill.core.export import Export
from gristmill.core.references import masked, resolve_tree, written_secrets
from gristmill.core.source import BoundSource, Source
from gristmill.core.step import BoundStep, GlobalStep, Step
from gristmill.core.yamlfile import Keys

IN_PLAIN = "holds a secret in plain text; keep it in an environment variable and write ${env:NAME} in its place"
NOT_OWN = "{} looks at all records, so it cannot be a source's own step; put it among the steps of the pipeline"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # it becomes a file name
_RESERVED = {"require"}


class Named(msgspec.Struct):
    """A part with its envelope, on the way to its name.

    place: what a message begins with. path: where its parameters stand in the file. own: the number of the source whose
    own step it is.
    """

    part: str
    place: str
    envelope: Envelope
    built: Any
    path: Keys = ()
    name: str = ""
    own: int | None = None


def absolute(path: str, folder: Path) -> str:
    """Give a path from `folder` on; a URL stays as it is."""
    return path if "://" in path else os.path.normpath(folder / path)


def no_such_source(name: str, names: list[str]) -> str:
    """Give the sentence for a rule about a source that is not there."""
    meant = find.suggestion(name, names)
    return f"there is no source {name!r}{meant or ';'} sources: {', '.join(names)}"


def default_name(part: str) -> str:
    """Give the name a part has if the config gives none: its own, or the stem of its file."""
    return Path(part).stem if find.is_path(part) else part


def bad_name(name: str) -> str | None:
    """Say what is wrong with a name, if anything: it becomes part of paths."""
    if _NAME.fullmatch(name):
        return None
    return f"the name {name!r} must be letters, digits, '.', '_' and '-', at most 100 of them, and begin with one of the first two"


def _bad_name(each: Named, name: str) -> list[str]:
    told = bad_name(name)
    return [f"{each.place}: {told}"] if told else []


def name_uniquely(one: str, items: list[Named]) -> list[str]:
    """Name sources or exports: the envelope's name, else the part's. Gives the problems."""
    problems: list[str] = []
    first: dict[str, Named] = {}
    for each in items:
        each.name = each.envelope.name or default_name(each.part)
        problems += _bad_name(each, each.name)
        if each.name in first:
            problems.append(
                f"{each.place}: a second {one} is called {each.name!r}, the first is at {first[each.name].place}; "
                "give one of them another `name`"
            )
        first.setdefault(each.name, each)
    return problems


def name_steps(items: list[Named]) -> list[str]:
    """Name steps: the envelope's name, else the part's, numbered from the second on. Gives the problems."""
    problems: list[str] = []
    given = Counter(each.envelope.name for each in items if each.envelope.name)
    taken = set(given) | _RESERVED
    for each in items:
        each.name = each.envelope.name
        if each.name:
            problems += _bad_name(each, each.name)
            if given[each.name] > 1 or each.name in _RESERVED:
                problems.append(f"{each.place}: another step is called {each.name!r} too; give this one another `name`")
                given[each.name] -= 1
            continue
        base = default_name(each.part)
        number = 1
        each.name = base
        while each.name in taken:
            number += 1
            each.name = f"{base}#{number}"
        taken.add(each.name)
    return problems


def bind_source(each: Named, own: Sequence[Named]) -> BoundSource:
    """Put a source in its place, with its own steps."""
    envelope = each.envelope
    return BoundSource(
        name=each.name,
        part=each.part,
        source=each.built,
        steps=[bind_step(step) for step in own],
        description=envelope.description,
        owner=envelope.owner,
        license=envelope.license if isinstance(envelope, SourceEnvelope) else "",
        on_error=envelope.on_error if isinstance(envelope, SourceEnvelope) else "fail",
        freshness_s=envelope.freshness_s if isinstance(envelope, SourceEnvelope) else None,
    )


def bind_step(each: Named) -> BoundStep:
    """Put a step in its place."""
    envelope = each.envelope
    return BoundStep(
        name=each.name,
        part=each.part,
        step=each.built,
        description=envelope.description,
        owner=envelope.owner,
        license=envelope.license if isinstance(envelope, StepEnvelope) else "",
    )


def bind_export(each: Named) -> BoundExport:
    """Put an export in its place."""
    about = each.envelope
    return BoundExport(
        name=each.name, part=each.part, export=each.built, description=about.description, owner=about.owner
    )


class _Binder:
    """Takes Python objects as a reader takes items of a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.secrets: dict[str, str] = {}
        self.references: list[tuple[Named, dict[Keys, str]]] = []

    def take(self, given: Source | BoundSource | Step | BoundStep | Export | BoundExport) -> Named:
        """Resolve the references in a part's parameters, and give it on its way to a name."""
        part: Source | Step | Export
        envelope: Envelope = StepEnvelope()
        if isinstance(given, BoundSource):
            part = given.source
            envelope = SourceEnvelope(
                name=given.name,
                description=given.description,
                owner=given.owner,
                license=given.license,
                on_error=given.on_error,
                freshness=None if given.freshness_s is None else f"{given.freshness_s}s",
            )
        elif isinstance(given, BoundStep):
            part = given.step
            envelope = StepEnvelope(
                name=given.name, description=given.description, owner=given.owner, license=given.license
            )
        elif isinstance(given, BoundExport):
            part = given.export
            envelope = Envelope(name=given.name, description=given.description, owner=given.owner)
        else:
            part = given
            envelope = SourceEnvelope() if isinstance(given, Source) else StepEnvelope()
        name = find.part_name(type(part))
        named = Named(name, name, envelope, part)
        raw = msgspec.to_builtins(part)
        self.problems += [f"{name}: {place[-1]!r} {IN_PLAIN}" for place in written_secrets(raw)]
        secrets: dict[str, str] = {}
        try:
            value, references, secrets = resolve_tree(raw, self.folder)
            if references:
                named.built = msgspec.convert(value, type(part))
                self.references.append((named, references))
                self.secrets.update(secrets)
        except ConfigError as error:
            self.problems += [f"{name}: {masked(problem, secrets)}" for problem in error.problems]
        except msgspec.ValidationError as error:
            self.problems.append(f"{name}: {masked(str(error), secrets)}")
        return named

    def written(self, dataset: str, groups: dict[str, list[Named]]) -> Written:
        """Give what the parts hold by reference, once they have names."""
        found: dict[str, dict[Keys, str]] = {}
        for kind, items in groups.items():
            for each in items:
                key = kind if kind == "require" else f"{kind}.{each.name}"
                for named, references in self.references:
                    if named is each:
                        found[key] = references
        return Written({}, found, self.secrets, dataset)


def from_parts(
    dataset: str,
    sources: Sequence[Source | BoundSource],
    steps: Sequence[Step | BoundStep] = (),
    exports: Sequence[Export | BoundExport] = (),
    *,
    require: Step | None = None,
    gate: Gate | None = None,
    run: RunSettings | None = None,
    folder: Path | None = None,
) -> PipelineConfig:
    """Make the same from Python objects. A part is named by its class's module; references in its texts are resolved.

    Args:
        dataset: folder or URL of the dataset.
        sources: parts, or bound ones to give a name, own steps, a licence.
        steps: parts or bound ones, in order.
        exports: parts or bound ones.
        require: `steps/require.py`'s Require, by default as it comes.
        gate: rules a run must meet.
        run: how a run works.
        folder: where relative paths start; the current folder by default.

    Raises:
        ConfigError: with every problem.
    """
    folder = (folder or Path.cwd()).absolute()
    binder = _Binder(folder)
    named_sources = [binder.take(each) for each in sources]
    own = []
    for at, source in enumerate(sources):
        for step in source.steps if isinstance(source, BoundSource) else []:
            named = binder.take(step)
            named.own = at
            own.append(named)
    named_steps = [binder.take(each) for each in steps]
    named_exports = [binder.take(each) for each in exports]
    last = binder.take(require if require is not None else find.find("steps", "require", folder)())
    told = [*binder.problems, *name_uniquely("source", named_sources), *name_uniquely("export", named_exports)]
    told += name_steps([*named_steps, *own])
    told += [f"{step.place}: {NOT_OWN.format(step.part)}" for step in own if isinstance(step.built, GlobalStep)]
    names = [source.name for source in named_sources]
    told += [f"gate: {no_such_source(name, names)}" for name in (gate.sources if gate else {}) if name not in names]
    if not named_sources:
        told.append("sources: a pipeline needs at least one source")
    if told:
        raise ConfigError(*told)
    last.name = "require"
    return PipelineConfig(
        dataset=absolute(dataset, folder),
        sources=[bind_source(each, [s for s in own if s.own == at]) for at, each in enumerate(named_sources)],
        steps=[bind_step(each) for each in named_steps],
        require=bind_step(last),
        gate=gate or Gate(),
        exports=[bind_export(each) for each in named_exports],
        run=run or RunSettings(),
        folder=folder,
        written=binder.written(
            dataset,
            {"sources": named_sources, "steps": [*named_steps, *own], "exports": named_exports, "require": [last]},
        ),
    )
