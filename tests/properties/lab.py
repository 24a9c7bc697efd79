"""A folder with a pipeline in it: files are put and taken away, runs are made, and what came out is told plainly."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from tests.oracle import Row

from gristmill.dataset import Dataset
from gristmill.engine.begin import Options
from gristmill.engine.report import Report
from gristmill.engine.run import run
from gristmill.engine.work import Mode
from gristmill.observe.events import Silent
from gristmill.pipeline import Pipeline, make_executor
from gristmill.testing import laws


class Lab:
    """One dataset and what feeds it. `folder/<source>/` holds the files of a source."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.dataset = folder / "set"
        self.clock = 1_700_000_000_000_000_000
        self.configure(config)

    def configure(self, config: dict[str, Any]) -> None:
        """Write the config (JSON is YAML too)."""
        gate = {"min_quality_score": 0}
        self.config = {"version": 1, "dataset": "./set", "gate": gate} | config
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "gristmill.yml").write_text(json.dumps(self.config))

    def put(self, name: str, content: bytes) -> None:
        """Write a file; the time it carries differs from that of any other write, whatever the file system's clock."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.clock += 1_000_000_000
        os.utime(path, ns=(self.clock, self.clock))

    def take(self, name: str) -> None:
        """Remove a file."""
        (self.folder / name).unlink()

    def pipeline(self, *overrides: str) -> Pipeline:
        """Read the config."""
        return Pipeline.from_file(self.folder / "gristmill.yml", overrides=overrides)

    def run(self, **how: Any) -> Report:
        """Run in this process."""
        return self.pipeline().run(**({"workers": 1} | how))

    def run_in_processes(self, workers: int, mode: Mode = "forward") -> Report:
        """Run in worker processes, however small the work is."""
        config = self.pipeline().config
        return run(
            config,
            Options(mode=mode),
            Silent(),
            lambda work, _workers, _small: make_executor(work, workers, small=False),
        )

    def open(self) -> Dataset:
        """Open the dataset for reading."""
        return Dataset(self.dataset)

    def rows(self) -> list[Row]:
        """Give the published records in their order."""
        table = self.open().read(columns=["id", "text", "origin"])
        return [Row(**row) for row in table.to_pylist()]

    def records(self) -> list[dict[str, Any]]:
        """Give the published records in their order with all that does not tell which run they came in."""
        return [
            {name: value for name, value in row.items() if name not in {"ord", "seq"}}
            for row in self.open().read().to_pylist()
        ]

    def exports(self) -> list[Path]:
        """Give the folders of the exports."""
        return [
            self.folder / next(part["path"] for name, part in each.items() if name != "name")
            for each in self.config.get("exports", [])
        ]

    def broken(self) -> list[str]:
        """Give the broken promises of dataset and exports, by the independent checker and by `verify`."""
        found = laws.check(self.dataset, self.exports())
        return found + self.open().verify(config=self.pipeline().config)

    def verdicts(self, seq: int, kind: str = "verdicts") -> list[dict[str, Any]]:
        """Give the rows of a run's side files."""
        import pyarrow.parquet as pq

        paths = sorted((self.dataset / "runs" / str(seq) / kind).glob("*.parquet"))
        return [row for path in paths for row in pq.read_table(path).to_pylist()]

    def bytes(self) -> dict[str, str]:
        """Give name and digest of everything that must not depend on how a run was done."""
        kept = [p for p in self.folder.rglob("*") if p.is_file() and _lasting(p.relative_to(self.folder).as_posix())]
        return {p.relative_to(self.folder).as_posix(): hashlib.sha256(_fixed(p)).hexdigest() for p in kept}


def _fixed(path: Path) -> bytes:
    """Give a file's bytes; without the digest of gristmill's own source, which may be edited while tests run."""
    content = path.read_bytes()
    if path.name in {"manifest.json", "plan.json"} and b'"code"' in content:
        content = orjson.dumps(orjson.loads(content) | {"code": ""})
    return content


LASTING = {"verdicts", "signals", "quarantine", "manifest.json", "plan.json", "distributions.json"}


def _lasting(name: str) -> bool:
    """DESIGN promise 2: shards, index, state, verdicts, manifest and chunks; not claims, reports, logs, the Delta log, the dataset's id."""
    parts = name.split("/")
    if parts[0] == "set":
        if parts[1] in {"index", "state"}:
            return True
        if parts[1] == "table":
            return "_delta_log" not in parts
        return parts[1] == "runs" and (parts[3] in LASTING)
    return parts[0].startswith("out") and not parts[-1].startswith(".")


def flat(counts: Any) -> Counter[str]:
    """Give counts of a report as `read`, `dropped/<step>:<reason>`, ..."""
    told: Counter[str] = Counter()
    for name, value in orjson.loads(orjson.dumps({n: getattr(counts, n) for n in counts.__struct_fields__})).items():
        if isinstance(value, dict):
            told.update({f"{name}/{key}": n for key, n in value.items()})
        else:
            told[name] = value
    return +told


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder for one example of a property test (pytest's `tmp_path` is one for all of them)."""
    memory = "/dev/shm"  # runs sync every file they write: on a disk that is most of the time of a tiny run
    path = Path(tempfile.mkdtemp(prefix="gristmill-lab-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def jsonl(records: Sequence[dict[str, Any]]) -> bytes:
    """Give JSON lines."""
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)
