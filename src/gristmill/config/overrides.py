"""`--set KEY=VALUE`: one value of a config changed from the command line.

A key is a dotted path; an item of sources, steps or exports goes by its name, and what follows is one of its
parameters: `steps.filter.length.min_chars=80`, `sources.dumps.path=x`, `gate.min_docs=5`. Not here: checking the
outcome, which is done as if it stood in the file (`config.load`). Invariant: the file is never changed, and a message
about an overridden value names the `--set`, not a line.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gristmill.config.bind import default_name
from gristmill.config.settings import Envelope, SourceEnvelope, StepEnvelope
from gristmill.core import yamlfile
from gristmill.core.errors import ConfigError
from gristmill.core.find import suggestion
from gristmill.core.yamlfile import Document, Keys

ENVELOPES: dict[str, type[Envelope]] = {"sources": SourceEnvelope, "steps": StepEnvelope, "exports": Envelope}


def envelope_keys(kind: str) -> list[str]:
    """Give the keys that stand around a part of this kind."""
    return [field.encode_name for field in msgspec.structs.fields(ENVELOPES[kind])]


def override(document: Document, setting: str) -> Document:
    """Give the document with one `KEY=VALUE` applied; VALUE is YAML.

    Raises:
        ConfigError: there is no `=`, no such item, or VALUE is not YAML.
    """
    key, equals, text = setting.partition("=")
    label = f"--set {key}"
    if not equals or not key:
        raise ConfigError(f"{label}: write KEY=VALUE, such as gate.min_docs=100")
    # Spaces around it would be YAML's anyway; nothing at all is the empty text.
    value: Any = yamlfile.parse(text, label, document.folder).raw if text.strip() else ""
    path: Keys = ()
    node: Any = document.raw
    rest = key.split(".")
    kind = ""
    while rest:
        if isinstance(node, list):
            at, used = _item(node, rest, kind, label)
            path, rest, item = (*path, at), rest[used:], node[at]
            if not rest:
                break
            if isinstance(item, str):
                document = document.replaced(path, {item: {}}, label)
                item = {item: {}}
            if rest[0] not in envelope_keys(kind):
                part = _part_key(item, kind)
                if not part:
                    raise ConfigError(f"{label}: {document.at(path)} holds no part that could have a {rest[0]!r}")
                path, item = (*path, part), item[part]
            node = item
        else:
            if node is not None and not isinstance(node, dict):
                raise ConfigError(f"{label}: what stands at {document.at(path)} has no keys, so no {rest[0]!r}")
            keys = node or {}
            used = next((n for n in range(len(rest), 0, -1) if ".".join(rest[:n]) in keys), 1)
            kind = ".".join(rest[:used])
            path, rest, node = (*path, kind), rest[used:], keys.get(kind)
    return document.replaced(path, value, label)


def _part_key(item: Any, kind: str) -> str:
    if isinstance(item, str):
        return item
    keys = item if isinstance(item, dict) else {}
    return next((key for key in keys if key not in envelope_keys(kind)), "")


def item_names(items: list[Any], kind: str) -> list[str]:
    """Give the names the items of sources, steps or exports go by, as far as the file says them; "" for what is no item."""
    names: list[str] = []
    for item in items:
        part = _part_key(item, kind)
        name = str(item.get("name") or part) if isinstance(item, dict) else part
        name = default_name(name)
        same = sum(1 for other in names if other == name or other.startswith(f"{name}#")) if name else 0
        names.append(f"{name}#{same + 1}" if same else name)
    return names


def _item(items: list[Any], rest: list[str], kind: str, label: str) -> tuple[int, int]:
    """Give the position of the item that the next words name, and how many words that took."""
    names = item_names(items, kind) if kind in ENVELOPES else []
    for n in range(len(rest), 0, -1):
        if ".".join(rest[:n]) in names:
            return names.index(".".join(rest[:n])), n
    if rest[0].isdecimal() and int(rest[0]) < len(items):
        return int(rest[0]), 1
    what = ".".join(rest[:-1]) or rest[0]
    meant = suggestion(what, names)
    there = ", ".join(name for name in names if name) or f"{len(items)} values, counted from 0"
    raise ConfigError(f"{label}: there is no {what!r} in {kind}{meant or ';'} it holds {there}")
