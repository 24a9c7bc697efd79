"""What lineage calls the data of a source: the naming of OpenLineage (a namespace for the store, a name in it), without credentials.

Not here: events (`observe.lineage`). Invariants: users, passwords, queries and fragments of an address never get into a name; a part
that is not known here is called by its name in the config.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

MANY = 20  # places of one source that are named
_PORTS: dict[str, int | str] = {"postgres": 5432, "mysql": 3306}
_FAMILIES = {"postgresql": "postgres", "postgres": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}


class Place(NamedTuple):
    """A dataset as lineage names it."""

    namespace: str
    name: str


def places(part: str, params: Mapping[str, Any], folder: Path, otherwise: Place) -> list[Place]:
    """Give where a source reads from, by its part and its parameters; `otherwise` where that cannot be said."""
    found: list[Place] = []
    if part in ("files", "warc"):
        found = [_file(path, folder) for path in _several(params.get("path"))]
    elif part == "sql":
        found = [_table(params, folder)]
    elif part == "rest":
        found = [_address(params.get("endpoint", ""))]
    elif part == "web":
        found = sorted(set(_sites(params)))
    elif part == "dlt":
        found = [Place("dlt", str(params.get("resource", "")).rpartition("/")[2])]
    named = [place for place in found if place.namespace and place.name]
    return named[:MANY] or [otherwise]


def file_place(path: str | Path, folder: Path) -> Place:
    """Give the place of a file or folder, here or in an object store."""
    return _file(str(path), folder)


def _file(path: str, folder: Path) -> Place:
    if "://" not in path:
        return Place("file", os.path.normpath(folder / Path(path).expanduser()))
    return _address(path)


def _address(url: str) -> Place:
    split = urlsplit(url)
    host = (split.netloc or "").rpartition("@")[2]
    return Place(f"{split.scheme}://{host}", split.path.strip("/") or "/")


def _table(params: Mapping[str, Any], folder: Path) -> Place:
    split = urlsplit(str(params.get("dsn", "")))
    family = split.scheme.partition("+")[0].lower()
    kind = _FAMILIES.get(family, family)
    table = params.get("table")
    what = str(table) if table else f"query-{hashlib.sha256(str(params.get('query')).encode()).hexdigest()[:12]}"
    if kind == "sqlite":
        inside = split.path[1:]
        return Place("file", f"{os.path.normpath(folder / unquote(inside))}/{what}")
    host = f"{split.hostname or 'localhost'}:{_port(split.port, kind)}"
    if kind == "postgres" and table and "." not in what:
        what = f"public.{what}"
    return Place(f"{kind}://{host}", f"{unquote(split.path.strip('/')) or '-'}.{what}") if kind else Place("", "")


def _port(port: int | None, kind: str) -> str:
    return str(port or _PORTS.get(kind, "-"))


def _sites(params: Mapping[str, Any]) -> Iterator[Place]:
    for key in ("urls", "sitemaps", "feeds"):
        for url in _several(params.get(key)):
            if "://" in url:
                yield Place(_address(url).namespace, "/")


def _several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])
