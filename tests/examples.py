"""How much a test tries: a few examples or cases in `make test`, many more, or all, under `make soak`."""

import os
import random
from collections.abc import Sequence
from typing import TypeVar

from gristmill.core.build import code_fingerprint

T = TypeVar("T")
SOAK = int(os.environ.get("GRISTMILL_SOAK", "0") or 0)


def examples(n: int) -> int:
    """Give how many examples to try of n: a third of them in `make test`, which has to end in time, and n times `GRISTMILL_SOAK` there."""
    return n * SOAK if SOAK else max(2, n // 3)


def some(cases: Sequence[T], n: int, drawn_by: str = "") -> list[T]:
    """Give n of the cases, in their order, and all of them in the soak.

    Which ones follows from gristmill's source (or from what is named as `drawn_by`): the same on every machine and in
    every worker, and others once the source has changed.
    """
    if SOAK:
        return list(cases)
    places = random.Random(drawn_by or code_fingerprint()).sample(range(len(cases)), n)
    return [cases[at] for at in sorted(places)]
