"""The catalogue of a config: its sources, steps and exports with who answers for them, and the table that comes out.

Not here: laying it out (`console.catalogue`), what runs made (`dataset`). Invariants: a value that came by reference stands in it as
written, so no secret does; equal configs give equal catalogues.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gristmill.config import changes
from gristmill.config.settings import PipelineConfig
from gristmill.core import params
from gristmill.core.batch import TABLE_SCHEMA

COLUMNS = {
    "id": "<source>/<own key>, or <source>/<file>#<place>",
    "text": "the text, as the last step left it",
    "source": "the source's name",
    "origin": "where it was read: <file, URL or listing>#<place>",
    "url": "address of the document",
    "time": "when the document was made, as its source says",
    "fetched_at": "when it was fetched",
    "lang": "language",
    "script": "script",
    "lang_score": "how sure the language is",
    "license": "licence of the document, else of its source",
    "meta": "JSON text of every other field",
    "content_hash": "of the record as it was read, 16 bytes",
    "ord": "place in the total order: run, task, row",
    "seq": "the snapshot that published it",
}


def catalogue(config: PipelineConfig) -> dict[str, Any]:
    """Give the catalogue as plain values."""
    return {
        "dataset": config.written.dataset or config.dataset,
        "description": config.description,
        "sources": [
            _about(config, "sources", source, source.source)
            | {
                "license": source.license,
                "on_error": source.on_error,
                "freshness": _duration(source.freshness_s),
                "steps": [_step(config, step) for step in source.steps],
            }
            for source in config.sources
        ],
        "steps": [*(_step(config, step) for step in config.steps), _step(config, config.require)],
        "exports": [_about(config, "exports", each, each.export) for each in config.exports],
        "gate": msgspec.to_builtins(config.gate),
        "tests": [example.name for example in config.tests],
        "table": [
            {
                "name": field.name,
                "type": str(field.type),
                "nullable": field.nullable,
                "description": COLUMNS[field.name],
            }
            for field in TABLE_SCHEMA
        ],
    }


def _step(config: PipelineConfig, bound: Any) -> dict[str, Any]:
    return _about(config, "steps", bound, bound.step) | {"license": bound.license}


def _about(config: PipelineConfig, kind: str, bound: Any, part: msgspec.Struct) -> dict[str, Any]:
    cls = type(part)
    key = "require" if bound is config.require else f"{kind}.{bound.name}"
    written, docs = changes.as_written(config, key, part), params.field_docs(cls)
    fields = [
        {
            "name": field.encode_name,
            "value": written.get(field.encode_name),
            "default": getattr(part, field.name) == _default(field),
            "description": docs.get(field.encode_name, ""),
        }
        for field in msgspec.structs.fields(cls)
    ]
    return {
        "name": bound.name,
        "part": bound.part,
        "summary": _summary(cls),
        "description": bound.description,
        "owner": bound.owner,
        "parameters": fields,
    }


def _default(field: msgspec.structs.FieldInfo) -> Any:
    """Give what a field is if nobody says; of one that must be said, what nothing equals."""
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else msgspec.NODEFAULT


def _summary(cls: type[msgspec.Struct]) -> str:
    """Give the first sentence a part says of itself."""
    first = " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())
    return first.partition(". ")[0].removesuffix(".") + "." if first else ""


def _duration(seconds: int | None) -> str:
    """Give `36h` for its seconds, `` for none."""
    if seconds is None:
        return ""
    for unit, size in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
