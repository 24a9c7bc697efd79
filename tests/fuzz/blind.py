"""Fuzzing without feedback, for a test run and where atheris is not: seeded changes of the seeds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

ODD = [
    b"\0",
    b"\xff",
    b'"',
    b"\\",
    b"{",
    b"]",
    b"\n",
    b"\r\n",
    b"&",
    b"<",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b"-1",
    b"9" * 30,
    b"1e999",
]


def cases(target: Any, n: int, number: int) -> Iterator[bytes]:
    """Give every seed of a target, and n changed ones."""
    yield from [*target.SEEDS, b""]
    rng = random.Random(number)
    for _ in range(n):
        data = bytearray(rng.choice(target.SEEDS))
        for _ in range(rng.choice([1, 1, 2, 4, 8])):
            change(data, rng, target.SEEDS)
        yield bytes(data)


def change(data: bytearray, rng: random.Random, seeds: list[bytes]) -> None:
    """Change it in one of the ways in which files get damaged."""
    at = rng.randrange(len(data) + 1)
    kind = rng.randrange(6)
    if kind == 0:
        del data[at:]
    elif kind == 1:
        del data[at : at + rng.randrange(1, 9)]
    elif kind == 2 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 3:
        data[at:at] = rng.choice(ODD)
    elif kind == 4:
        other = rng.choice(seeds)
        data[at:at] = other[rng.randrange(len(other)) :]
    else:
        data[at:at] = data[max(0, at - rng.randrange(1, 40)) : at] * rng.choice([1, 2, 50])
