"""Batches made ahead: one thread makes the next ones while the one at hand is sent to a database.

Not here: what makes them. Invariants: order and number are kept; an error in making them is raised where they are taken; at most
`DEPTH` wait; the thread is gone when the iterator is closed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa

DEPTH = 2
_END = None


def ahead(batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
    """Give the batches, made by a thread of their own."""
    ready: queue.Queue[Any] = queue.Queue(DEPTH)
    closed = threading.Event()

    def offer(item: Any) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for batch in batches:
                if not offer(batch):
                    return
            offer(_END)
        except BaseException as error:
            offer(error)

    thread = threading.Thread(target=make, name="gristmill-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join()
