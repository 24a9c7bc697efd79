"""Asking an API only for what is new: the parameter it takes, and how far the records that came reach.

Not here: when the reach is kept (`sources/rest.py`, `fold`). Invariants: the reach comes from the records, never from our
clock; it is compared as a moment or number, never as text; what cannot be understood does not move it, nor does a
record that is later than the server's own clock: one wrong year would hide all that comes after.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from gristmill.core.mapping import microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_IN_FLIGHT_US = (
    300_000_000  # so much after the first answer's Date a record may well have changed while others were read
)
_LAG_S = 600  # longer than the longest transaction of most services


class Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter that makes an API tell only what is new.

    param: its name. cursor: the record's field that it is about, such as updated_at. format: how times are written in the
    parameter: iso, date, seconds or milliseconds since 1970; or number, for a counter. lag: so far before the newest
    record seen is asked for again, for records that come late, in seconds (600) or, for number, in counts (0). initial:
    where the first run begins; without it everything is asked for. until_param: the parameter of the other end, needed
    for backfills.
    """

    param: str
    cursor: str
    format: Literal["iso", "date", "seconds", "milliseconds", "number"] = "iso"
    lag: int | float | None = None
    initial: str | int | None = None
    until_param: str = ""

    def __post_init__(self) -> None:
        """Refuse a beginning that cannot be understood, and a lag that leads forward."""
        if self.initial is not None and self.parse(self.initial) is None:
            raise ValueError(f'since: initial "{self.initial}" is no {self.kind()}')
        if self.lag is not None and self.lag < 0:
            raise ValueError("since: lag is not negative")

    def kind(self) -> str:
        """Say what a cursor must be."""
        return "number" if self.format == "number" else "time; write it as 2026-01-31T00:00:00Z"

    def parse(self, value: Any) -> int | None:
        """Give a cursor, as a record or a person writes it, as microseconds since 1970 or as the number; None: it is neither."""
        if isinstance(value, bool):
            return None
        if self.format != "number":
            return microseconds(float(value) if isinstance(value, str) and value.strip().isdecimal() else value)
        try:
            return int(value) if isinstance(value, int | str) else None
        except ValueError:
            return None

    def text(self, reach: int) -> str:
        """Give a reach as the state keeps it and people read it."""
        if self.format == "number":
            return str(reach)
        return (_EPOCH + timedelta(microseconds=reach)).isoformat().replace("+00:00", "Z")

    def lagged(self, reach: int) -> int:
        """Give what is asked for after a run that came to `reach`."""
        if self.format == "number":
            return reach - int(self.lag or 0)
        return max(reach - round((_LAG_S if self.lag is None else self.lag) * 1_000_000), _FIRST)

    def written(self, reach: int) -> str:
        """Give a reach as the parameter takes it; what it cannot express is cut off, so more is asked for, not less."""
        if self.format == "seconds":
            return str(reach // 1_000_000)
        if self.format == "milliseconds":
            return str(reach // 1_000)
        return self.text(reach)[:10] if self.format == "date" else self.text(reach)


class Reach:
    """How far the records of a read have come. at: the newest of them; None: none yet."""

    def __init__(self, since: Since, kept: Mapping[str, Any] | None = None) -> None:
        kept = kept or {}
        self._since = since
        self.at: int | None = kept.get("at")
        self._ceiling: int | None = kept.get("ceiling")

    def began(self, date: datetime | None) -> None:
        """Take the Date of an answer; the first one is the time by the server's clock when reading began."""
        if self._ceiling is None and date is not None and self._since.format != "number":
            self._ceiling = microseconds(date)

    def see(self, value: Any) -> str | None:
        """Take the cursor of a record; give the code of what is odd about it."""
        at = self._since.parse(value)
        if at is None:
            return "cursor.missing" if value is None else "cursor.unparsed"
        if self._ceiling is not None and at > self._ceiling:
            return "cursor.future" if at > self._ceiling + _IN_FLIGHT_US else None
        self.at = at if self.at is None else max(at, self.at)
        return None

    def kept(self) -> dict[str, int | None]:
        """Give what to go on with after a break, JSON-able."""
        return {"at": self.at, "ceiling": self._ceiling}

    def note(self) -> dict[str, str]:
        """Give what the state is to know of it; nothing if there is nothing."""
        return {} if self.at is None else {"since": self._since.text(self.at)}
