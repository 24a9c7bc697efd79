"""Whether what a run writes to on this machine may be written: the dataset, exports in files (and are theirs), the textfile of metrics.

And whether a table can lie there: delta-rs takes some characters of a path for something else.

Not here: databases (an export's own `check`), whether an object store will do for a dataset (`store.remote`). Invariants: on this
machine nothing is changed and nothing tried, the system is asked; a store is asked to take an object and to remove it again; what is
not there yet is asked of the nearest folder above. What may be written now may be full, or gone, later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import StoreError
from gristmill.core.export import FileExport
from gristmill.engine import exports
from gristmill.store.layout import Layout

# In the path of a table delta-rs 1.6 takes these for a part of a URL, finds another folder or no history, or ends in a panic (tried).
_NOT_IN_DELTA = re.compile(r"[\x00-\x1f\x7f#?\[\]\\^|]|%[0-9A-Fa-f]{2}")


def unwritable(config: PipelineConfig, layout: Layout, *, every: bool = True) -> list[str]:
    """Say what is in the way of a run: a place of the dataset or of an export that this user may not write to, or that is not the export's.

    every: else only what stops one; an export that cannot be made waits, and the snapshot does not.
    """
    root = layout.root.resolve()
    if layout.remote is None and (odd := _NOT_IN_DELTA.search(str(root))):
        told = f"dataset: no Delta table can be read in {str(root)!r}, as {odd[0]!r} is in its path; name another place"
        return [_place(config, "dataset") + told]
    inner = [Path(entry.path) for entry in _entries(root) if entry.name == layout.lock.name or entry.is_dir()]
    asked = [("dataset", "dataset" if layout.remote is None else "work_dir", root, [root, *sorted(inner)])]
    for bound in config.exports:
        if every and isinstance(bound.export, FileExport) and "://" not in bound.export.path:
            folder = exports.outlet_of(bound, config).folder
            asked.append((f"exports.{bound.name}", f"export {bound.name!r} ({bound.part})", folder, [folder]))
    found = [told for key, called, place, paths in asked for told in _told(config, key, called, place, paths)]
    links = [("dataset", "dataset", layout.root), *((key, called, place) for key, called, place, _ in asked[1:])]
    found += [told for key, called, place in links for told in _nowhere(config, key, called, place)]
    return found or list(_taken(config, layout, every=every))


def _taken(config: PipelineConfig, layout: Layout, *, every: bool) -> Iterator[str]:
    """Say where something else lies than what an export put there; of `every`, also which object store takes nothing (who else is there, the export asks)."""
    for bound in config.exports:
        if isinstance(bound.export, FileExport) and (every or "://" not in bound.export.path):
            outlet = exports.outlet_of(bound, config)
            if outlet.remote is None and not outlet.folder.is_dir():
                continue
            try:
                if outlet.remote is not None:
                    refusal = outlet.remote.refusal()
                    stranger = f"export {bound.name}: {refusal}" if refusal else None
                else:
                    stranger = exports.of_another(bound, outlet, layout)
                    if stranger is None:
                        stranger = exports.unlike(bound, outlet, outlet.manifest())
            except (StoreError, OSError) as error:
                stranger = f"export {bound.name}: {exports.why(error)}" if every else None
            if stranger is not None:
                yield _place(config, f"exports.{bound.name}") + stranger


def textfile_problems(config: PipelineConfig) -> list[str]:
    """Say why the textfile of metrics cannot be written, which stops no run; its folder is not made."""
    if config.monitoring.textfile is None:
        return []
    folder = (config.folder / config.monitoring.textfile).parent.resolve()
    called = "monitoring: textfile"
    if not os.path.lexists(folder) and os.access(folder.parent, os.X_OK):
        return [f"{_place(config, 'monitoring')}{called}: there is no folder {str(folder)!r}; make it, or name another"]
    return list(_told(config, "monitoring", called, folder, [folder]))


def _told(config: PipelineConfig, key: str, called: str, place: Path, paths: list[Path]) -> Iterator[str]:
    for path in paths:
        if path == place and os.path.lexists(path) and not os.path.isdir(path):  # noqa: PTH112
            yield f"{_place(config, key)}{called}: {str(path)!r} is no folder; move it away, or name another place"
            continue
        why = _why_not(path)
        if why is not None:
            needed = f" (for {str(place)!r})" if path == place and not os.path.lexists(path) else ""
            yield (
                f"{_place(config, key)}{called}: {why}{needed}; "
                "give this user the right to write there, or name another place"
            )


def _nowhere(config: PipelineConfig, key: str, called: str, place: Path) -> Iterator[str]:
    """Say which link on the way to a place leads nowhere: no folder can be made there."""
    for path in (place, *place.parents):
        if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 - a Path raises where it may not look
            yield f"{_place(config, key)}{called}: {str(path)!r} is a link to {os.readlink(path)!r}, where nothing is; make a folder there, or name another place"  # noqa: PTH115


def _place(config: PipelineConfig, key: str) -> str:
    place = config.written.places.get(key)
    return f"{place}: " if place else ""


def _why_not(path: Path) -> str | None:
    """Say why a file or folder cannot be written; of one that is not there, why it cannot be made."""
    there = path
    while not os.path.lexists(there) and there != there.parent:  # a Path raises where it may not look
        there = there.parent
    folder = there != path or there.is_dir()
    if folder and not os.path.isdir(there):  # noqa: PTH112
        return f"{str(there)!r} is no folder"
    if os.access(there, os.R_OK | os.W_OK | (os.X_OK if folder else 0)):
        return None
    now = there.stat()
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        return f"{str(there)!r} lies on a file system that is read-only"
    what = "folder" if folder else "file"
    return (
        f"the {what} {str(there)!r} may not be read and written by user {os.geteuid()}: it is user {now.st_uid}'s, with mode "
        f"{now.st_mode & 0o7777:o}"
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # not there, or told of the folder itself
        return []
