"""Remote files as Python file objects: read range by range, forwards in growing steps, anywhere after a seek.

Not here: how a range is fetched. A range and not an endless stream, so that no connection is held while a slow consumer
works, every request can be tried again, and each is pinned to the version that was listed. Invariants: at most one range is
held, of `_MAX_BYTES` or what is asked for at once; a read gives all that is asked for, but at the end of the file.
"""

from __future__ import annotations

import io
from collections.abc import Callable

_FIRST_BYTES = 1 << 20  # at the file's begin: a small file is one request
_JUMP_BYTES = 64 << 10  # after a seek: a footer, a column
_MAX_BYTES = 8 << 20  # 30 ms of waiting for each is then a quarter of the time at 100 MB/s, and nothing beside parsing
_GROWTH = 4


class RangeFile(io.RawIOBase):
    """A file of `size` bytes, of which `fetch(start, end)` gives exactly the bytes [start, end). on_close: called once."""

    def __init__(
        self, fetch: Callable[[int, int], bytes], size: int, on_close: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self._fetch, self._size, self._on_close = fetch, size, on_close
        self._at = 0
        self._start = 0  # of what is held
        self._held = b""
        self._step = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Give the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is fetched before the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Give `size` bytes, or all that are left, fewer only at the end. Raises what `fetch` raises."""
        if self.closed:
            raise ValueError("the file is closed")
        left = max(self._size - self._at, 0)
        left = left if size is None or size < 0 else min(size, left)
        parts: list[bytes] = []
        while left:
            part = self._some(left)
            parts.append(part)
            self._at += len(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill a buffer; less only at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _some(self, wanted: int) -> bytes:
        """Give up to `wanted` bytes from here, at least one."""
        inside = self._at - self._start
        if not 0 <= inside < len(self._held):
            goes_on = inside == len(self._held)
            if goes_on and self._step:
                self._step = min(self._step * _GROWTH, _MAX_BYTES)
            else:
                self._step = _JUMP_BYTES if self._at else _FIRST_BYTES
            end = min(self._at + max(self._step, min(wanted, _MAX_BYTES)), self._size)
            self._held = b""  # before the next is there
            self._held, self._start, inside = self._fetch(self._at, end), self._at, 0
        return self._held[inside : inside + wanted]

    def close(self) -> None:
        """Let go of what is held."""
        if not self.closed:
            self._held = b""
            try:
                if self._on_close is not None:
                    self._on_close()
            finally:
                super().close()
