"""Adoption: Parquet or JSON lines that are clean already become records of the dataset, without its steps.

It is a run like any other, of one `files` source that stands in no config: read, named, kept in the id index, observed by every
GlobalStep, held against `require`, judged and committed; the steps in between are left out for this source (`Work.segment`).
Not here: doing it (`engine.run`). Invariants: what is adopted is plain data in the frozen plan, so that a run that died is gone on
with whoever runs next; the config's own fingerprint and description stay those of the config.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from gristmill.config.bind import absolute, bad_name
from gristmill.config.settings import PipelineConfig
from gristmill.core import find
from gristmill.core.errors import ConfigError, UnitFailed
from gristmill.core.places import list_local
from gristmill.core.source import UNMAPPED, BoundSource, ReadContext, SourcePlan
from gristmill.store.snapshot import Manifest

SOURCE = "adopted"
FIELDS = ("text", "id", "url", "time", "lang", "license")
# What is taken of a folder, by the names of its files, in capitals or not.
_ENDING = re.compile(r"\.(?:parquet|pq|(?:jsonl|ndjson)(?:\.(?:gz|gzip|zst|zstd|bz2|xz))?)$", re.IGNORECASE)
ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson")  # asked for in any case: some may come later
_PROBED = 8  # splits of which the first records are looked at before a number is taken
_PROBED_BYTES = 64 << 10


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
    # As the config would write it: a dataset and its data may move together.
    written = here if "://" in here else os.path.relpath(here, config.folder)
    globs = [written]
    if Path(here).is_dir():
        endings, others = _of_folder(here)
        inside = os.path.normpath(f"{glob.escape(written)}/**/*")
        globs = [f"{inside}{ending}" for ending in (*ENDINGS, *sorted(endings - {*ENDINGS}))]
        if not endings:
            held = f"it holds {_shown(others)}" if others else "it holds no file"
            raise ConfigError(f"there is nothing in {path!r} to adopt: no Parquet and no JSON lines by name; {held}")
    elif "://" not in here and not any(mark in here for mark in "*?[") and not Path(here).is_file():
        raise ConfigError(f"there is nothing at {path!r} to adopt; name a file, a folder, a glob or a URL")
    return Adoption(source, globs, fields)


def _of_folder(here: str) -> tuple[set[str], list[str]]:
    """Give the endings of the files that are taken of a folder, as they are written there, and the files that are not."""
    listed = list_local(Path(here), ["**/*"])
    units = [found.unit for found in listed.found]
    endings = {match[0] for unit in units if (match := _ENDING.search(unit))}
    return endings, [unit for unit in units if not _ENDING.search(unit)]


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more


def left_out(path: str) -> str | None:
    """Say what of a folder is not taken."""
    others = _of_folder(absolute(path, Path.cwd()))[1] if "://" not in path and Path(path).is_dir() else []
    if not others:
        return None
    return f"left out, as no Parquet and no JSON lines by name: {_shown(others)}; name one by its path to adopt it"


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
    source = files(path=wanted.path, allow_empty=True, **wanted.fields)
    bound = BoundSource(name=wanted.source, part="files", source=source, description="adopted as it was")
    return msgspec.structs.replace(config, sources=[*config.sources, bound])


def check_data(config: PipelineConfig, wanted: Adoption, found: SourcePlan) -> None:
    """Refuse what holds no record, or of which the first have not the fields they are mapped by: the name would be taken for nothing.

    Where the first pages of the first splits hold a record, no more is read than those.

    Raises:
        ConfigError: it is so.
    """
    if not found.listing.num_rows and not found.failed:
        raise ConfigError(
            f"there is nothing at {', '.join(map(repr, wanted.path))} to adopt; name a file, a folder, a glob or a URL"
        )
    source = next(bound.source for bound in into(config, wanted).sources if bound.name == wanted.source)
    context = ReadContext(folder=config.folder, batch_bytes=_PROBED_BYTES)
    codes: Counter[str] = Counter()
    detail = ""
    for split in found.splits[:_PROBED]:
        try:
            page = next(iter(source.read(split, context)), None)
        except UnitFailed as error:
            codes[error.code] += 1
            detail = detail or error.detail
            continue
        if page is not None and page.rows.num_rows:
            return
        codes.update(reject.code for reject in (page.rejects if page is not None else []))
    if codes and all(code in UNMAPPED for code in codes):
        raise ConfigError(
            f"no record that was looked at has the fields that it is mapped by: {_told(codes)}{f', {detail}' if detail else ''}; "
            "nothing is adopted. Name the fields that are there: --map COLUMN=FIELD, such as text=body"
        )
    codes = Counter(code for _, code, _ in found.failed)
    everything = msgspec.structs.replace(context, go_on=True)
    for page in (page for split in found.splits for page in source.read(split, everything)):
        if page.rows.num_rows:
            return
        codes.update(reject.code for reject in page.rejects)
        codes.update([page.failed.code] if page.failed is not None else [])
    raise ConfigError(
        f"there is no record in {', '.join(map(repr, wanted.path))}: {_told(codes) if codes else 'it is empty'}; nothing is adopted. "
        "Name Parquet or JSON lines that can be read"
    )


def _told(codes: Counter[str]) -> str:
    return ", ".join(f"{code} ({n:,} times)" for code, n in sorted(codes.items()))
