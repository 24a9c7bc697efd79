"""Signals: numbers measured on the text of a batch by a kernel, and limits on them turned into reasons.

A signal is measured when a filter first asks for it, kept on the batch until the text changes, and stored beside the
dataset, so a threshold is a comparison and costs nothing. Not here: the kernels (`kernels`), the limits (the filters).
Invariants: a signal depends on the text alone; a row that breaks several limits has the first of them as its reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.batch import Batch, Mask, utf8_buffers
from gristmill.core.step import Filter

Signal: TypeAlias = npt.NDArray[np.generic]


def sizes(text: pa.Array) -> dict[str, Signal]:
    """Measure `chars` (code points) and `words` (as `str.split` has them), int64."""
    from gristmill.kernels import counts

    chars, words = counts.sizes(*utf8_buffers(text))
    return {"chars": chars, "words": words}


# Which function measures a signal; one pass may measure several.
MEASURES = {"chars": sizes, "words": sizes}


def reasons(rows: int, rules: Iterable[tuple[str, Mask]]) -> pa.DictionaryArray:
    """Give one dictionary-encoded string a row: the word of the first rule that is true for it, null if none is.

    Args:
        rows: how many rows.
        rules: (word, bool one a row), first come first.
    """
    words: list[str] = []
    codes = np.full(rows, -1, np.int32)
    for word, broken in rules:
        codes[broken & (codes < 0)] = len(words)
        words.append(word)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(words, pa.string()))


def broken_limits(step: Filter, batch: Batch) -> Iterable[tuple[str, Mask]]:
    """Compare each signal in the step's `RULES` with its limit: `min_*` are lower limits, `max_*` upper ones."""
    for word, (name, parameter) in step.RULES.items():
        limit = getattr(step, parameter)
        if limit is not None:
            values = batch.signal(name, MEASURES[name])
            yield word, values < limit if parameter.startswith("min_") else values > limit


def check_limits(step: Filter) -> None:
    """Refuse a `min_x` above its `max_x`.

    Raises:
        ValueError: names both.
    """
    for _, parameter in step.RULES.values():
        low, high = (getattr(step, f"{end}_{parameter[4:]}", None) for end in ("min", "max"))
        if low is not None and high is not None and low > high:
            name = parameter[4:]
            raise ValueError(f"min_{name} {low} is above max_{name} {high}: no record can pass")
