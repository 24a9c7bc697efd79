"""Adoption: Parquet or JSON lines that are clean already become records of the dataset, without its steps.

It is a run like any other, of one `files` source that stands in no config: read, named, kept in the id index, observed by every
GlobalStep, held against `require`, judged and committed; the steps in between are left out for this source (`Work.segment`).
Not here: doing it (`engine.run`). Invariants: what is adopted is plain data in the frozen plan, so that a run that died is gone on
with whoever runs next; the config's own fingerprint and description stay those of the config.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from gristmill.config.bind import absolute, bad_name
from gristmill.config.settings import PipelineConfig
from gristmill.core import find
from gristmill.core.errors import ConfigError
from gristmill.core.source import BoundSource
from gristmill.store.snapshot import Manifest

SOURCE = "adopted"
FIELDS = ("text", "id", "url", "time", "lang", "license")
ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson")


class Adoption(msgspec.Struct, frozen=True):
    """What is adopted. source: the name its records get. path: as a `files` source names it. fields: column -> field of the data."""

    source: str
    path: list[str]
    fields: dict[str, str] = {}


def adoption(config: PipelineConfig, path: str, source: str, fields: dict[str, str]) -> Adoption:
    """Give what `path` (a file, folder or glob, from the current folder on, or a URL) stands for.

    Raises:
        ConfigError: there is nothing there, no such column, or the config has another source of this name.
    """
    for name in fields:
        if name not in FIELDS:
            raise ConfigError(
                f"there is no column {name!r} to map{find.suggestion(name, list(FIELDS)) or ';'} columns: {', '.join(FIELDS)}"
            )
    if told := bad_name(source):
        raise ConfigError(told)
    here = path if "://" in path else absolute(path, Path.cwd())
    globs = [here]
    if Path(here).is_dir():
        globs = [f"{here}/**/*{ending}" for ending in ENDINGS]
    elif "://" not in here and not any(mark in here for mark in "*?[") and not Path(here).is_file():
        raise ConfigError(f"there is nothing at {path!r} to adopt; name a file, a folder, a glob or a URL")
    # As the config would write it: a dataset and its data may move together.
    written = [glob if "://" in glob else os.path.relpath(glob, config.folder) for glob in globs]
    return Adoption(source, written, fields)


def entry(wanted: Adoption) -> dict[str, Any]:
    """Give what the lineage says of it."""
    return {"adopted": wanted.source, "path": wanted.path, "fields": wanted.fields}


def check(config: PipelineConfig, head: Manifest, wanted: Adoption) -> None:
    """Refuse a name that is taken: a source of the config reads its own data, and would withdraw what is not in it.

    The head may be this very adoption: whoever has not heard that it ended asks for it again.

    Raises:
        ConfigError: it is.
    """
    known = next((bound for bound in config.sources if bound.name == wanted.source), None)
    if known is not None and not _reads(config, known, wanted):
        raise ConfigError(
            f"the config has a source {wanted.source!r} that reads something else, so it would take what is adopted for gone; "
            "give another --source, or let it name the same path and fields"
        )
    if wanted.source in head.states and entry(wanted) not in head.lineage:
        raise ConfigError(f"the dataset has records of a source {wanted.source!r} already; give another --source")


def _reads(config: PipelineConfig, bound: BoundSource, wanted: Adoption) -> bool:
    given: Any = msgspec.to_builtins(bound.source)
    if bound.part != "files":
        return False
    paths = [given["path"]] if isinstance(given["path"], str) else given["path"]
    fields = {name: given[name] for name in FIELDS if given[name] is not None}
    same = {absolute(path, config.folder) for path in paths} == {absolute(path, config.folder) for path in wanted.path}
    return same and fields == {"text": "text"} | wanted.fields


def into(config: PipelineConfig, wanted: Adoption | None) -> PipelineConfig:
    """Give the config with the source of what is adopted, unless it stands there itself."""
    if wanted is None or any(bound.name == wanted.source for bound in config.sources):
        return config
    files: Any = find.find("sources", "files", config.folder)
    source = files(path=wanted.path, **wanted.fields)
    bound = BoundSource(name=wanted.source, part="files", source=source, description="adopted as it was")
    return msgspec.structs.replace(config, sources=[*config.sources, bound])
