"""The child process: reads documents from its input, extracts, writes results to its output, one by one.

Not here: what becomes of a document that kills it (`extractor`). Invariants: an answer is written before the next document
is looked at; for each document the kernel's own timers (ITIMER_PROF for processor time, ITIMER_REAL) are set to kill this
process, so that native code that never returns ends too, and no parent is needed for it; an error that nobody foresaw is
an answer only from a process that did nothing else before.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from gristmill.extract.wire import (
    EXIT_ERROR,
    EXIT_MEMORY,
    HEADER_BYTES,
    Document,
    Extracted,
    ExtractOptions,
    Kind,
    frame,
    refused,
)

# A page's tree makes many that die by counting: looking for rings among 700 of them costs 4 % (measured).
_YOUNG_OBJECTS = 20_000


def main() -> int:
    """Serve documents until the input ends. Returns the exit code."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = os.dup(1)  # what a library prints must not get between the frames
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    with open(0, "rb", closefd=False) as requests:
        body = _read(requests)
        if body is None:
            return 0
        options = msgspec.msgpack.decode(body, type=ExtractOptions)
        limit = options.max_memory_mb << 20
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        with contextlib.suppress(OSError, ValueError):  # a system without such a limit
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        gc.set_threshold(_YOUNG_OBJECTS)
        with contextlib.suppress(BrokenPipeError):
            _write(answers, frame("ready"))
            is_fresh = True
            while (body := _read(requests)) is not None:
                document = msgspec.msgpack.decode(body, type=Document)
                del body
                try:
                    extract = _ready(document.kind, options)
                    answer = _timed(extract, document, options)
                except MemoryError:
                    return EXIT_MEMORY
                except Exception as error:  # of a library: anything
                    if not is_fresh:
                        return EXIT_ERROR  # what went before may have caused it: another process tries
                    answer = refused("extract.crash", f"the extractor raised {type(error).__name__}")
                _write(answers, frame(answer))
                is_fresh = False
    return 0


def _timed(
    extract: Callable[[Document, ExtractOptions], Extracted], document: Document, options: ExtractOptions
) -> Extracted:
    signal.setitimer(signal.ITIMER_PROF, options.cpu_s)
    signal.setitimer(signal.ITIMER_REAL, options.wall_s)
    try:
        return extract(document, options)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _ready(kind: Kind, options: ExtractOptions) -> Callable[[Document, ExtractOptions], Extracted]:
    """Load what this kind needs, once; a document does not pay for it."""
    if kind == "pdf":
        import pypdfium2  # type: ignore[import-untyped]  # noqa: F401 - loads pdfium

        from gristmill.extract import pdf

        return pdf.extract
    from gristmill.extract import html, main_text

    main_text.load(options.extractor)
    return html.extract


def _read(requests: BinaryIO) -> bytes | None:
    """Give the next frame's body; None at the end."""
    header = requests.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    size = int.from_bytes(header, "little")
    body = requests.read(size)
    return body if len(body) == size else None


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
