"""Files at any other place that fsspec knows (hf://, sftp://, ...), for reading, behind the one small interface.

Not here: the big object stores (`objects`), HTTP (`httpfiles`). Breadth at a price: what a file system says of its files
differs, so the content is known by an ETag or blob id where it gives one, else by size, time and a sample. Invariants: a folder that
cannot be listed fails the listing (fsspec's own way is to leave it out in silence); an SSH host must be in a known_hosts
file (fsspec's own way is to trust any); whatever a file system raises becomes one of our errors, without its words, which may
hold a secret; its connections are closed with the place.
"""

from __future__ import annotations

import errno
import io
import socket
import weakref
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar, cast

from gristmill.core.errors import ConfigError, MissingExtra, SourceError, Transient
from gristmill.core.places import Found, Listing, Looked, Options, common_folder, key_glob

T = TypeVar("T")

_ETAGS = ("ETag", "etag", "e_tag", "blob_id", "md5")
_TIMES = ("mtime", "LastModified", "last_modified", "created")
_SSH = {"sftp", "ssh"}
_QUESTION, _HASH = "\ue000", "\ue001"
_AWAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}


class Remote:
    """The files of one fsspec file system: a `Place`. A path is a URL without secrets."""

    pins: ClassVar[bool] = False
    base: ClassVar[str] = ""

    def __init__(self, scheme: str, globs: list[str], options: Options) -> None:
        """Take the globs and how to reach them; nothing is connected to yet.

        Raises:
            ConfigError: fsspec does not know the scheme, or a glob cannot be used.
            MissingExtra: what the scheme needs is not installed.
        """
        try:
            import fsspec  # type: ignore[import-untyped]
        except ImportError:
            raise MissingExtra(f'path "{scheme}://…" needs fsspec; pip install "gristmill[stores]"') from None
        try:
            kind = fsspec.get_filesystem_class(scheme)
        except ValueError:
            known = ", ".join(sorted({"s3", "gs", "az", "https", "file", *fsspec.available_protocols()}))
            raise ConfigError(f'path "{scheme}://…": no such scheme; known: {known}') from None
        except ImportError as error:
            raise MissingExtra(f'path "{scheme}://…" needs what is not installed: {error}') from None
        told = [_parts(kind, scheme, glob) for glob in globs]
        if any(one[1].get("password") for one in told):
            raise ConfigError(
                f'path "{scheme}://…": it has a password in it; give it as storage: {{password: "${{env:…}}"}}'
            )
        if any(one[1:] != told[0][1:] for one in told):
            raise ConfigError(f"path: several hosts of {scheme} in one source; give each a source of its own")
        self._kind, self._options, self._scheme = kind, options, scheme
        self._inner = {glob: one[0] for glob, one in zip(globs, told, strict=True)}
        self._address, self._prefix = told[0][1], told[0][2]
        self._fs: Any = None

    def list(self, globs: list[str]) -> Listing:
        """Give the files that match, as `core.places.list_local` matches names.

        Raises:
            SourceError: the listing did not come to its end, so nobody can say what is gone.
            Transient: and it may another time.
        """
        cut = [key_glob(self._inner[glob]) for glob in globs]
        root = common_folder([head for head, _ in cut])
        seen: dict[str, Found] = {}
        failed = set()
        for head, pattern in dict.fromkeys(cut):
            for name, info in self._told(head, partial(self._below, head), listing=True):
                tail = name if head.startswith("/") else name.removeprefix("/")
                if not tail.startswith(head) or not pattern.fullmatch(tail, len(head)):
                    continue
                if info.get("type") == "link":
                    detail = "a link to a folder or to nothing; such links are not followed here"
                    failed.add((tail[len(root) :], "file.unreadable", detail))
                else:
                    seen[tail] = Found(tail[len(root) :], self._prefix + tail, *_looked(info))
        return Listing(sorted(seen.values()), sorted(failed))

    def _below(self, head: str) -> Iterable[tuple[str, dict[str, Any]]]:
        """Give all files below a folder, with what is known of each; none if there is no such folder."""
        from fsspec import AbstractFileSystem

        fs = self._system()
        fs.invalidate_cache()
        folder = head.rstrip("/") or "/"
        try:
            if type(fs).find is not AbstractFileSystem.find:
                return cast("dict[str, Any]", fs.find(folder, detail=True)).items()
            todo = [fs.ls(folder, detail=True)]
        except FileNotFoundError:
            return []
        files = []
        while todo:  # fsspec's own walk leaves out, without a word, what it cannot list (2026.9, tried)
            for entry in todo.pop():
                name = entry["name"].rstrip("/")
                if entry["type"] == "directory":
                    todo.append(fs.ls(name, detail=True))
                    continue
                files.append((name, entry | _target(fs, name) if entry["type"] == "link" else entry))
        return files

    def look(self, path: str) -> Looked:
        """Say what a file is now. Raises OSError, SourceError or Transient."""

        def ask() -> Looked:
            fs = self._system()
            fs.invalidate_cache()
            return _looked(fs.info(path.removeprefix(self._prefix)))

        return self._told(path, ask)

    def open(self, path: str, etag: str = "", size: int | None = None) -> BinaryIO:
        """Open a file. Raises OSError, SourceError or Transient."""
        del etag, size  # there is no common way to ask for a version
        file = self._told(path, lambda: self._system().open(path.removeprefix(self._prefix), "rb"))
        return cast("BinaryIO", _Guarded(file, lambda ask: self._told(path, ask)))

    def _system(self) -> Any:
        if self._fs is None:
            options = _ssh_options(self._options) if self._scheme in _SSH else self._options
            self._fs = self._kind(**(self._address | options), skip_instance_cache=True)
            weakref.finalize(self, _close, self._fs)
        return self._fs

    def _told(self, what: str, ask: Callable[[], T], *, listing: bool = False) -> T:
        """Give what `ask` gives; what it raises becomes OSError (of a file), SourceError or Transient."""
        place = what if "://" in what else self._prefix + what
        try:
            return ask()
        except (SourceError, ConfigError):
            raise
        except (ConnectionError, TimeoutError, EOFError, socket.gaierror) as error:
            self._fs = None  # the next try connects anew
            raise Transient(f"{place} cannot be reached now ({type(error).__name__})") from None
        except OSError as error:
            if type(error).__name__ == "NoValidConnectionsError" or error.errno in _AWAY:
                raise Transient(f"{place} cannot be reached now ({type(error).__name__})") from None
            if not listing:
                raise
            raise SourceError(
                f"{place} cannot be listed ({error.strerror or type(error).__name__}): nobody can say which of its files "
                "are gone; allow reading it, or give a path that leaves it out"
            ) from None
        except TypeError as error:
            raise ConfigError(
                f"storage: an option does not fit {self._scheme} ({', '.join(sorted(self._options))})"
            ) from error
        except Exception as error:
            self._fs = None
            passing = type(error).__name__ in {"SSHException", "ChannelException"}
            why = f"{place} cannot be {'listed' if listing else 'read'} ({type(error).__name__})"
            raise (Transient(why) if passing else SourceError(why)) from None


class _Guarded(io.RawIOBase):
    """A file whose errors are ours."""

    def __init__(self, file: Any, told: Callable[[Callable[[], Any]], Any]) -> None:
        super().__init__()
        self._file, self._told = file, told

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._told(lambda: self._file.seek(offset, whence))
        return self.tell()

    def read(self, size: int | None = -1, /) -> bytes:
        return bytes(self._told(lambda: self._file.read(-1 if size is None else size)))

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()


def _parts(kind: Any, scheme: str, glob: str) -> tuple[str, dict[str, Any], str]:
    """Give the path inside a file system, what its URL says of where that is, and what stands before the path."""
    kept = glob.replace("?", _QUESTION).replace("#", _HASH)  # no parts of a URL here
    inner = str(kind._strip_protocol(kept))  # noqa: SLF001 - how fsspec's own url_to_fs does it
    told = dict(kind._get_kwargs_from_urls(kept))  # noqa: SLF001
    prefix = kept.removesuffix(inner) if kept.endswith(inner) else f"{scheme}://"
    return inner.replace(_QUESTION, "?").replace(_HASH, "#"), told, prefix


def _ssh_options(options: Options) -> dict[str, Any]:
    """Give the options of an SSH connection; the host must be known."""
    import paramiko  # type: ignore[import-untyped]

    known = Path(str(options.get("known_hosts", "~/.ssh/known_hosts"))).expanduser()

    class KnownHosts(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            del client
            if not known.is_file() or not paramiko.HostKeys(str(known)).check(hostname, key):
                raise SourceError(
                    f"the SSH host {hostname} shows a key ({key.get_name()}) that is not in {known}; add it there, by "
                    "ssh-keyscan, after checking it, or name another file as storage: {known_hosts: …}"
                )

    asked = {name: value for name, value in options.items() if name not in {"known_hosts", "host_key_policy"}}
    timeouts = {"timeout": 30, "banner_timeout": 30, "auth_timeout": 30}
    return timeouts | asked | {"host_key_policy": KnownHosts()}


def _target(fs: Any, name: str) -> dict[str, Any]:
    """Give what a link to a file leads to; nothing for one to a folder or to nowhere."""
    try:
        info = cast("dict[str, Any]", fs.info(name))
    except FileNotFoundError:
        return {}
    return info if info["type"] == "file" else {}


def _close(fs: Any) -> None:
    """End the connections of a file system that has some."""
    for name in ("ftp", "client"):
        close = getattr(getattr(fs, name, None), "close", None)
        if callable(close):
            close()


def _looked(info: dict[str, Any]) -> Looked:
    etag = next((str(info[name]) for name in _ETAGS if info.get(name)), "")
    value = next((info[name] for name in _TIMES if info.get(name)), 0)
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    mtime_ns = int(float(value) * 1e6) * 1000 if isinstance(value, int | float) else 0
    return Looked(int(info.get("size") or 0), mtime_ns, etag)
