"""Rooms of databases that are killed: loads at and around COMMIT, a server that is restarted while it is read.

Not here: the trials (`tests/exports/kills`, `tests/database/restarts`). Invariant: a database that is not installed is named in the
room's note, never passed over in silence.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tests.database.restarts import restarts
from tests.database.servers import MariaDB, PostgreSQL
from tests.exports import kills
from tests.exports.tables import InMariaDB, InPostgreSQL, InSQLite, Place
from tests.soak.results import Room

LOADS = 100  # of each database
RESTARTS = 200
MISSING = (ImportError, OSError, pytest.skip.Exception)  # what tells that a database is not installed here


class Databases:
    """The rooms."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder

    def loads(self, room: Room) -> None:
        """Kill loads into SQLite, PostgreSQL and MariaDB."""
        for name, make in (("sqlite", None), ("postgresql", PostgreSQL), ("mariadb", MariaDB)):
            try:
                server: Any = make() if make is not None else None
            except MISSING as error:
                room.note += f" {name} was left out: {error}."
                continue
            try:
                self._loads(room, name, server)
            finally:
                if server is not None:
                    server.stop()

    def _loads(self, room: Room, name: str, server: Any) -> None:
        folder = self.folder / f"loads-{name}"
        folder.mkdir()
        place: Place
        if isinstance(server, PostgreSQL):
            place = InPostgreSQL(server.dsn, server.run)
        else:
            place = InMariaDB(server.dsn, server.run) if server is not None else InSQLite(folder / "rows.db")
        began = time.monotonic()
        with kills.warm(folder / "warm") as loader:
            scene = kills.Scene(kills.dataset(folder / "mill"), loader, folder)
            made = kills.kills(place, server, scene, LOADS, self.seed)
        room.trials += made.trials
        room.runs += 2 * made.trials
        room.looks += made.looks
        room.seconds += time.monotonic() - began
        room.by_place[name] += made.trials
        room.deaths += sum(n for kind, n in made.blows.items() if not kind.startswith(("cut", "server")))
        room.violations += [f"{name}: {problem}" for problem in made.problems]
        room.note += f" {name}: {made.lost} rows lost, {made.doubled} doubled, {made.wrong} wrong of {made.rows:,} looked at; {made.cut} connections cut at COMMIT."

    def restarts(self, room: Room) -> None:
        """Kill and restart PostgreSQL while it is read and written."""
        try:
            server = PostgreSQL()
        except MISSING as error:
            room.note = f"PostgreSQL was left out: {error}."
            return
        began = time.monotonic()
        try:
            made = restarts(server, self.folder, RESTARTS, self.seed)
        finally:
            server.stop()
        room.trials, room.runs, room.seconds = made.kills, made.runs, time.monotonic() - began
        told = {"lost": made.lost, "wrong": made.wrong, "surplus": made.surplus, "doubled": made.doubled}
        room.violations += [f"{n} rows {what}" for what, n in told.items() if n]
        room.note = f"{made.kills} kills of the server cut {made.cut} reads, of {made.rows:,} rows {told}; {made.writes:,} writes beside."
