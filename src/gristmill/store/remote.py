"""A folder of objects in a bucket (S3, GCS, Azure): the few requests that a dataset or an export on an object store is made of.

Not here: which of them make a dataset's file last (`store.mirror`), who may write (`store.lease`). Invariants: an object is there whole or
not at all; a write with a condition that the store says does not hold is looked at again: where what is there is what was to be written, the
answer to an earlier try of ours was lost, and it is ours; no message holds a credential or what a server said beyond its status.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import msgspec

from gristmill.core import access, buckets
from gristmill.core.errors import ConfigError, StoreError, Transient
from gristmill.core.places import Options

T = TypeVar("T")

PAUSES_S = (0.5, 2.0, 5.0)  # between our own tries; obstore has tried each request before
# What is larger goes up in parts, of which a run that is killed leaves some behind; a shard never is, and few chunks of exports are.
SINGLE_BYTES = 512 << 20


class Seen(NamedTuple):
    """An object as the store tells of it. version: of GCS, and of buckets that keep versions. time_ns: of its writing, by the store's clock."""

    key: str
    size: int
    etag: str
    version: str
    time_ns: int = 0


_TRIED = ".probe"
ABSENT = Seen("", 0, "", "")  # as a condition: nothing may be there


class Remote(msgspec.Struct, frozen=True):
    """One folder of a bucket. url: without a slash at its end. options: how to reach the store, credentials among them.

    term_s: how long a lease lasts that is not renewed.
    """

    url: str
    options: Options = {}
    term_s: float = 60.0

    def __repr__(self) -> str:
        return f"Remote({self.url!r})"

    @property
    def kind(self) -> str:
        """The kind of store: s3, gcs or azure."""
        return buckets.KINDS[self.url.partition("://")[0].lower()]

    @property
    def _root(self) -> str:
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        inside = self.url.partition("://")[2].partition("/")[2].strip("/")
        return f"{inside}/" if inside else ""

    @property
    def client(self) -> Any:
        """The store's client in this process."""
        return _client(os.getpid(), self.kind, self._root, msgspec.json.encode(self.options, order="sorted"))

    def table_options(self) -> dict[str, str]:
        """Give the options as delta-rs spells them."""
        begin = {"s3": "AWS_", "gcs": "GOOGLE_", "azure": "AZURE_STORAGE_"}[self.kind]
        found = {}
        for name, value in self.options.items():
            if name in {"timeout_s", "retries"}:
                continue
            word = name.upper().removeprefix(begin)
            if self.kind == "s3" and word == "ENDPOINT":
                word = "ENDPOINT_URL"
            plain = "true" if value is True else "false" if value is False else str(value)
            found[begin + word] = plain
            if word.startswith("ENDPOINT") and plain.startswith("http://"):
                found["allow_http"] = "true"
        return found | ({"timeout": f"{self.options['timeout_s']}s"} if "timeout_s" in self.options else {})

    # --- reading

    def head(self, key: str) -> Seen | None:
        """Look at an object; None if there is none."""
        import obstore

        return self.tried(key, lambda: self._seen(obstore.head(self.client, self.prefix + key)))

    def get(self, key: str) -> tuple[bytes, Seen] | None:
        """Give a small object whole, and what it is; None if there is none."""
        import obstore

        def ask() -> tuple[bytes, Seen]:
            answer = obstore.get(self.client, self.prefix + key)
            return bytes(answer.bytes()), self._seen(answer.meta)

        return self.tried(key, ask)

    def fetch(self, key: str, scratch: Path) -> Seen | None:
        """Write an object into a new file, piece by piece; None (and no file) if there is none."""
        import obstore

        def ask() -> Seen:
            answer = obstore.get(self.client, self.prefix + key)
            seen = self._seen(answer.meta)
            with access.create(scratch, access.PRIVATE) as file:
                for piece in answer.stream(min_chunk_size=4 << 20):
                    file.write(piece)
                whole = file.tell() == seen.size
            if not whole:
                raise ConnectionError("the answer was cut")
            return seen

        return self.tried(key, ask)

    def listing(self, folder: str, *, deep: bool = False) -> list[Seen]:
        """Give the objects right in a folder ("" or ending in a slash), by key; deep: all below it."""
        import obstore

        def ask() -> list[Seen]:
            if not deep:
                return [self._seen(meta) for meta in self._level(folder)["objects"] if self._inside(meta, folder)]
            pages = obstore.list(self.client, (self.prefix + folder).rstrip("/") or None, chunk_size=1000)
            return [self._seen(meta) for page in pages for meta in page if self._inside(meta, folder)]

        return sorted(self.tried(folder or "/", ask) or [])

    def _inside(self, meta: Any, folder: str) -> bool:
        """Tell an object in a folder from the mark some stores list for the folder itself."""
        inside: bool = meta["path"].startswith(self.prefix + folder)
        return inside

    def folders(self, folder: str) -> list[str]:
        """Give the names of the folders right in a folder."""
        found = self.tried(folder or "/", lambda: self._level(folder)["common_prefixes"]) or []
        return sorted(each.rstrip("/").rpartition("/")[2] for each in found)

    def _level(self, folder: str) -> Any:
        import obstore

        return obstore.list_with_delimiter(self.client, (self.prefix + folder).rstrip("/") or None)

    # --- writing

    def put(self, key: str, content: bytes | mmap.mmap, only: Seen | None = None) -> Seen | None:
        """Write an object in one step; give what it is now.

        only: on condition that this is there (`ABSENT`: nothing); None is given if it is not so. By content, what is there may be ours already.
        """
        import obstore

        options: dict[str, Any] = {"use_multipart": False}
        if only is not None:
            expected = {"e_tag": only.etag, "version": only.version}
            options["mode"] = "create" if only is ABSENT else {name: value for name, value in expected.items() if value}

        def ask() -> Seen | None:
            try:
                done = obstore.put(self.client, self.prefix + key, content, **options)
            except Exception as error:
                if (only is None or only is ABSENT) and _is_absent(error):
                    self._no_bucket(key, error)
                if only is not None and _is_under_way(error):
                    raise ConnectionError from None
                if only is None or not _is_condition(error):
                    raise
                found = self.get(key)
                return found[1] if found is not None and found[0] == bytes(content) else None
            return self._made(key, len(content), done)

        return self.tried(key, ask)

    def put_file(self, key: str, path: Path) -> Seen:
        """Write a file of any size as an object; in parts where it is large, which show together, at the end."""
        import obstore

        size = path.stat().st_size

        def ask() -> Seen:
            where = self.prefix + key
            if size > SINGLE_BYTES:
                done = obstore.put(self.client, where, path, use_multipart=True, chunk_size=16 << 20, max_concurrency=4)
            else:
                done = obstore.put(self.client, where, mapped(path), use_multipart=False)
            return self._made(key, size, done)

        def put() -> Seen:
            try:
                return ask()
            except Exception as error:
                if _is_absent(error):
                    self._no_bucket(key, error)
                raise

        made = self.tried(key, put)
        assert made is not None
        return made

    def delete(self, keys: list[str]) -> None:
        """Remove objects; those that are not there are removed already."""
        for at in range(0, len(keys), 500):
            wanted = [self.prefix + key for key in keys[at : at + 500]]
            self.tried(keys[at], lambda wanted=wanted: self._remove(wanted))  # type: ignore[misc]

    def _remove(self, keys: list[str]) -> None:
        """Remove objects together; one by one where one is not there: of GCS and Azure obstore then stops, with others left."""
        import obstore

        try:
            obstore.delete(self.client, keys)
        except FileNotFoundError:
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(self.client, key)

    def _made(self, key: str, size: int, done: Any) -> Seen:
        return Seen(key, size, buckets.quoted(done["e_tag"] or ""), done["version"] or "")

    def _seen(self, meta: Any) -> Seen:
        time_ns = int(meta["last_modified"].timestamp() * 1e6) * 1000
        key = meta["path"].removeprefix(self.prefix)
        return Seen(key, meta["size"], buckets.quoted(meta["e_tag"] or ""), meta.get("version") or "", time_ns)

    def tried(self, key: str, ask: Callable[[], T]) -> T | None:
        """Ask; again after a passing failure. None if there is no such object.

        Raises:
            Transient: the store does not answer well now.
            StoreError: it refuses.
        """
        for pause_s in (*(PAUSES_S if self.options.get("retries", 6) else ()), None):
            try:
                return ask()
            except (StoreError, Transient, ConfigError):
                raise
            except Exception as error:  # obstore's have no common base: some are builtins
                told, passing = buckets.why(error)
                if _is_absent(error):
                    return None
                if pause_s is None or not passing:
                    self._failed(key, told, passing=passing)
                time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def _no_bucket(self, key: str, error: Exception) -> NoReturn:
        """A new object needs nothing that may be absent but its bucket."""
        self._failed(key, buckets.why(error)[0], passing=False)

    def _failed(self, key: str, told: str, *, passing: bool) -> NoReturn:
        place = f"{self.url}/{key}".rstrip("/")
        if passing:
            raise Transient(f"{place}: the store does not answer as it should now ({told}); run again") from None
        raise StoreError(
            f"{place}: the store refuses ({told}); check the bucket's name, storage: (region, endpoint, keys) and its rights"
        ) from None

    # --- whether it will do

    def problems(self) -> list[str]:
        """Try whether the store takes what a dataset needs: an object is put, on condition and not, read, listed, removed.

        Raises:
            Transient: the store does not answer well now.
        """
        key = f".probe-{secrets.token_hex(8)}"
        try:
            return list(self._probe(key))
        except ConfigError as error:
            return list(error.problems)
        except Transient:  # no fault of the config: it is safe to run again
            raise
        except StoreError as error:
            return [str(error)]

    def refusal(self) -> str | None:
        """Try whether an object is taken and removed, which is all that an export needs; say why not.

        Its name is always the same: where it may be put and not removed, one is left and not one of each try.
        """
        try:
            self.put(_TRIED, b"1")
            self.delete([_TRIED])
        except (StoreError, ConfigError, Transient) as error:
            return str(error)
        return None

    def _unmade(self, key: str) -> None:
        """Remove what a try has put."""
        try:
            self.delete([key])
        except Transient:
            raise
        except (StoreError, ConfigError) as error:
            raise StoreError(
                f"{self.url}: objects may be put here and not removed ({error}); give the right to delete, and remove {key}"
            ) from None

    def _probe(self, key: str) -> Iterator[str]:
        first = self.put(key, b"1", ABSENT)
        if first is None:
            yield f"{self.url}: the store says that a new name is taken; a dataset cannot be kept there"
            return
        try:
            later = self.put(key, b"2", first)
            blind = self.put(key, b"3", ABSENT) is not None or (
                later is not None and self.put(key, b"4", first) is not None
            )
            if blind or later is None:
                yield (
                    f"{self.url}: the store does not heed the conditions of a write (If-None-Match, If-Match), so that two runs could overwrite "
                    "each other's work; use a store that does (Amazon S3, GCS, Azure, SeaweedFS, MinIO), or a local folder"
                )
                return
            found = self.get(key)
            if found is None or found[0] != b"2" or key not in {seen.key for seen in self.listing("")}:
                yield f"{self.url}: an object that was just written is not read or listed as it is; a dataset cannot be kept there"
        finally:
            self._unmade(key)


def mapped(path: Path) -> bytes | mmap.mmap:
    """Give a file's content without reading it yet."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _is_under_way(error: Exception) -> bool:
    """Tell if another conditional write is under way. Azure says 409 of a name that is taken, too (Azurite 3.37, tried)."""
    return "status code: 409" in str(error) and "BlobAlreadyExists" not in str(error)


def _is_absent(error: Exception) -> bool:
    return type(error).__name__ in {"FileNotFoundError", "NotFoundError"}


def _is_condition(error: Exception) -> bool:
    """Tell if the store says that a condition does not hold; a missing object fails If-Match too."""
    return _is_absent(error) or type(error).__name__ in {"AlreadyExistsError", "PreconditionError"}


@functools.cache  # by pid: a forked process has its own
def _client(pid: int, kind: str, root: str, options: bytes) -> Any:
    return buckets.client(kind, root, msgspec.json.decode(options))
