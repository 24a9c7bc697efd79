"""What a made file is and what must become of it.

A `Content` is a file as one format has it, with one fault. `made/packs.py` puts it into compression and archives, which changes what must
become of it by rules that are the same for all of them; a `Made` is the file as it lies on a disk.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Counts = Mapping[str, int]
NONE: Counts = MappingProxyType({})


class Content(NamedTuple):
    """A file of one format with one fault.

    rows, codes, warnings: what must become of it. is_lost: its code is that of the whole file, of which nothing else is kept.
    """

    format: str
    fault: str
    suffix: str
    data: bytes
    rows: int
    codes: Counts = NONE
    warnings: Counts = NONE
    params: Mapping[str, Any] = MappingProxyType({})
    is_lost: bool = False


class Made(NamedTuple):
    """A file as it lies on a disk. inside: the bytes that must be accounted for, -1 where damage leaves that open. source: which reads it."""

    name: str
    data: bytes
    rows: int
    codes: Counts
    warnings: Counts
    params: Mapping[str, Any]
    inside: int
    source: str = "files"

    @property
    def line(self) -> str:
        """Give its line of the table."""
        return line_of(self.name, self.source, self.params, self.rows, self.codes, self.warnings)


def lost(kind: str, fault: str, suffix: str, data: bytes, code: str, /, **params: Any) -> Content:
    """Give a content that costs the file."""
    return Content(kind, fault, suffix, data, 0, {code: 1}, NONE, params, True)


def line_of(name: str, source: str, params: Mapping[str, Any], rows: int, codes: Counts, warnings: Counts) -> str:
    """Give a line of the table: what is a count of nothing is not in it."""
    counts = [" ".join(f"{code}={n}" for code, n in sorted(each.items()) if n) for each in (codes, warnings)]
    told = json.dumps(dict(params), ensure_ascii=False, sort_keys=True) if params else ""
    return "\t".join([name, source, told, str(rows), *counts])
