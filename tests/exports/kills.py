"""Kill loads around COMMIT, and cut their connection there; what the table holds must be one snapshot whole, the ledger's.

    python -m tests.exports.kills 100 1                 (PostgreSQL; also: sqlite, mariadb)

makes 100 trials with seed 1 and prints the figures. A trial goes from the snapshot the table holds to another one (now and then from an
emptied or a dropped table), deals one blow, looks, and loads in peace.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from tests.database.servers import MariaDB, PostgreSQL
from tests.exports.proxy import Proxy
from tests.exports.tables import InMariaDB, InPostgreSQL, InSQLite, Mill, Place

from gristmill.exports.sql import Sql
from gristmill.testing import crash

ROOT = Path(__file__).resolve().parents[2]
FAILPOINTS = ("load.rows_written", "load.before_commit", "load.committed")
ROWS = 1500


class Result(NamedTuple):
    """What came of it.

    blows: by kind. before, after: trials where the table held the old or the new snapshot after the blow. cut: connections
    that were cut at COMMIT. lost, doubled, wrong: rows that were missing, too many, or had another text, over all looks.
    """

    trials: int
    blows: dict[str, int]
    before: int
    after: int
    cut: int
    looks: int
    rows: int
    lost: int
    doubled: int
    wrong: int
    problems: list[str]


def texts(numbers: range, words: str = "") -> list[dict[str, str]]:
    """Give records with a text each of its own."""
    return [{"id": f"d{at}", "text": f"The text of {at}. {words}"} for at in numbers]


def dataset(folder: Path, rows: int = ROWS) -> Mill:
    """Make four snapshots of so many rows: additions, revisions and withdrawals between them."""
    mill = Mill(folder)
    mill.put(*texts(range(rows), "The first text, as long as it may be. " * 8)).run()
    mill.put(*texts(range(rows, rows + 300)), *texts(range(200), "Revised."))
    mill.take(*(f"d{at}" for at in range(500, 900))).run()
    mill.put(*texts(range(500, 900), "It came back."))
    mill.take(*(f"d{at}" for at in range(0, 500, 7))).run()
    mill.put(*({"id": each, "text": f"All new: {each}."} for each in mill.records)).run()
    return mill


class Trials:
    """The trials on one database."""

    def __init__(self, mill: Mill, place: Place, warm: crash.Warm, proxy: Proxy | None, server: Any) -> None:
        self.mill, self.place, self.warm, self.proxy, self.server = mill, place, warm, proxy, server
        self.export = Sql(dsn=place.dsn, table="docs")
        self.held = 0  # the snapshot in the table, 0 for none
        self.blows: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.looks = self.rows = self.lost = self.doubled = self.wrong = 0
        self.problems: list[str] = []
        self.seconds = 0.5  # of a load in peace

    def peace(self, seq: int) -> None:
        """Load with nobody in the way."""
        began = time.monotonic()
        code = self.warm.run([str(self.mill.folder), self.place.dsn, str(seq)], {})
        self.seconds = 0.7 * self.seconds + 0.3 * (time.monotonic() - began)
        if code:
            self.problems.append(f"a load in peace ended with {code}")
        self.held = seq

    def look(self, seq: int, when: str) -> None:
        """Hold the table against a snapshot."""
        wanted = self.mill.texts[seq] if seq else {}
        found = self.place.rows("docs", "id", "text") if "docs" in self.place.tables() else []
        told = dict(found)
        self.looks += 1
        self.rows += len(found)
        lost, doubled = len(wanted.keys() - told.keys()), len(found) - len(told) + len(told.keys() - wanted.keys())
        wrong = sum(told[each] != text for each, text in wanted.items() if each in told)
        self.lost, self.doubled, self.wrong = self.lost + lost, self.doubled + doubled, self.wrong + wrong
        if lost or doubled or wrong:
            self.problems.append(f"{when}: {lost} lost, {doubled} doubled, {wrong} wrong")

    def ledger(self) -> int:
        """Give the snapshot the ledger names."""
        found = self.place.ledger() if "gristmill_ledger" in self.place.tables() else []
        return int(found[0][1]) if found else 0

    def trial(self, dice: random.Random, kind: str) -> None:
        """Deal one blow."""
        if dice.random() < 0.15:
            self.place.run(dice.choice(["DELETE FROM docs", "DROP TABLE docs"]))
        was = self.held if "docs" in self.place.tables() and self.place.rows("docs", "id") else 0
        seq = dice.choice([each for each in (1, 2, 3, 4) if each != self.held])
        self.blows[kind] += 1
        code = self.blow(dice, kind, seq)
        if kind == "server":
            self.server.start()
        says = self.ledger()
        after = says == seq
        self.ends["after" if after else "before"] += 1
        if kind in FAILPOINTS and code != crash.KILLED:
            self.problems.append(f"{kind}: the load ended with {code}")
        if kind in FAILPOINTS and after is not (kind == "load.committed"):
            self.problems.append(f"{kind}: the ledger says {says}, from {self.held} to {seq}")
        if kind.startswith("cut") and (code or not after):
            self.problems.append(f"{kind}: the load ended with {code}, the ledger says {says}")
        self.look(seq if after else was, f"{kind} from {self.held} to {seq}")
        self.peace(seq)
        self.look(seq, f"{kind} in the end")
        self.problems += self.export.verify(self.mill.head(seq), self.mill.folder)

    def blow(self, dice: random.Random, kind: str, seq: int) -> int:
        """Load with a blow dealt; give how it ended."""
        args = [str(self.mill.folder), self.place.dsn, str(seq)]
        if kind in FAILPOINTS:
            return self.warm.run(args, {"GRISTMILL_FAILPOINT": f"{kind}=kill"})
        if kind.startswith("cut"):
            assert self.proxy is not None
            self.proxy.cut = "before" if kind == "cut before" else "after"
            return self.warm.run([args[0], self.proxy.dsn, args[2]], {})
        pid = self.warm.start(args, {})
        time.sleep(dice.uniform(0.2, 1.1) * self.seconds)
        if kind == "server":
            self.server.kill()
            self.server.start()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.warm.wait(pid)


def warm(folder: Path) -> crash.Warm:
    """Give the process whose children load."""
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return crash.Warm([sys.executable, "-m", "tests.exports.loader"], folder, env)


class Scene(NamedTuple):
    """What trials are made with. folder: for the proxy's socket."""

    mill: Mill
    warm: crash.Warm
    folder: Path


def kills(place: Place, server: Any, scene: Scene, trials: int, seed: int, kinds: list[str] | None = None) -> Result:
    """Make the trials; give what came of them."""
    dice = random.Random(seed)
    proxy = Proxy(scene.folder / "p", server.folder) if place.name == "postgresql" else None
    chosen = kinds or [*FAILPOINTS, *FAILPOINTS, "moment", "moment", "moment"]
    if kinds is None and proxy is not None:
        chosen += ["cut before", "cut after", "cut after", "server"]
    work = Trials(scene.mill, place, scene.warm, proxy, server)
    work.peace(1)
    for at in range(trials):
        work.trial(dice, chosen[at % len(chosen)])
    cut = 0
    if proxy is not None:
        cut = proxy.cuts
        proxy.close()
    return Result(
        trials, dict(work.blows), work.ends["before"], work.ends["after"], cut,
        work.looks, work.rows, work.lost, work.doubled, work.wrong, work.problems,
    )  # fmt: skip


def main() -> int:
    """Run it with the number of trials, the seed and perhaps the database that are given."""
    name = sys.argv[3] if len(sys.argv) > 3 else "postgresql"
    server = PostgreSQL() if name == "postgresql" else MariaDB() if name == "mariadb" else None
    try:
        with tempfile.TemporaryDirectory(prefix="gm-kills-") as folder:
            if isinstance(server, PostgreSQL):
                place: Place = InPostgreSQL(server.dsn, server.run)
            else:
                place = InMariaDB(server.dsn, server.run) if server else InSQLite(Path(folder) / "rows.db")
            began = time.monotonic()
            with warm(Path(folder) / "warm") as loader:
                scene = Scene(dataset(Path(folder) / "mill"), loader, Path(folder))
                result = kills(place, server, scene, int(sys.argv[1]), int(sys.argv[2]))
            sys.stdout.write(f"{result} in {time.monotonic() - began:.0f} s\n")
            return 1 if result.problems else 0
    finally:
        if server is not None:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
