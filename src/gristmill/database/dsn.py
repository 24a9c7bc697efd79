"""Where a database is: the DSN read, its family told, and its secrets kept out of what is shown.

Not here: connecting (`connect`). Invariants: a DSN or a password never leaves in a message, a split or a state; the
lane of a database is a digest of where it is, without who asks.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote, urlsplit

import msgspec

from gristmill.core.errors import ConfigError
from gristmill.core.references import secrets_of

Family: TypeAlias = Literal["postgresql", "sqlite", "other"]

_SCHEME = re.compile(r"([a-z][a-z0-9]*)(?:\+[a-z0-9_]+)?://", re.IGNORECASE)
_POSTGRESQL = {"postgresql", "postgres"}


class Dsn(msgspec.Struct, frozen=True):
    """A database address. url: as its driver wants it, with its secrets; secrets: texts that may never be shown."""

    family: Family
    url: str
    lane: str
    secrets: tuple[str, ...]

    def hide(self, message: str) -> str:
        """Give the message without this database's secrets."""
        for secret in self.secrets:
            message = message.replace(secret, "***")
        return message


def family_of(dsn: str) -> Family:
    """Tell which way a DSN is read.

    Raises:
        ConfigError: it is no DSN.
    """
    scheme = _SCHEME.match(dsn)
    if not scheme:
        raise ConfigError(
            "dsn: not of the form postgresql://user@host/database, sqlite:///path or mysql+pymysql://user@host/database"
        )
    name = scheme[1].lower()
    return "postgresql" if name in _POSTGRESQL else "sqlite" if name == "sqlite" else "other"


def parse(dsn: str, folder: Path) -> Dsn:
    """Read a DSN; a SQLite path is relative to `folder` unless it begins with a fourth slash.

    Raises:
        ConfigError: it is none, or one of an SQLite database in memory.
    """
    family = family_of(dsn)
    rest = dsn.partition("://")[2]
    if family == "sqlite":
        path = rest.removeprefix("/").partition("?")[0]
        if not path or path == ":memory:" or not rest.startswith("/"):
            raise ConfigError(
                "dsn: SQLite needs the path of a file: sqlite:///articles.db, or sqlite:////data/articles.db"
            )
        full = (folder / unquote(path)).resolve()
        return Dsn(family, str(full), _lane(family, str(full)), ())
    try:
        parts = urlsplit(dsn)
        place = f"{parts.hostname}:{parts.port}{parts.path}?{_without_secrets(parts.query)}"
    except ValueError as error:
        raise ConfigError("dsn: cannot be read; encode special characters of the password as %XX") from error
    secrets = [dsn, rest, parts.netloc if "@" in parts.netloc else "", parts.password or ""]
    secrets += [unquote(parts.password or ""), *secrets_of(parts.query)]
    url = f"postgresql://{rest}" if family == "postgresql" else dsn
    hidden = tuple(sorted({text for text in secrets if len(text) > 2}, key=lambda text: (-len(text), text)))
    return Dsn(family, url, _lane(family, place), hidden)


def sqlite_uri(path: str) -> str:
    """Give the read-only URI of an SQLite file."""
    return f"file:{quote(path)}?mode=ro"


def with_options(url: str, options: dict[str, str]) -> str:
    """Give the URL with these query options, those it has already left alone."""
    added = [f"{key}={quote(value)}" for key, value in options.items() if f"{key}=" not in url.partition("?")[2]]
    if not added:
        return url
    return url + ("&" if "?" in url else "?") + "&".join(added)


def _without_secrets(query: str) -> str:
    return "&".join(f"{part.partition('=')[0]}=" if secrets_of(part) else part for part in query.split("&"))


def _lane(family: str, place: str) -> str:
    return f"sql-{hashlib.blake2b(f'{family}/{place}'.encode(), digest_size=6).hexdigest()}"
