"""`Extractor`: owns one child process that extracts text, feeds it, and replaces it when it dies.

Not here: what the child does (`worker`). The child limits itself by the kernel's timers and a memory limit, so that it dies
of a bad document even when this process is gone; the watch kept here is for a child that is stopped or lost. Documents are
sent ahead (`_AHEAD_DOCUMENTS`, `_AHEAD_BYTES`), the child answers in order and one by one: the first unanswered document is
the one it died of. Invariants: one answer for each document, in order; a child that dies (but not of its
time) has its document tried once more in a fresh one, so that what is refused depends on no neighbour and no accident; the child gets no
environment of ours but paths and locale, so no secret is in reach of hostile bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from gristmill.core.errors import SourceError
from gristmill.extract.wire import EXIT_MEMORY, HEADER_BYTES, Document, Extracted, ExtractOptions, Kind, frame, refused

_AHEAD_DOCUMENTS = 32
_AHEAD_BYTES = 4 << 20
_READ_BYTES = 1 << 20
_GRACE_S = 30.0  # how much longer than the child's own clock ours waits: it loads libraries off its clock
_START_S = 60.0
_TRIES = 2  # the second in a fresh process, with nothing done before and the machine's mood perhaps another
_ROOT = str(Path(__file__).resolve().parents[2])
_MAIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from gristmill.extract.worker import main; sys.exit(main())"
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_PACKAGES = {"html": ("resiliparse", "trafilatura", "charset-normalizer"), "pdf": ("pypdfium2",)}


def needs(kind: Kind) -> str | None:
    """Give the sentence for what is not installed for this kind, with the install command; None when all is there."""
    from importlib.metadata import PackageNotFoundError, version

    for package in _PACKAGES[kind]:
        try:
            version(package)
        except PackageNotFoundError:
            return f'text out of {kind.upper()} needs {package}, which is not installed; pip install "gristmill[web]"'
    return None


class Extractor:
    """Extracts text in a child process, started at the first document. A context manager; for one thread at a time."""

    def __init__(self, options: ExtractOptions | None = None) -> None:
        self._options = options or ExtractOptions()
        self._child: _Child | None = None
        self._busy = False

    def __enter__(self) -> Extractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child. The next document would start another."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def extract(self, kind: Kind, data: bytes, *, charset: str | None = None, url: str | None = None) -> Extracted:
        """Extract the text of one document.

        charset: what its HTTP header says. Raises SourceError when no child can be started.
        """
        (result,) = self.extract_many([Document(kind, data, charset, url)])
        return result

    def extract_many(self, documents: Iterable[Document]) -> Iterator[Extracted]:
        """Give one result for each document, in order; documents are taken from the iterable as the child keeps up.

        Raises:
            SourceError: no child can be started.
            RuntimeError: another call on this extractor is not finished.
        """
        if self._busy:
            raise RuntimeError("this extractor is in use: finish or close the other extract_many() first")
        self._busy = True
        queue: deque[Document | Extracted] = deque()
        ahead_bytes = 0
        source = iter(documents)
        document: Document | None = None
        try:
            while True:
                while len(queue) < _AHEAD_DOCUMENTS and ahead_bytes < _AHEAD_BYTES:
                    document = next(source, None)
                    if document is None:
                        break
                    if len(document.data) > self._options.max_bytes:
                        detail = f"a document of {len(document.data)} bytes, over max_bytes ({self._options.max_bytes})"
                        queue.append(refused("size.cap", detail))
                        continue
                    queue.append(document)
                    ahead_bytes += len(document.data)
                    self._started().send(document)
                if not queue:
                    return
                if isinstance(queue[0], Document):
                    result = self._answer(queue)
                    ahead_bytes -= len(queue[0].data)
                else:
                    result = queue[0]
                queue.popleft()
                yield result
        finally:
            self._busy = False
            if any(isinstance(item, Document) for item in queue):
                self.close()  # its answers would be taken for those of the next documents

    def _started(self) -> _Child:
        if self._child is None:
            self._child = _Child(self._options)
        return self._child

    def _answer(self, queue: deque[Document | Extracted]) -> Extracted:
        """Give the answer for the first document of the queue, all of which were sent."""
        tries = 0
        while True:
            answer = self._started().receive()
            if isinstance(answer, Extracted):
                return answer
            self.close()
            tries += 1
            final = answer.code == "extract.timeout" or tries == _TRIES
            for item in list(queue)[1 if final else 0 :]:
                if isinstance(item, Document):
                    self._started().send(item)
            if final:
                return refused(answer.code, answer.detail)


class _Died(msgspec.Struct, frozen=True):
    """The child is gone; code and detail say what of."""

    code: str
    detail: str


class _Child:
    """One child process and its two pipes, neither of which ever blocks us while the other is full."""

    def __init__(self, options: ExtractOptions) -> None:
        self._options = options
        self._out: deque[memoryview] = deque()  # frames, as they are: a page is not copied once more
        self._in = bytearray()
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        paths = [path for path in sys.path if path] + [_ROOT]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-P", "-c", _MAIN, json.dumps(paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment | {"PYTHONHASHSEED": "0"},
            process_group=0,  # Ctrl-C is for us; the child ends when its input does
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        self._out.append(memoryview(frame(options)))
        hello = self._frame(_START_S)
        if isinstance(hello, _Died):
            self.kill()
            raise SourceError(
                f"the process that extracts text cannot start ({hello.detail}); "
                'see that "gristmill[web]" is installed whole and that max_memory_mb is not too small'
            )

    def send(self, document: Document) -> None:
        """Take a document for the child; it is written while answers are awaited."""
        self._out.append(memoryview(frame(document)))
        self._pump(0)

    def receive(self) -> Extracted | _Died:
        """Wait for the next answer."""
        body = self._frame(self._options.wall_s + _GRACE_S)
        if isinstance(body, _Died):
            return body
        return msgspec.msgpack.decode(body, type=Extracted)

    def kill(self) -> None:
        """End the child at once and reap it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _frame(self, timeout_s: float) -> bytes | _Died:
        """Wait for a whole frame, for at most so long without a byte of it."""
        deadline = time.monotonic() + timeout_s
        while True:
            if len(self._in) >= HEADER_BYTES:
                end = HEADER_BYTES + int.from_bytes(self._in[:HEADER_BYTES], "little")
                if len(self._in) >= end:
                    body = bytes(self._in[HEADER_BYTES:end])
                    del self._in[:end]
                    return body
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return _Died("extract.timeout", f"no answer after {timeout_s:g} s")
            if not self._pump(left_s):
                return self._why()

    def _pump(self, timeout_s: float) -> bool:
        """Move bytes in both directions, waiting at most so long for the first; False when the child is gone."""
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        if self._out:
            poll.register(self._stdin, select.POLLOUT)
        for handle, _ in poll.poll(timeout_s * 1000):
            try:
                if handle == self._stdout:
                    data = os.read(handle, _READ_BYTES)
                    if not data:
                        return False
                    self._in += data
                else:
                    written = os.write(handle, self._out[0][:_READ_BYTES])
                    self._out[0] = self._out[0][written:]
                    if not self._out[0]:
                        self._out.popleft()
            except BlockingIOError:
                continue
            except BrokenPipeError:
                self._out.clear()  # what it answered before it died is still to be read
        return True

    def _why(self) -> _Died:
        """Tell what the child died of."""
        try:
            status = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:  # it closed its output and lives on: a stranger in its process
            return _Died("extract.crash", "the extracting process closed its output")
        if status == -signal.SIGPROF:
            return _Died("extract.timeout", f"took more than {self._options.cpu_s:g} s of processor time (cpu_s)")
        if status == -signal.SIGALRM:
            return _Died("extract.timeout", f"took more than {self._options.wall_s:g} s (wall_s)")
        if status == EXIT_MEMORY:
            return _Died("extract.memory", f"took more than {self._options.max_memory_mb} MB (max_memory_mb)")
        if status < 0:
            return _Died("extract.crash", f"the extracting process died of signal {-status}")
        return _Died("extract.crash", f"the extracting process ended with exit code {status}")
