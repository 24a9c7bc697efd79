"""Worlds of the `dlt` source: a table in a JSON file, read by dlt resources that stand in `feed.py`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gristmill.testing.world import Can, Part

FEED = """
import json
from pathlib import Path

import dlt

HERE = Path(__file__).parent


def table(token):
    try:
        rows = json.loads((HERE / "table.json").read_text())
    except OSError:
        raise RuntimeError(f"no table for {token}") from None
    return sorted(rows, key=lambda row: row["at"])


@dlt.resource(primary_key="id")
def entries(token: str, at=dlt.sources.incremental("at", initial_value=0, row_order="asc", lag=LAG)):
    rows = [row for row in table(token) if at.start_value is None or row["at"] >= at.start_value]
    for start in range(0, len(rows), 7):
        yield rows[start : start + 7]


@dlt.resource
def every(token: str):
    yield from table(token)
"""
LAG = 100
TOKEN = "tok-5e1f0c7a"


class _Table:
    """Rows {id, text, at, gone}; `at` grows by ten with every change."""

    secret = TOKEN

    def start(self, folder: Path) -> None:
        self.folder = folder
        self.table: dict[str, dict[str, Any]] = {}
        self.clock = 1000
        os.environ["CONFORMANCE_TOKEN"] = TOKEN
        (folder / "feed.py").write_text(FEED.replace("LAG", str(LAG)))
        self._write()

    def stop(self) -> None:
        (self.folder / "table.json").unlink(missing_ok=True)
        os.environ.pop("CONFORMANCE_TOKEN", None)

    def rows(self) -> dict[str, str]:
        return {key: row["text"] for key, row in self.table.items() if not row["gone"]}

    def insert(self, key: str, text: str) -> None:
        self.clock += 10
        self._put(key, text, self.clock)

    update = insert

    def late(self, key: str, text: str) -> None:
        self._put(key, text, self.clock - LAG // 2)

    def spoil(self, mark: str) -> list[str]:
        self.clock += 10
        self.table["bad"] = {"id": "bad", "text": [mark], "at": self.clock, "gone": True}
        self._write(plain="bad")
        return ["field.type"]

    def wipe(self) -> None:
        self.table.clear()
        self._write()

    def _put(self, key: str, text: str, at: int) -> None:
        self.table[key] = {"id": key, "text": text, "at": at, "gone": False}
        self._write()

    def _write(self, plain: str = "") -> None:
        rows = [row | ({"gone": False} if row["id"] == plain else {}) for row in self.table.values()]
        (self.folder / "table.json").write_text(json.dumps(rows))


class IncrementalDlt(_Table):
    """dlt's incremental with a lag, tombstones."""

    can = Can(delete="tombstone", late=True, resume=True, spoil=True)

    def config(self) -> dict[str, Any]:
        arguments = {"token": "${env:CONFORMANCE_TOKEN}"}
        return {"dlt": {"resource": "./feed.py:entries", "arguments": arguments, "key": "id", "deleted": "gone"}}

    def delete(self, key: str) -> None:
        self.clock += 10
        self.table[key] |= {"at": self.clock, "gone": True}
        self._write()

    def window(self) -> Part:
        raise NotImplementedError


class PointedDlt(IncrementalDlt):
    """The cursor stands in the config."""

    can = Can(delete="tombstone", late=True, resume=False, window=True, spoil=True)

    def config(self) -> dict[str, Any]:
        return {
            "dlt": {
                "resource": "./feed.py:every",
                "arguments": {"token": "${env:CONFORMANCE_TOKEN}"},
                "key": "id",
                "deleted": "gone",
                "incremental": {"cursor_path": "at", "initial_value": 0, "row_order": "asc", "lag": LAG},
            }
        }

    def window(self) -> Part:
        times = sorted(row["at"] for row in self.table.values())
        since, until = times[3], times[20]
        inside = {key: row["text"] for key, row in self.table.items() if since <= row["at"] < until}
        return Part(since=str(since), until=str(until), rows=inside)


class WholeDlt(_Table):
    """A resource without cursor, read whole each run."""

    can = Can(delete="whole", spoil=True, wipe=True)

    def config(self) -> dict[str, Any]:
        arguments = {"token": "${env:CONFORMANCE_TOKEN}"}
        return {"dlt": {"resource": "./feed.py:every", "arguments": arguments, "key": "id", "full": True}}

    def delete(self, key: str) -> None:
        del self.table[key]
        self._write()

    def window(self) -> Part:
        raise NotImplementedError
