"""A private event loop in a thread of its own, so that async code can be called from plain iterators, from anywhere.

Also from where a loop is running already (a notebook). Not here: what runs in it. Invariants: nothing of the loop is
alive after `close`, on any way out; an interrupt of the caller cancels what it waits for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Loop:
    """`with Loop() as loop: loop.run(coroutine)`; `loop.start(coroutine)` gives a future and goes on."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gristmill-net", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """The loop runs from its making on."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the loop while the caller goes on."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and give its result, or raise what it raises."""
        return self._result(self.start(coroutine))

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Give the items of an async iterator, the next one being made while the caller works on one."""
        future = self.start(_next(items))
        while (got := self._result(future)) is not None:
            future = self.start(_next(items))
            yield got[0]

    def _result(self, future: Future[T]) -> T:
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, and end the thread."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(items: AsyncIterator[T]) -> tuple[T] | None:
    async for item in items:
        return (item,)
    return None


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
