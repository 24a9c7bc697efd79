"""Reading a folder through the `files` source as the engine does: bad units are found, then passed over."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.database.tables import Table

from gristmill.core.errors import UnitFailed
from gristmill.core.source import PAGE_SCHEMA, PlanContext, ReadContext, SourcePlan, Split
from gristmill.sources.files import Files


class Everything(NamedTuple):
    """What came out of all splits, in order."""

    rows: list[dict[str, Any]]
    rejects: list[tuple[str, str]]  # (code, origin)
    warnings: Counter[str]
    bytes_in: Counter[str]  # by unit
    failed: dict[str, tuple[str, bool]]  # unit -> (code, advance)
    plan: SourcePlan


def read_split(source: Files, split: Split, folder: Path, batch_bytes: int) -> tuple[list[Any], dict[str, Any]]:
    """Read one split, again without each unit that fails."""
    failed: dict[str, tuple[str, bool]] = {}
    while True:
        try:
            context = ReadContext(folder=folder, batch_bytes=batch_bytes, skip=frozenset(failed))
            return list(source.read(split, context)), failed
        except UnitFailed as error:
            if error.unit not in split.units or error.unit in failed:
                raise AssertionError("a unit that is not there, or was passed over") from error
            failed[error.unit] = (error.code, error.advance)


def read_everything(folder: Path, batch_bytes: int = 8 << 20, **parameters: Any) -> Everything:
    """Plan a first run over `folder` and read all of it."""
    source = Files(**({"path": "**/*"} | parameters))
    plan = source.plan(None, PlanContext(folder))
    out = Everything([], [], Counter(), Counter(), {unit: (code, False) for unit, code, _ in plan.failed}, plan)
    for split in plan.splits:
        pages, failed = read_split(source, split, folder, batch_bytes)
        out.failed.update(failed)
        for page in pages:
            assert page.rows.schema == PAGE_SCHEMA
            page.rows.validate(full=True)
            out.rows.extend(page.rows.to_pylist())
            out.rejects.extend((reject.code, reject.origin) for reject in page.rejects)
            out.warnings.update(page.warnings)
            out.bytes_in[page.unit] += page.bytes_in
    return out


@pytest.fixture(name="read")
def _read(tmp_path):
    """Write the given files into a folder and read all of it; `put` alone writes."""

    def read(files: dict[str, bytes], batch_bytes: int = 8 << 20, **parameters: Any) -> Everything:
        for name, data in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
        return read_everything(tmp_path, batch_bytes, **parameters)

    return read


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    """Give an SQLite file with nothing in it."""
    made = Table(tmp_path)
    yield made
    made.connection.close()
