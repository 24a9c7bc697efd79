"""Kill and restart PostgreSQL while it is read and written; what was read must equal the table in the end.

    python -m tests.database.restarts 200 1

runs 200 kills with seed 1 and prints the figures.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import adbc_driver_manager
from tests.database.copy_of import Copy
from tests.database.servers import PostgreSQL

from gristmill.sources.sql import Sql

ROWS = 4000
PAUSE_S = 0.01
WORD = "lorem ipsum dolor sit amet "


class Watched(Sql, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The source, its sessions counted while it reads."""

    opened: ClassVar[list[int]] = []

    def _connect(self, dsn: Any) -> Any:
        self.opened.append(1)
        return super()._connect(dsn)

    def read(self, split: Any, context: Any) -> Any:
        before = len(self.opened)
        yield from super().read(split, context)
        reconnected.append(max(len(self.opened) - before - 1, 0))


reconnected: list[int] = []


class Result(NamedTuple):
    """kills: done. runs: of all sources. cut: reads that a kill cut and that went on. sessions: that were opened anew for it.

    taken_up: how often the engine had to go on, or plan again, after a source gave up. writes: of the other client.

    lost, wrong: keys that are missing or stand with another text; surplus: that should not be there; doubled: that came twice.
    """

    kills: int
    runs: int
    cut: int
    sessions: int
    taken_up: int
    writes: int
    rows: int
    lost: int
    wrong: int
    surplus: int
    doubled: int


def restarts(server: PostgreSQL, folder: Path, kills: int, seed: int) -> Result:
    """Kill the server `kills` times; give what came of it."""
    reconnected.clear()
    server.run(
        "DROP TABLE IF EXISTS busy",
        "CREATE TABLE busy (id bigint PRIMARY KEY, body text NOT NULL, updated_at timestamptz NOT NULL)",
        f"INSERT INTO busy SELECT n, n || ' ' || repeat('{WORD}', 40), clock_timestamp() FROM generate_series(1, {ROWS}) n",
        "CREATE INDEX ON busy (updated_at, id)",
    )
    common: dict[str, Any] = {
        "dsn": server.dsn,
        "table": "busy",
        "text": "body",
        "batch_rows": 500,
        "max_gone_ratio": 1,
    }
    copies = [
        Copy(Watched(**common, cursor="updated_at", scan_keys=1), folder, PAUSE_S),
        Copy(Watched(**common), folder, PAUSE_S),
        Copy(Watched(**common, cursor="updated_at", horizon="xmin", scan_keys=1), folder, PAUSE_S),
    ]
    done, stop = threading.Event(), threading.Event()
    writes = [0]
    failed: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
            done.set()

    def kill() -> None:
        dice = random.Random(seed)
        for _ in range(kills):
            time.sleep(dice.uniform(0.05, 0.6))
            server.kill()
            time.sleep(dice.uniform(0.0, 0.1))
            server.start()
        done.set()

    def write() -> None:
        dice = random.Random(seed + 1)
        new = ROWS
        while not stop.is_set():
            try:
                connection = server.connect()
                try:
                    with connection.cursor() as cursor:
                        while not stop.is_set():
                            new += 1
                            at, text = dice.randrange(1, new), f"{dice.random()} {WORD * dice.randrange(60)}"
                            cursor.execute(
                                dice.choice(
                                    [
                                        f"INSERT INTO busy VALUES ({new}, '{text}', clock_timestamp())",
                                        f"UPDATE busy SET body = '{text}', updated_at = clock_timestamp() WHERE id = {at}",
                                        f"DELETE FROM busy WHERE id = {at}",
                                    ]
                                )
                            )
                            writes[0] += 1
                            time.sleep(0.001)
                finally:
                    connection.close()
            except (adbc_driver_manager.Error, OSError):
                time.sleep(0.01)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (kill, write)]
    for thread in threads:
        thread.start()
    runs = 0
    try:
        while not done.is_set():
            copies[runs % 3].run(batch_bytes=64 << 10)
            runs += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]
    table = {str(key): text for key, text in server.run("SELECT id, body FROM busy")}
    lost = wrong = surplus = doubled = 0
    for copy in copies:
        if copy.state is not None and copy.source.cursor:
            copy.scan_now()
        found = copy.run().texts()
        runs += 1
        lost += len(table.keys() - found.keys())
        surplus += len(found.keys() - table.keys())
        wrong += sum(found[key] != text for key, text in table.items() if key in found)
        doubled += copy.doubled
    cut, sessions = sum(n > 0 for n in reconnected), sum(reconnected)
    tries = sum(copy.tries for copy in copies)
    return Result(kills, runs, cut, sessions, tries, writes[0], len(table), lost, wrong, surplus, doubled)


def main() -> None:
    """Run it with the number of kills and the seed that are given."""
    server = PostgreSQL()
    try:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            result = restarts(server, Path(folder), int(sys.argv[1]), int(sys.argv[2]))
            sys.stdout.write(f"{result} in {time.monotonic() - began:.0f} s\n")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
