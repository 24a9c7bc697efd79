"""Whether a source would read what this pipeline itself writes: each run would feed the next.

Not here: what a source lists (`core.places`), whether a place may be written to (`engine.rights`). Invariant: told by the globs, so that the first
run is refused as the second would be, when the files are there; what they list is looked at too, for names that nobody thought of.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import ConfigError
from gristmill.core.export import FileExport
from gristmill.core.places import names, on_this_machine
from gristmill.core.source import BoundSource
from gristmill.engine import exports
from gristmill.store.layout import Layout
from gristmill.store.outlet import MANIFEST

# Files of a dataset, one of each kind of name; beside its folders a user's own may lie (`dataset: .`).
_FOLDERS = ("index", "landing", "monitoring", "runs", "staging", "state", "table")
_FILES = (
    "table/a.parquet",
    "estimate.json",
    "index/a/0000/1.parquet",
    "landing/a/1/a.arrow",
    "last-failure.log",
    "lock",
    "monitoring/state.json",
    "pins.json",
    "runs/1/listing/a.parquet",
    "runs/1/log.jsonl",
    "runs/1/manifest.json",
    "runs/1/report.html",
    "state/a/1.parquet",
    "table/_delta_log/00000000000000000000.json",
)
_REMEDY = "which this pipeline writes itself; move the dataset or the export out of the source's glob"


def problem(bound: BoundSource, config: PipelineConfig, layout: Layout) -> str | None:
    """Say which file of the pipeline's own, there or not, the globs of a source match."""
    globs = [glob for glob in bound.source.globs if on_this_machine(glob)]
    for folder, files in _written(config, layout) if globs else ():
        for glob in globs:
            for file in files:
                if names(glob, config.folder, str(folder / file)):
                    shown = os.path.relpath(folder / file, config.folder.resolve())
                    return f"source {bound.name}: its path {glob!r} matches {shown} and the like, {_REMEDY}"
    return None


def check_listed(source: str, listing: pa.Table, config: PipelineConfig, layout: Layout) -> None:
    """Refuse what a source has listed where it lies in a folder of the pipeline's own.

    Raises:
        ConfigError: some of it does.
    """
    if "path" not in listing.column_names:
        return
    here = config.folder.resolve()
    local = [folder for folder, _ in _written(config, layout)]
    if layout.remote is None:
        local = [*(layout.root.resolve() / name for name in _FOLDERS), *local[1:]]
    begins = [begin for own in local for begin in (f"{own}/", f"{os.path.relpath(own, here)}/")]
    begins += [f"{layout.name}/"] if layout.remote is not None else []
    begins += [
        f"{bound.export.path}/"
        for bound in config.exports
        if isinstance(bound.export, FileExport) and "://" in bound.export.path
    ]
    for begin in begins:
        if pc.any(pc.starts_with(listing["path"], begin)).as_py():
            raise ConfigError(f"source {source}: its path matches files below {begin}, {_REMEDY}")


def _written(config: PipelineConfig, layout: Layout) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Give the folders of this machine that are written to, first the dataset's, and names of files in them."""
    if layout.remote is None:
        yield layout.root.resolve(), _FILES
    for bound in config.exports:
        if isinstance(bound.export, FileExport) and "://" not in bound.export.path:
            yield exports.outlet_of(bound, config).folder, (bound.export.name(0), MANIFEST)
