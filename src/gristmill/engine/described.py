"""How sources were described when their units were last read: what is to be read again because the config has changed.

Not here: comparing two descriptions for people (`config.changes`), the full refresh that reads all again (`engine.refresh`). Invariant: without being asked
for only files are read again that were quarantined whole, so that nothing published is decided anew.
"""

from __future__ import annotations

from typing import Any

from gristmill.config import changes
from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import StoreError
from gristmill.core.source import BoundSource, State
from gristmill.store.layout import Layout
from gristmill.store.snapshot import read_manifest

# Codes of whole files that a config can mend: the name of the text field, the delimiter, the encoding, the caps.
_OF_CONFIG = {"csv.header", "field.missing", "size.cap", "text.encoding"}


class Told(dict[int, dict[str, Any]]):
    """How the sources were described in the runs of a dataset, by number and name; nothing where a manifest is gone."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout
        self._adopted: set[tuple[int, str]] = set()

    def __missing__(self, seq: int) -> dict[str, Any]:
        try:
            manifest = read_manifest(self._layout.manifest(seq))
        except StoreError:
            self[seq] = {}
            return self[seq]
        self._adopted |= {(seq, entry["adopted"]) for entry in manifest.lineage if "adopted" in entry}
        self[seq] = {source["name"]: source for source in manifest.pipeline["sources"]}
        return self[seq]

    def adopted(self, name: str, state: State | None) -> set[str]:
        """Give the units of a source of this name that were adopted, and have not changed since."""
        if state is None or state.units is None:
            return set()
        rows = state.units.select(["unit", "seq"]).to_pylist()
        return {row["unit"] for row in rows if self[row["seq"]] is not None and (row["seq"], name) in self._adopted}

    def otherwise(self, name: str, described: dict[str, Any], state: State | None) -> set[str]:
        """Give the units that were last read by a source of this name that was described otherwise."""
        if state is None or state.units is None:
            return set()
        rows = state.units.select(["unit", "seq"]).to_pylist()
        return {row["unit"] for row in rows if _reading(self[row["seq"]].get(name)) != _reading(described)}


def _reading(described: dict[str, Any] | None) -> dict[str, Any] | None:
    """Give what of a source's description decides the content of what it reads."""
    return None if described is None else {key: described[key] for key in ("part", "version", "params", "code")}


def mended(config: PipelineConfig, layout: Layout, bound: BoundSource, state: State | None) -> set[str]:
    """Give the files that were quarantined whole, for what a config decides, by a config that said otherwise of their source."""
    if bound.source.LANDED or state is None or state.units is None or "code" not in state.units.column_names:
        return set()
    rows = state.units.select(["unit", "status", "code"]).to_pylist()
    bad = {row["unit"] for row in rows if row["status"] == "bad" and row["code"] in _OF_CONFIG}
    if not bad:
        return bad
    described = next(each for each in changes.describe(config)["sources"] if each["name"] == bound.name)
    return bad & Told(layout).otherwise(bound.name, described, state)
