"""The JSON Schema of a config file, for editors: made from the structs of the config and of every part there is.

Not here: checking a config (`config.load` does, and says more). Invariant: nothing is written twice; a new part or
field is in the schema because it is in the code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from gristmill.config.layers import NOT_IN_OVERLAY
from gristmill.config.overrides import ENVELOPES
from gristmill.config.settings import ConfigFile
from gristmill.core import find, params
from gristmill.core.errors import MissingExtra
from gristmill.core.find import Kind

_KINDS: tuple[Kind, ...] = ("sources", "steps", "exports")


def schema() -> dict[str, Any]:
    """Give the schema, JSON Schema 2020-12; imports every part, and describes those whose extra is missing by name only."""
    found = find.parts()
    classes: dict[tuple[Kind, str], type[msgspec.Struct]] = {}
    for part in found:
        try:
            classes[part.kind, part.name] = find.find(part.kind, part.name, Path())
        except MissingExtra:
            continue
    structs: list[type[msgspec.Struct]] = [ConfigFile, *ENVELOPES.values(), *classes.values()]
    references, definitions = params.components(structs)
    reference = dict(zip([id(cls) for cls in structs], references, strict=True))

    def definition(cls: type[msgspec.Struct]) -> dict[str, Any]:
        found_one: dict[str, Any] = definitions[reference[id(cls)]["$ref"].removeprefix("#/$defs/")]
        return found_one

    for kind in _KINDS:
        properties: dict[str, Any] = {}
        for part in found:
            if part.kind == kind:
                own = classes.get((kind, part.name))
                properties[part.name] = _part(part.summary, reference[id(own)] if own else None)
                if own:
                    definition(own).setdefault("description", part.summary)
        around = definition(ENVELOPES[kind])["properties"]
        definitions[f"{kind[:-1]} item"] = _item(kind, around, properties)
    top = definition(ConfigFile)
    for kind in _KINDS:
        top["properties"][kind]["items"] = {"$ref": f"#/$defs/{kind[:-1]} item"}
    if ("steps", "require") in classes:
        top["properties"]["require"] |= {"anyOf": [reference[id(classes["steps", "require"])], {"type": "null"}]}
    top["properties"]["overlays"]["additionalProperties"] = _overlay(top["properties"])
    used = {key: value for key, value in definitions.items() if value is not top}
    for cls in set(ENVELOPES.values()):
        used.pop(reference[id(cls)]["$ref"].removeprefix("#/$defs/"))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        "title": "gristmill.yml",
        "$defs": {key: used[key] for key in sorted(used)},
    }


def _overlay(properties: dict[str, Any]) -> dict[str, Any]:
    """Give the schema of an overlay: any key of the top, with items that need not be whole."""
    items = {"type": "array", "items": {"type": ["object", "string"]}}
    names = {"type": "array", "items": {"type": "string"}}
    inner = {key: value for key, value in properties.items() if key not in NOT_IN_OVERLAY}
    without = {"type": "object", "properties": dict.fromkeys(_KINDS, names), "additionalProperties": False}
    inner |= dict.fromkeys(_KINDS, items) | {"without": without}
    return {"type": "object", "properties": inner, "additionalProperties": False}


def _part(summary: str, reference: dict[str, Any] | None) -> dict[str, Any]:
    if reference is None:
        return {"description": f"{summary} (its extra is not installed here)", "type": ["object", "null"]}
    return {"description": summary, "anyOf": [reference, {"type": "null"}]}


def _item(kind: Kind, around: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    """Give the schema of one item: an envelope around one part, or for a step its bare name."""
    groups = sorted({name.partition(".")[0] for name in properties if "." in name})
    group = f"(?!(?:{'|'.join(groups)})\\.)" if groups else ""
    # A user's own part: a module outside the package, or a file.
    foreign = rf"^(?:{group}[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|.*/.*\.py)$"
    if "steps" in around:
        around = {**around, "steps": {**around["steps"], "items": {"$ref": "#/$defs/step item"}}}
    mapping = {
        "type": "object",
        "properties": {**properties, **around},
        "patternProperties": {foreign: {"type": ["object", "null"]}},
        "additionalProperties": False,
        "minProperties": 1,
    }
    if kind != "steps":
        return mapping
    return {"anyOf": [{"enum": sorted(properties)}, mapping, {"type": "string", "pattern": foreign}]}
