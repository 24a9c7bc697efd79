"""Object stores, for reading (S3, GCS, Azure, by obstore), and which place the globs of a source mean: `place_for`.

Not here: this machine's files (`core.files.Local`), HTTP addresses (`httpfiles`), other schemes (`remote`). Keys are taken as
they are written, never decoded. The address of a store and its credentials come from the config or from the standard
environment of the cloud, never from data, so that no guard stands before them. Invariants: one source reads one place; a listing
is whole or raises; each range that is read is of the version that was listed (ETag, asked for and looked at), or
`Replaced` is raised; no message, path or plan holds a credential: what a server answers is not quoted, only its status.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NoReturn, TypeVar, cast

from gristmill.core.buckets import KINDS, client, quoted, why
from gristmill.core.errors import ConfigError, SourceError, Transient
from gristmill.core.files import Local
from gristmill.core.places import (
    Found,
    Listing,
    Looked,
    Options,
    Place,
    Replaced,
    common_folder,
    key_glob,
    number_option,
)
from gristmill.net.ranges import RangeFile
from gristmill.net.s3keys import S3Keys, spellable

T = TypeVar("T")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]*)://")
_PAUSES_S = (0.5, 2.0)  # between our own tries of a range; obstore has tried each request before


def place_for(globs: list[str], folder: Path, options: Options) -> Place:
    """Give the place where `globs` lie, which are seen from `folder` if they are local. options: how to reach a store.

    Raises:
        ConfigError: they lie in several places, or the place cannot be used; names the option that is wrong.
    """
    schemes = {found[1].lower() if (found := _SCHEME.match(glob)) else "file" for glob in globs}
    if len(schemes) > 1:
        raise ConfigError(f"path: {', '.join(sorted(schemes))} in one source; give each place a source of its own")
    scheme = schemes.pop()
    if scheme == "file":
        return Local(folder)
    if scheme in {"http", "https"}:
        from gristmill.net.httpfiles import HttpFiles

        return HttpFiles(globs, options)
    if scheme not in KINDS:
        from gristmill.net.remote import Remote

        return Remote(scheme, globs, options)
    roots = {glob.partition("://")[2].partition("/")[0] for glob in globs}
    for root in roots:
        if "@" in root and not scheme.startswith("abfs"):
            raise ConfigError(
                f'path "{scheme}://…": it has credentials in it; give them as storage: {{…: "${{env:…}}"}}'
            )
    if len(roots) > 1:
        raise ConfigError(f"path: {', '.join(sorted(roots))} in one source; give each bucket a source of its own")
    root = roots.pop()
    if not root or not all(_key(glob) for glob in globs):
        raise ConfigError(f'path "{globs[0]}": write {scheme}://BUCKET/path/or/glob')
    odd = S3Keys(root, options) if KINDS[scheme] == "s3" else None
    pauses_s = _PAUSES_S if number_option(options, "retries", 6) else ()
    return Objects(client(KINDS[scheme], root, options), f"{scheme}://{root}/", odd, pauses_s)


def _key(url: str) -> str:
    return url.partition("://")[2].partition("/")[2]


class Objects:
    """The objects of one bucket or container: a `Place`. base_url: `s3://bucket/`; a path is that and the key.

    odd: reads keys that obstore cannot spell, where that can be done. pauses_s: between further tries of what failed.
    """

    pins: ClassVar[bool] = True
    base: ClassVar[str] = ""

    def __init__(
        self, store: Any, base_url: str, odd: S3Keys | None = None, pauses_s: tuple[float, ...] = _PAUSES_S
    ) -> None:
        self._store, self._base_url, self._odd, self._pauses_s = store, base_url, odd, pauses_s

    def list(self, globs: list[str]) -> Listing:
        """Give the objects whose keys match, as `core.places.list_local` matches names.

        Raises:
            SourceError: the listing did not come to its end, so nobody can say what is gone.
            Transient: and it may another time.
        """
        cut = [key_glob(_key(glob)) for glob in globs]
        root = common_folder([head for head, _ in cut])
        seen: dict[str, Found] = {}
        for head, pattern in dict.fromkeys(cut):
            matching = {
                key: Found(key[len(root) :], self._base_url + key, *looked)
                for key, looked in self._whole(head)
                if key.startswith(head) and pattern.fullmatch(key, len(head))
            }
            seen |= matching
        return Listing(sorted(seen.values()), [])

    def _whole(self, head: str) -> Iterator[tuple[str, Looked]]:
        """Give all keys of a folder; from the start again after a passing failure, so that some come twice."""
        for pause_s in (*self._pauses_s, None):
            try:
                yield from self._below(head)
            except SourceError:
                raise
            except Exception as error:  # obstore's have no common base: some are builtins
                if pause_s is None or not why(error)[1]:
                    self._not_listed(head, error)
                time.sleep(pause_s)
            else:
                return

    def _below(self, head: str) -> Iterator[tuple[str, Looked]]:
        """Give all keys of a folder, and what they are."""
        import obstore

        if spellable(head.rstrip("/") or "any"):
            try:
                for metas in obstore.list(self._store, head.rstrip("/") or None, chunk_size=1000):
                    for meta in metas:
                        yield meta["path"], _looked(meta)
                return  # noqa: TRY300 - an else would be far from its try
            except Exception as error:
                if type(error).__name__ != "InvalidPathError" or self._odd is None:
                    raise
        if self._odd is not None:
            yield from self._odd.list(head)

    def _not_listed(self, head: str, error: Exception) -> NoReturn:
        where = f"{self._base_url}{head}"
        if type(error).__name__ == "InvalidPathError":
            raise SourceError(
                f"{where} holds a key that cannot be spelled ({_bad_key(error)}), and the listing ends there; rename that "
                "object, or give a path that leaves its folder out"
            ) from None
        told, passing = why(error)
        if passing:
            raise Transient(f"{where} cannot be listed now ({told})") from None
        raise SourceError(
            f"{where} cannot be listed ({told}): nobody can say which of its files are gone; check the bucket's name, "
            "storage: (region, endpoint, keys) and the right to list"
        ) from None

    def look(self, path: str) -> Looked:
        """Say what an object is now. Raises OSError or Transient."""
        import obstore

        odd = self._odd
        if odd is not None and not spellable(path.removeprefix(self._base_url)):
            return self._tried(path, odd.look)
        return _looked(self._tried(path, lambda key: obstore.head(self._store, key)))

    def open(self, path: str, etag: str = "", size: int | None = None) -> BinaryIO:
        """Open an object; nothing is fetched before the first read if its size is known."""
        total = self.look(path).size if size is None else size
        return cast("BinaryIO", RangeFile(lambda start, end: self._range(path, etag, start, end), total))

    def _range(self, path: str, etag: str, start: int, end: int) -> bytes:
        import obstore

        odd = self._odd

        def get(key: str) -> bytes:
            if odd is not None and not spellable(key):
                return odd.get(key, start, end, etag)
            options: dict[str, Any] = {"range": (start, end)}
            if etag and not etag.startswith("W/"):  # a weak one never matches (RFC 9110, 13.1.1)
                options["if_match"] = etag
            answer = obstore.get(self._store, key, options=cast("Any", options))
            if etag and quoted(answer.meta["e_tag"] or "") != etag:
                raise Replaced(path)
            return bytes(answer.bytes())

        data = self._tried(path, get)
        if len(data) != end - start:
            raise Transient(f"{path}: {len(data)} bytes came for a range of {end - start}")
        return data

    def _tried(self, path: str, ask: Callable[[str], T]) -> T:
        """Ask for an object; again after a passing failure."""
        for pause_s in (*self._pauses_s, None):
            try:
                return ask(path.removeprefix(self._base_url))
            except (FileNotFoundError, SourceError):
                raise
            except Exception as error:
                if type(error).__name__ == "PreconditionError":
                    raise Replaced(path) from None
                told, passing = why(error)
                if not passing:
                    raise OSError(told) from None
                if pause_s is None:
                    raise Transient(f"{path} cannot be read now ({told})") from None
                time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")


def _looked(meta: Any) -> Looked:
    return Looked(meta["size"], int(meta["last_modified"].timestamp() * 1e6) * 1000, quoted(meta["e_tag"] or ""))


def _bad_key(error: Exception) -> str:
    found = re.search(r'path: "((?:[^"\\]|\\.){1,200})', str(error))
    return f'"{found[1]}"' if found else "its name is not known"
