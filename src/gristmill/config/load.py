"""A config becomes a `PipelineConfig`: from a file, or from Python objects by the same rules.

Not here: YAML (`core.yamlfile`), references (`core.references`), types and bounds (`core.params`), the model
(`config.settings`), what decides records (`config.changes`). Invariants: all problems of a file are told at once, each
with `file:line:column`; reading a config looks at no data and changes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gristmill.config import examples, layers
from gristmill.config.bind import (
    IN_PLAIN,
    NOT_OWN,
    Named,
    absolute,
    bind_export,
    bind_source,
    bind_step,
    from_parts,
    name_steps,
    name_uniquely,
    no_such_source,
)
from gristmill.config.changes import changes, describe, fingerprint, problems, step_fingerprint
from gristmill.config.overrides import ENVELOPES, envelope_keys, override
from gristmill.config.settings import (
    BoundExport,
    ConfigFile,
    Gate,
    PipelineConfig,
    RunSettings,
    SourceEnvelope,
    SourceGate,
    StepEnvelope,
    Unresolved,
    Written,
)
from gristmill.core import find, params, references
from gristmill.core.errors import ConfigError, MissingExtra
from gristmill.core.export import FileExport
from gristmill.core.find import Kind
from gristmill.core.load import Load
from gristmill.core.params import Where
from gristmill.core.step import BoundStep, GlobalStep
from gristmill.core.yamlfile import Document, Keys

__all__ = [
    "FILE_NAME",
    "BoundExport",
    "Gate",
    "PipelineConfig",
    "RunSettings",
    "SourceGate",
    "Written",
    "changes",
    "describe",
    "discover",
    "fingerprint",
    "from_parts",
    "in_overlays",
    "load",
    "problems",
    "step_fingerprint",
]

FILE_NAME = "gristmill.yml"
_NO_PARTS = ("alerts", "monitoring", "tests", "airflow")
T = TypeVar("T", bound=msgspec.Struct)


def discover(start: Path) -> Path:
    """Give the `gristmill.yml` of a folder or of the nearest one above it.

    Raises:
        ConfigError: there is none.
    """
    folder = start.absolute()
    for each in (folder, *folder.parents):
        if (each / FILE_NAME).is_file():
            return each / FILE_NAME
    raise ConfigError(
        f"there is no {FILE_NAME} in {str(folder)!r} or above; `gristmill init` writes one, -c FILE names another"
    )


def load(path: Path, overrides: Sequence[str] = (), spare: Collection[str] = ()) -> PipelineConfig:
    """Read a config file.

    Args:
        path: the file.
        overrides: `KEY=VALUE`, applied before anything is checked (`config.overrides`); `overlay=NAME` chooses an overlay.
        spare: keys at the top of which nothing will be asked, as of `sources` by who reads what a run left: what holds a reference there
            that cannot be resolved is left out, a part is `Unresolved`.

    Raises:
        ConfigError: with every problem of the file.
    """
    document, told = written(path, overrides)
    document, unresolved = references.resolve(document, spare)
    document = _without_spared(document)
    for place in references.written_secrets(document.raw):
        if place[0] == "tests":  # texts to try redaction on
            continue
        told.append(f"{document.at(place)}: {place[-1]!r} {IN_PLAIN}")
    return _Reader(document, unresolved + told).config(path.absolute())


def in_overlays(path: Path) -> list[str]:
    """Give the problems a config file has with each of its overlays; nothing is asked of what a reference stands for, which may be elsewhere."""
    told = []
    for name in layers.names(layers.read(path.absolute(), str(path))):
        spared: list[str] = []
        try:
            document, _ = references.resolve(*_spared(written(path, [f"{layers.OVERLAY}={name}"])[0]))
            spared = [f"{document.at(leaf)}: " for leaf in document.spared]
            _Reader(_without_spared(document), []).config(path.absolute())
        except MissingExtra:  # it need not be installed here
            continue
        except ConfigError as error:
            problems = [problem for problem in error.problems if not problem.startswith(tuple(spared))]
            told += [f"{problem} (with the overlay {name!r})" for problem in problems]
    return told


def _spared(document: Document) -> tuple[Document, Collection[str]]:
    """Give a document and all its keys."""
    return document, document.raw if isinstance(document.raw, dict) else ()


def written(path: Path, overrides: Sequence[str] = ()) -> tuple[Document, list[str]]:
    """Give a config as it is written: with what it includes, the chosen overlay and the overrides on it; and secrets in its overlays.

    Raises:
        ConfigError: a file of it cannot be read, or there is no such overlay or item.
    """
    full = path.absolute()
    relative = os.path.relpath(full)
    shown = str(path) if relative.startswith("..") else relative
    root = layers.read(full, shown)
    whole = layers.document(root, shown, full.parent)
    overlays = whole.raw.get("overlays") if isinstance(whole.raw, dict) else None
    told = [
        f"{whole.at(place)}: {place[-1]!r} {IN_PLAIN}" for place in references.written_secrets(overlays, ("overlays",))
    ]
    asked = [setting.partition("=")[2] for setting in overrides if setting.startswith(f"{layers.OVERLAY}=")]
    document = layers.document(layers.overlaid(root, asked), shown, full.parent)
    for setting in overrides:
        key = setting.partition("=")[0]
        if key.partition(".")[0] in {"include", "overlays"}:
            raise ConfigError(
                f"--set {key}: files and overlays are chosen before anything is set; name one by --overlay"
            )
        if key != layers.OVERLAY:
            document = override(document, setting)
    return document, told


def _without_spared(document: Document) -> Document:
    """Take out of the lists and mappings that hold no parts each item with a reference that need not be resolved."""
    value = document.value
    for kind in _NO_PARTS:
        gone = {path[1] for path in document.spared if path[0] == kind and len(path) > 1}
        node = value[kind] if gone else None
        if isinstance(node, dict):
            value = value | {kind: {key: item for key, item in node.items() if key not in gone}}
        elif isinstance(node, list):
            value = value | {kind: [item for at, item in enumerate(node) if at not in gone]}
    return msgspec.structs.replace(document, value=value)


class _Reader:
    """Reads a resolved document, and collects problems on the way."""

    def __init__(self, document: Document, told: list[str]) -> None:
        self.document = document
        self.problems = told
        self.extras: set[str] = set()  # problems that tell of an extra that is not installed here

    def config(self, file: Path) -> PipelineConfig:
        """Give the pipeline, or raise with everything that was found."""
        tree = self.document.value
        if not isinstance(tree, dict):
            keys = ", ".join(field.encode_name for field in msgspec.structs.fields(ConfigFile))
            raise ConfigError(f"{self.document.at(())}: a config is a mapping with the keys {keys}")
        top = self._build(ConfigFile, tree, Where(self.document, (), "the config"))
        sources = self._items("sources", tree.get("sources"), ("sources",))
        own = [step for at, source in enumerate(sources) for step in self._own_steps(at, source)]
        steps = self._items("steps", tree.get("steps"), ("steps",))
        exports = self._items("exports", tree.get("exports"), ("exports",))
        place = Where(self.document, ("require",), "require")
        require = self._make("steps", "require", tree.get("require"), place)
        self.problems += [*name_uniquely("source", sources), *name_uniquely("export", exports)]
        self.problems += name_steps([*steps, *own])
        self._check_gate(tree, sources)
        self._check_examples(top, sources, [*steps, *own])
        if top is not None and "\0" in top.dataset:
            self.problems.append(f"{self.document.at(('dataset',))}: a path holds no NUL character")
        else:
            self._check_export_paths(exports, absolute(top.dataset, file.parent) if top is not None else "")
        if self.problems or top is None:
            told = sorted(dict.fromkeys(self.problems), key=self._place_of)
            raise MissingExtra(*told) if self.extras.issuperset(told) else ConfigError(*told)
        return PipelineConfig(
            dataset=absolute(top.dataset, file.parent),
            description=top.description,
            sources=[bind_source(each, [step for step in own if step.own == at]) for at, each in enumerate(sources)],
            steps=[bind_step(each) for each in steps],
            require=BoundStep(name="require", part="require", step=require),
            gate=top.gate,
            exports=[bind_export(each) for each in exports],
            run=top.run,
            airflow=top.airflow,
            monitoring=top.monitoring,
            alerts=top.alerts,
            cost=top.cost,
            tests=top.tests,
            storage=top.storage,
            work_dir=top.work_dir,
            retention=top.retention,
            folder=file.parent,
            file=file,
            written=self._written(sources, [*steps, *own], exports),
        )

    def _place_of(self, problem: str) -> tuple[str, int, int]:
        """Give the file (of the main one: none), line and column a problem begins with; one without a place comes first."""
        match = re.match(r"(.*?):(\d+):(\d+): ", problem)
        return (
            ("" if match[1] == self.document.file else match[1], int(match[2]), int(match[3])) if match else ("", 0, 0)
        )

    def _tell(self, error: ConfigError, place: str = "") -> None:
        problems = [f"{place}{problem}" for problem in error.problems]
        self.problems += problems
        if isinstance(error, MissingExtra):
            self.extras.update(problems)

    def _build(self, cls: type[T], mapping: Any, where: Where) -> T | None:
        try:
            return params.build(cls, mapping, where)
        except ConfigError as error:
            self._tell(error)
            return None

    def _make(self, kind: Kind, part: str, mapping: Any, where: Where) -> Any:
        try:
            cls: type[msgspec.Struct] = find.find(kind, part, self.document.folder)
        except ConfigError as error:
            self._tell(error, f"{where.at(key=True)}: ")
            return None
        if any(leaf[: len(where.path)] == where.path for leaf in self.document.spared):
            return Unresolved()
        return self._build(cls, mapping, where)

    def _items(self, kind: Kind, items: Any, path: Keys, own: int | None = None) -> list[Named]:
        """Read the parts of a list. What is no list, or no item, `ConfigFile` or the envelope has told already."""
        read = []
        for at, item in enumerate(items if isinstance(items, list) else []):
            named = None
            if isinstance(item, dict):
                named = self._item(kind, item, (*path, at))
            elif isinstance(item, str) and kind == "steps":
                where = Where(self.document, (*path, at), item)
                built = self._make(kind, item, None, where)
                named = Named(item, where.at(), StepEnvelope(), built, where.path)
            if named:
                named.own = own
                read.append(named)
        return read

    def _item(self, kind: Kind, item: dict[str, Any], path: Keys) -> Named | None:
        """Read an envelope and the one part in it."""
        called = params.spelled(path)
        around = envelope_keys(kind)
        envelope = self._build(
            ENVELOPES[kind], {key: item[key] for key in item if key in around}, Where(self.document, path, called)
        )
        rest = [key for key in item if key not in around]
        parts = [key for key in rest if find.exists(kind, key)]
        for key in rest:
            if key not in parts:
                self.problems.append(self._stray_key(kind, key, path, called, parts))
        if len(parts) > 1:
            at = self.document.at((*path, parts[1]), key=True)
            self.problems.append(f"{at}: {called} holds {parts[0]!r} and {parts[1]!r}; one item, one part")
        elif not rest:
            listed = (
                ", ".join(part.name for part in find.parts() if part.kind == kind) or "a module or file of your own"
            )
            self.problems.append(f"{self.document.at(path)}: {called} holds no part; add one of: {listed}")
        if len(parts) != 1:
            return None
        where = Where(self.document, (*path, parts[0]), parts[0])
        built = self._make(kind, parts[0], item[parts[0]], where)
        return Named(parts[0], where.at(key=True), envelope or ENVELOPES[kind](), built, where.path)

    def _stray_key(self, kind: Kind, key: str, path: Keys, called: str, parts: list[str]) -> str:
        around = envelope_keys(kind)
        if len(parts) == 1:
            try:
                fields = [
                    f.encode_name for f in msgspec.structs.fields(find.find(kind, parts[0], self.document.folder))
                ]
            except ConfigError:
                fields = []  # told when the part is made
            if key in fields:
                at = self.document.at((*path, key), key=True)
                return f"{at}: {key!r} is a parameter of {parts[0]}; indent it below `{parts[0]}:`"
        if not parts and not find.near_miss(key, around):
            return f"{self.document.at((*path, key), key=True)}: {find.unknown(kind, key)}"
        return params.unknown_key(key, Where(self.document, path, called), (), around)

    def _own_steps(self, at: int, source: Named) -> list[Named]:
        envelope = source.envelope
        if not isinstance(envelope, SourceEnvelope):
            return []
        path = (*source.path[:-1], "steps")
        steps = self._items("steps", envelope.steps, path, at)
        self.problems += [
            f"{step.place}: {NOT_OWN.format(step.part)}" for step in steps if isinstance(step.built, GlobalStep)
        ]
        return steps

    def _check_gate(self, tree: dict[str, Any], sources: list[Named]) -> None:
        gate = tree.get("gate")
        rules = gate.get("sources") if isinstance(gate, dict) else None
        names = [source.name for source in sources]
        for name in rules if isinstance(rules, dict) else []:
            if name not in names:
                at = self.document.at(("gate", "sources", name), key=True)
                self.problems.append(f"{at}: {no_such_source(name, names)}")

    def _check_examples(self, top: ConfigFile | None, sources: list[Named], steps: list[Named]) -> None:
        names = [source.name for source in sources], [*(step.name for step in steps), "require"]
        for path, what in examples.check(top.tests if top is not None else [], *names):
            self.problems.append(f"{self.document.at(('tests', *path))}: {what}")

    def _check_export_paths(self, exports: list[Named], dataset: str) -> None:
        seen: dict[str, str] = {}
        for each in exports:
            if isinstance(each.built, Load):
                at = self.document.at((*each.path, "table"))
                if each.built.address in seen:
                    other = seen[each.built.address]
                    self.problems.append(f"{at}: two exports load the same table; the other one is at {other}")
                seen.setdefault(each.built.address, at)
            if isinstance(each.built, FileExport):
                path = _real(each.built.path, self.document.folder)
                at = self.document.at((*each.path, "path"))
                if path in seen:
                    self.problems.append(f"{at}: two exports write to the same path; the other one is at {seen[path]}")
                seen.setdefault(path, at)
                inside = _real(dataset, self.document.folder)
                if dataset and (path == inside or path.startswith(f"{inside}/")):
                    self.problems.append(
                        f"{at}: an export may not lie in the dataset's folder; give it a path of its own"
                    )

    def _written(self, sources: list[Named], steps: list[Named], exports: list[Named]) -> Written:
        places = {key: self.document.at((key,), key=True) for key in ("require", "dataset", "monitoring", "retention")}
        held: dict[str, dict[Keys, str]] = {"require": _below(self.document.references, ("require",))}
        for kind, items in (("sources", sources), ("steps", steps), ("exports", exports)):
            for each in items:
                places[f"{kind}.{each.name}"] = each.place
                held[f"{kind}.{each.name}"] = _below(self.document.references, each.path)
        held = {key: found for key, found in held.items() if found}
        return Written(places, held, self.document.secrets, self.document.raw["dataset"])


def _real(path: str, folder: Path) -> str:
    """Give the place a path from `folder` on leads to, by whatever links; of one on a store, the path."""
    return path if "://" in path else os.path.realpath(folder / os.path.expanduser(path))  # noqa: PTH111  which knows no error


def _below(references: dict[Keys, str], path: Keys) -> dict[Keys, str]:
    return {leaf[len(path) :]: text for leaf, text in references.items() if leaf[: len(path)] == path}
