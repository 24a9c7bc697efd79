r"""What JSON says twice, or with more digits than a number holds here: counted, so that no value changes in silence.

orjson, which decodes for the formats, takes the last of several values under one key, and makes a float of an
integer beyond 64 bits. Warnings: `json.duplicate_key`, `json.int_range`, one for each value that has them. Not here:
what is no JSON at all (`core.mapping`). Invariants: records are not changed; the usual line costs one count of bytes, and
is looked at closely only where that count is not that of the keys that came out, a key has a space or tab before its colon, or
there are as many digits in a row. (An object within others that has a line end there may hide a key that stands twice: to look
for that as well would cost as much again, and no writer puts it there.)
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

_KEY_END = b'":'
_QUOTE_BY_NUMBER = rb"\u0022"  # as PHP's JSON_HEX_QUOT has it
_PAIR = np.frombuffer(_KEY_END, "<u2")[0]
_SPACED = (b" :", b"\t:")
_SPACED_PAIRS = [np.frombuffer(pair, "<u2")[0] for pair in _SPACED]
_LONG = re.compile(rb"\d{20}|-\d{19}")  # the least integers beyond 64 bits
_FEW_BYTES = 4 << 10  # of one value: numpy begins to pay
_STRIDE = 9  # a run of 19 digits has two places that lie so far apart, wherever one begins to look


def oddities(pieces: list[bytes], records: list[Any]) -> Counter[str]:
    """Count what is odd in some values; `pieces` are the bytes that `records` were decoded from."""
    data = b"\n".join(pieces)
    if not data:
        return Counter()
    ends = np.cumsum([len(piece) + 1 for piece in pieces], dtype=np.int64)
    keys = np.array([len(record) if type(record) is dict else -1 for record in records])
    other = {*np.flatnonzero(_keys(data, ends) != keys).tolist(), *_spaced(data, ends)}
    more = [at for at in other if _differs(pieces[at], records[at])]
    suspects = {*more, *np.searchsorted(ends, _long(data), "right").tolist()}
    return Counter(code for at in suspects for code in _look(pieces[at]))


def oddities_of_one(piece: bytes, record: Any) -> Counter[str]:
    """Count what is odd in one value."""
    if len(piece) >= _FEW_BYTES:
        return oddities([piece], [record])
    keys = len(record) if type(record) is dict else -1
    other = piece.count(_KEY_END) != keys or any(pair in piece for pair in _SPACED)
    odd = (other and _differs(piece, record)) or _LONG.search(piece)
    return Counter(_look(piece) if odd else ())


def _keys(data: bytes, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give how often each piece has a quote before a colon (bytes.count takes four times as long)."""
    even, odd = _places(data, _PAIR)
    return np.diff(np.searchsorted(even, ends) + np.searchsorted(odd, ends), prepend=0)


def _places(data: bytes, pair: np.uint16) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give the even and the odd places where these two bytes stand."""
    even = np.flatnonzero(np.frombuffer(data, "<u2", len(data) // 2) == pair) * 2
    odd = np.flatnonzero(np.frombuffer(data, "<u2", (len(data) - 1) // 2, 1) == pair) * 2 + 1
    return even, odd


def _spaced(data: bytes, ends: npt.NDArray[np.int64]) -> set[int]:
    """Give the pieces in which a blank stands before a colon, and not behind the word of a text."""
    at = np.concatenate([places for pair in _SPACED_PAIRS for places in _places(data, pair)])
    before = np.frombuffer(data, np.uint8)[at - 1]
    return set(np.searchsorted(ends, at[(before == ord('"')) | (before <= ord(" "))], "right").tolist())


def _long(data: bytes) -> list[int]:
    """Give a place, or some, in each integer that may be too long."""
    digits = (np.frombuffer(data, np.uint8)[::_STRIDE] - ord("0")) < 10
    return [
        at
        for at in (np.flatnonzero(digits[1:] & digits[:-1]) * _STRIDE).tolist()
        if data[at : at + _STRIDE].isdigit() and _LONG.search(data, max(at - _STRIDE - 1, 0), at + 20)
    ]


def _differs(piece: bytes, record: Any) -> bool:
    """Tell if there are other quotes than the decoded value needs: keys may hold colons, or objects lie within."""
    return piece.count(b'"') + piece.count(_QUOTE_BY_NUMBER) != _quotes(record)


def _quotes(value: Any) -> int:
    """Give how many quotes a value needs, if each that stands in a string is written with a backslash, or by its number."""
    quotes, todo = 0, [value]
    while todo:
        inner = todo.pop()
        if type(inner) is str:
            quotes += 2 + inner.count('"')
        elif type(inner) is dict:
            todo += inner.keys()
            todo += inner.values()
        elif type(inner) is list:
            todo += inner
    return quotes


def _look(piece: bytes) -> set[str]:
    """Give the codes of what is odd in the bytes of one value."""
    found: set[str] = set()

    def pairs(items: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in items}) < len(items):
            found.add("json.duplicate_key")

    def integer(digits: str) -> int:
        if len(digits) > _STRIDE and not -(1 << 63) <= int(digits) < 1 << 64:
            found.add("json.int_range")
        return 0

    with contextlib.suppress(ValueError, RecursionError):  # so deep that it is refused anyway
        json.loads(piece, object_pairs_hook=pairs, parse_int=integer)
    return found
