"""Files at exact HTTP addresses, for reading: what HEAD says of them, and their bytes by ranges.

Not here: pages (`pages`), whose text and links matter; guessing what a server has: there is no listing, so no globs. On the
guarded fetcher, so that neither an address nor a redirect leads to a private network that is not allowed
(`storage: {allow_hosts: [...]}`). Invariants: what is read is of the version that was listed, by the ETag of every answer; a
server that gives no ranges is read whole, up to `_WHOLE_BYTES`; an address is written down without its query, which may
be a signature.
"""

from __future__ import annotations

import hashlib
import re
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import BinaryIO, ClassVar, Self, cast
from urllib.parse import urlsplit

from gristmill.core.errors import ConfigError
from gristmill.core.places import Found, Listing, Looked, Options, Replaced, common_folder, number_option
from gristmill.net.addresses import Guard
from gristmill.net.fetch import Fetcher, FetchRefused, Limits, Response
from gristmill.net.loop import Loop
from gristmill.net.ranges import RangeFile
from gristmill.net.retry import Patience, Retrier

_WHOLE_BYTES = 256 << 20
_SLACK_BYTES = 64 << 10  # an error page has this much, too
_OPTIONS = ("allow_hosts", "retries", "timeout_s", "token")


class HttpFiles:
    """Some addresses: a `Place`. A path is an address without its query and fragment."""

    pins: ClassVar[bool] = True
    base: ClassVar[str] = ""

    def __init__(self, urls: list[str], options: Options) -> None:
        """Take the addresses and how to reach them.

        Raises:
            ConfigError: an address is a glob or has credentials in it, or an option cannot be used.
        """
        if unknown := sorted(options.keys() - set(_OPTIONS)):
            raise ConfigError(f"storage: {', '.join(unknown)}: no such option for http; known: {', '.join(_OPTIONS)}")
        self.urls = dict(map(_written, urls))
        hosts = options.get("allow_hosts", [])
        try:
            self.guard = Guard(tuple([hosts] if isinstance(hosts, str) else cast("list[str]", hosts)))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"storage: {error}") from None
        self.timeout_s = float(number_option(options, "timeout_s", 120))
        self.patience = Patience(attempts=number_option(options, "retries", 5) + 1)
        self.token = options.get("token")

    def list(self, globs: list[str]) -> Listing:
        """Look at each address. What cannot be had is named, and is not gone: nobody can say so.

        Raises:
            SourceError: an address must not be connected to.
            Transient: a server does not answer now.
        """
        del globs  # they are the addresses
        names = {path: path.partition("://")[2] for path in self.urls}
        root = common_folder([name[: name.rfind("/") + 1] for name in names.values()])
        found, failed = [], []
        for path, name in names.items():
            unit = name[len(root) :] or name
            try:
                found.append(Found(unit, path, *self.look(path)))
            except OSError as error:
                failed.append((unit, "file.unreadable", f"cannot be read: {error}"))
        return Listing(sorted(found), sorted(failed))

    def look(self, path: str) -> Looked:
        """Ask for a file's size, time and ETag. Raises OSError, SourceError or Transient."""
        with _Client(self) as client:
            answer = client.ask("HEAD", path)
            if answer.status in {403, 405, 501}:  # what HEAD may not, GET may: ask for one byte
                answer = client.ask("GET", path, {"Range": "bytes=0-0"}, _WHOLE_BYTES)
        if answer.status not in {200, 206}:
            raise OSError(f"HTTP {answer.status}")
        size = _total(answer) if answer.status == 206 else answer.headers.get("content-length", "")
        if not size.isdigit():
            raise OSError("the server does not say how long it is")
        return Looked(int(size), _time_ns(answer.headers.get("last-modified")), answer.headers.get("etag", ""))

    def open(self, path: str, etag: str = "", size: int | None = None) -> BinaryIO:
        """Open a file; nothing is fetched before the first read if its size is known."""
        total = self.look(path).size if size is None else size
        reading = _Reading(_Client(self), path, etag, total)
        return cast("BinaryIO", RangeFile(reading.fetch, total, reading.close))


class _Client:
    """Connections that are kept for one file."""

    def __init__(self, place: HttpFiles) -> None:
        self._place = place
        self._loop = Loop()
        self._fetcher = Fetcher(place.guard)
        self._retrier = Retrier(self._fetcher, place.patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, max_bytes: int = 0) -> Response:
        place = self._place
        return self._loop.run(
            self._retrier.fetch(
                method,
                place.urls[path],
                headers={"Accept-Encoding": "identity"} | (headers or {}),
                credentials={"Authorization": f"Bearer {place.token}"} if place.token else {},
                limits=Limits(max_bytes=max_bytes + _SLACK_BYTES, timeout_s=place.timeout_s),
            )
        )

    def close(self) -> None:
        try:
            self._loop.run(self._fetcher.__aexit__(None, None, None))
        finally:
            self._loop.close()


class _Reading:
    """One open file."""

    def __init__(self, client: _Client, path: str, etag: str, size: int) -> None:
        self._client, self._path, self._etag, self._size = client, path, etag, size
        self._whole: bytes | None = None  # where the server gives no ranges
        self.close = client.close

    def fetch(self, start: int, end: int) -> bytes:
        if self._whole is None and not (start == 0 and end == self._size):
            try:
                answer = self._client.ask("GET", self._path, {"Range": f"bytes={start}-{end - 1}"}, end - start)
            except FetchRefused as error:
                if error.code != "size.cap":
                    raise
            else:
                if answer.status != 200:
                    return self._checked(answer, end - start)
        if self._whole is None:
            if self._size > _WHOLE_BYTES:
                raise OSError(
                    f"the server gives no ranges of it, and it is over {_WHOLE_BYTES} bytes: download it first"
                )
            whole = self._checked(self._client.ask("GET", self._path, {}, self._size), self._size)
            if (start, end) == (0, self._size):
                return whole  # a small file is read once and need not be kept
            self._whole = whole
        return self._whole[start:end]

    def _checked(self, answer: Response, size: int) -> bytes:
        """Give the body, if it is the version and the part that was asked for."""
        if answer.status in {404, 410, 412, 416}:
            raise Replaced(self._path)
        if answer.status not in {200, 206}:
            raise OSError(f"HTTP {answer.status}")
        told = int(_total(answer) or 0) if answer.status == 206 else len(answer.body)
        if told != self._size or (self._etag and answer.headers.get("etag", "") != self._etag):
            raise Replaced(self._path)
        if len(answer.body) != size:
            raise OSError(f"{len(answer.body)} bytes came for a range of {size}")
        return answer.body


def _written(url: str) -> tuple[str, str]:
    """Give an address as it may be written down, and as it is."""
    split = urlsplit(url)
    if "@" in split.netloc or not split.hostname:
        raise ConfigError(f'path "{split.scheme}://…": write https://host/path, and a token as storage: {{token: …}}')
    bare = f"{split.scheme}://{split.netloc}{split.path}"
    if any(mark in split.path for mark in "*["):
        raise ConfigError(
            f'path "{bare}": what a web server has cannot be listed, so there are no globs; write out each address'
        )
    digest = hashlib.blake2b(split.query.encode(), digest_size=4).hexdigest()
    return f"{bare}?{digest}" if split.query else bare, url


def _total(answer: Response) -> str:
    """Give the whole size that a part is of."""
    found = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("content-range", "").strip())
    return found[1] if found else ""


def _time_ns(value: str | None) -> int:
    try:
        return int(parsedate_to_datetime(value).timestamp()) * 10**9 if value else 0
    except (ValueError, OverflowError):
        return 0
