"""A config out of several files and an overlay: `include:` and `overlays:` laid over each other, before anything is checked.

What is above is laid over what is below: mappings key by key, the items of sources, steps and exports by their names (a new name
is added at the end), all else as a whole. Included files lie below the file that names them, the chosen overlay above all files,
`--set` above that (`config.overrides`). Not here: YAML (`core.yamlfile`), checking the outcome (`config.load`). Invariants: every
value keeps the file, line and column it was written at; the same files and the same name give the same config in every process;
what all files hold together is capped as one file is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gristmill.config.overrides import ENVELOPES, envelope_keys, item_names
from gristmill.config.settings import ConfigFile
from gristmill.core import yamlfile
from gristmill.core.errors import ConfigError
from gristmill.core.find import suggestion
from gristmill.core.yamlfile import MAX_NODES, Document, Keys

MAX_FILES = 50
MAX_DEPTH = 8
OVERLAY = "overlay"
NOT_IN_OVERLAY = {"version", "include", OVERLAY, "overlays"}


class Node(NamedTuple):
    """A value with the place it was written at, and its key's. value: a scalar, or a dict or list of nodes."""

    value: Any
    file: str
    at: tuple[int, int]
    key: tuple[int, int] | None = None

    @property
    def place(self) -> str:
        """`file:line:column` of the value."""
        return f"{self.file}:{self.at[0]}:{self.at[1]}"

    @property
    def key_place(self) -> str:
        """The same of its key."""
        line, column = self.key or self.at
        return f"{self.file}:{line}:{column}"


def read(path: Path, shown: str) -> Node:
    """Read a config file and all it includes.

    Raises:
        ConfigError: a file cannot be read, is not YAML, or includes itself.
    """
    return _Files().read(path, shown, ())


class _Files:
    """Reads files, and counts them."""

    def __init__(self) -> None:
        self.files = self.nodes = 0

    def read(self, path: Path, shown: str, chain: tuple[Path, ...]) -> Node:
        document = yamlfile.read(path, shown)
        root = _grown(document, document.raw, ())
        self.files, self.nodes = self.files + 1, self.nodes + len(document.values)
        if self.nodes > MAX_NODES:
            raise ConfigError(
                f"{shown}:1:1: with this file the config holds more than {MAX_NODES} values; it names data, it does not hold it"
            )
        if not isinstance(root.value, dict):
            if chain:
                raise ConfigError(f"{root.place}: an included file is a mapping, with keys of a config")
            return root
        below = Node({}, root.file, root.at)
        chain = (*chain, path.resolve())
        for item in _named(root.value.pop("include", None)):
            below = lay(below, self._included(item, path, chain))
        return lay(below, root)

    def _included(self, item: Node, path: Path, chain: tuple[Path, ...]) -> Node:
        if not isinstance(item.value, str) or not item.value or "${" in item.value:
            raise ConfigError(
                f"{item.place}: include names files, from this file's folder on: a path, or a list of them"
            )
        if "://" in item.value:  # the rest of it may hold a token
            raise ConfigError(
                f"{item.place}: include reads files of this machine, not {item.value.partition('://')[0]}://…; fetch that one "
                "before, and name the file"
            )
        target = path.parent / item.value
        shown = os.path.normpath(Path(item.file).parent / item.value)
        if not target.is_file():
            raise ConfigError(f"{item.place}: there is no file {shown!r} to include")
        if target.resolve() in chain:
            way = " -> ".join(each.name for each in (*chain[chain.index(target.resolve()) :], target.resolve()))
            raise ConfigError(f"{item.place}: this file includes itself: {way}")
        if len(chain) > MAX_DEPTH or self.files >= MAX_FILES:
            raise ConfigError(
                f"{item.place}: more than {MAX_FILES} files, or {MAX_DEPTH} of them inside each other, are included"
            )
        return self.read(target, shown, chain)


def _named(node: Node | None) -> list[Node]:
    if node is None or node.value is None:
        return []
    return node.value if isinstance(node.value, list) else [node]


def lay(below: Node, above: Node, kind: str = "") -> Node:
    """Lay one value over another. kind: `sources`, `steps` or `exports` where that is what the lists hold."""
    if kind and isinstance(below.value, list) and isinstance(above.value, list):
        return above._replace(value=_items(below, above, kind))
    if not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return above
    laid = dict(below.value)
    for key, node in above.value.items():
        inner = key if key in ENVELOPES else ""
        laid[key] = lay(laid[key], node, inner) if key in laid else node
    return above._replace(value=laid)


def _items(below: Node, above: Node, kind: str) -> list[Node]:
    """Lay the items of a list over those of the same name; those of new names come at the end."""
    items = list(below.value)
    names = item_names(_plain(below), kind)
    for node, name in zip(above.value, item_names(_plain(above), kind), strict=True):
        if name and name in names:
            at = names.index(name)
            items[at] = _item(items[at], node, kind)
        else:
            items.append(node)
            names.append(name)
    return items


def _item(below: Node, above: Node, kind: str) -> Node:
    """Lay one item over another; where it holds another part, that takes the place of the part below."""
    low, high = _opened(below), _opened(above)
    if low is None or high is None:
        return above
    around = envelope_keys(kind)
    part, instead = ([key for key in item.value if key not in around] for item in (low, high))
    if instead and instead != part:
        low = low._replace(value={key: node for key, node in low.value.items() if key in around})
    return lay(low, high)


def _opened(node: Node) -> Node | None:
    if isinstance(node.value, str):
        return node._replace(value={node.value: node._replace(value=None, key=node.at)})
    return node if isinstance(node.value, dict) else None


def names(root: Node) -> list[str]:
    """Give the names of the overlays there are."""
    held = root.value.get("overlays") if isinstance(root.value, dict) else None
    return list(held.value) if held is not None and isinstance(held.value, dict) else []


def overlaid(root: Node, asked: Sequence[str]) -> Node:
    """Give the config with the chosen overlay on it, and without all overlays.

    Args:
        root: what the files hold.
        asked: the names that were asked for outside of the files; the last one counts, an empty one is none.

    Raises:
        ConfigError: there is no such overlay, or an overlay is none.
    """
    if not isinstance(root.value, dict):
        return root
    kept = dict(root.value)
    held, default = kept.pop("overlays", None), kept.pop(OVERLAY, None)
    overlays: dict[str, Node] = held.value if held is not None and isinstance(held.value, dict) else {}
    if held is not None and held.value is not None and not isinstance(held.value, dict):
        raise ConfigError(
            f"{held.place}: overlays is a mapping: a name, and below it the keys of the config that are other there"
        )
    for each, overlay in overlays.items():
        _check(each, overlay)
    name, place = (default.value, default.place) if default is not None else (None, "")
    if asked:
        name, place = asked[-1], f"--overlay {asked[-1]}"
    if name in (None, ""):
        return root._replace(value=kept)
    if not isinstance(name, str) or name not in overlays:
        meant = suggestion(str(name), list(overlays)) or ";"
        raise ConfigError(f"{place}: there is no overlay {name!r}{meant} overlays: {', '.join(overlays) or 'none'}")
    chosen = dict(overlays[name].value)
    for kind, without in _without(chosen.pop("without", None)):
        kept[kind] = _removed(kept.get(kind), kind, without)
    return lay(root._replace(value=kept), overlays[name]._replace(value=chosen))


def _check(name: str, overlay: Node) -> None:
    keys = [field.encode_name for field in msgspec.structs.fields(ConfigFile)]
    known = [key for key in keys if key not in NOT_IN_OVERLAY] + ["without"]
    if not isinstance(overlay.value, dict):
        raise ConfigError(f"{overlay.place}: the overlay {name!r} is a mapping of keys of the config")
    for key, node in overlay.value.items():
        if key not in known:
            raise ConfigError(
                f"{node.key_place}: {key!r} cannot stand in an overlay{suggestion(key, known) or ';'} keys: {', '.join(known)}"
            )


def _without(node: Node | None) -> list[tuple[str, list[Node]]]:
    """Give what an overlay takes out: kind and names."""
    if node is None or node.value is None:
        return []
    sets = node.value.items() if isinstance(node.value, dict) else ()
    if not isinstance(node.value, dict) or any(
        kind not in ENVELOPES or not isinstance(names.value, list) for kind, names in sets
    ):
        raise ConfigError(
            f"{node.place}: without holds names by kind, such as exports: [warehouse]; kinds: {', '.join(ENVELOPES)}"
        )
    return [(kind, names.value) for kind, names in sets]


def _removed(items: Node | None, kind: str, without: list[Node]) -> Node:
    listed = items if items is not None and isinstance(items.value, list) else None
    names = item_names(_plain(listed), kind) if listed is not None else []
    for each in without:
        if each.value not in names:
            meant = _plain(each)
            raise ConfigError(
                f"{each.place}: there is no {meant!r} in {kind}{suggestion(str(meant), names) or ';'} it holds {', '.join(names) or 'nothing'}"
            )
    gone = {each.value for each in without}
    if listed is None:  # then nothing is taken out of it
        return Node([], "", (1, 1))
    return listed._replace(value=[node for node, name in zip(listed.value, names, strict=True) if name not in gone])


# --- between documents and nodes -----------------------------------------------------------------------------------


def _grown(document: Document, raw: Any, path: Keys) -> Node:
    value = raw
    if isinstance(raw, dict):
        value = {key: _grown(document, item, (*path, key)) for key, item in raw.items()}
    elif isinstance(raw, list):
        value = [_grown(document, item, (*path, at)) for at, item in enumerate(raw)]
    return Node(value, document.file, document.values.get(path, (1, 1)), document.keys.get(path))


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(item) for key, item in node.value.items()}
    return [_plain(item) for item in node.value] if isinstance(node.value, list) else node.value


def document(root: Node, file: str, folder: Path) -> Document:
    """Give what was laid together as one document, in which each value still has its own place."""
    keys: dict[Keys, tuple[int, int]] = {}
    values: dict[Keys, tuple[int, int]] = {}
    files: dict[Keys, str] = {}
    todo: list[tuple[Keys, Node]] = [((), root)]
    while todo:
        path, node = todo.pop()
        values[path] = node.at
        if node.key is not None:
            keys[path] = node.key
        if node.file != file:
            files[path] = node.file
        inner = (
            node.value.items()
            if isinstance(node.value, dict)
            else enumerate(node.value)
            if isinstance(node.value, list)
            else ()
        )
        todo += [((*path, key), item) for key, item in inner]
    raw = _plain(root)
    return Document(file=file, folder=folder, raw=raw, value=raw, keys=keys, values=values, files=files)
