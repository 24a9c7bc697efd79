"""The verb `docs`: a page about a pipeline, for the people who use its dataset.

Not here: what stands in it (`config.catalogue`). Invariants: Markdown that any host shows; what comes from the config is shown as
text, whatever characters are in it; no value of a reference and no document text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gristmill.console import terminal
from gristmill.console.options import Setting
from gristmill.console.session import ASKED, open_pipeline, out, out_json, tell, write
from gristmill.core.errors import ConfigError

_SIGNIFICANT = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")
_COUNTS = ("read", "published", "unchanged", "superseded", "withdrawn", "dropped", "duplicates", "quarantined")


def docs(
    output: Annotated[Path | None, typer.Option(metavar="FILE", show_default=False, help="default: standard output")] = None,
    setting: Setting = None,
) -> None:  # fmt: skip
    """Write a page on the sources, steps and exports of this config."""
    from gristmill.config.catalogue import catalogue

    pipeline = open_pipeline(setting)
    found = catalogue(pipeline.config) | _standing(pipeline.config)
    lines = [terminal.to_json(found)] if ASKED.json else page(found)
    text = pipeline.config.redact(
        "\n".join(lines)
    )  # descriptions and the dataset's place may hold what a reference stood for
    if output is None:
        out(text)
    else:
        write(output, text + "\n")
        if ASKED.json:
            out_json({"path": str(output), "bytes": output.stat().st_size})
        tell(f"{output} is written")


def _standing(config: Any) -> dict[str, Any]:
    """Give the newest snapshot's number, rows, and counts by source; nothing where there is none."""
    import msgspec

    from gristmill.dataset import Dataset

    try:
        head = Dataset.of(config).manifest()
    except ConfigError:
        return {"snapshot": None, "rows": 0, "counts": {}}
    counts = {name: msgspec.to_builtins(each) for name, each in head.sources.items()}
    return {"snapshot": head.seq, "rows": head.rows, "counts": counts}


def page(found: dict[str, Any]) -> Iterator[str]:
    """Give the page line by line."""
    yield "# Catalogue"
    yield from ("", _plain(found["description"])) if found["description"] else ()
    state = f"snapshot {found['snapshot']} with {found['rows']:,} documents" if found["snapshot"] else "no snapshot yet"
    yield from ("", f"Dataset {_code(found['dataset'])}: {state}.", "", "## Sources")
    for source in found["sources"]:
        extra = [("license", source["license"]), ("new at least every", source["freshness"])]
        extra.append(("if it fails", "the others go on" if source["on_error"] == "skip" else "the run stops"))
        yield from _part(source, extra)
        counts = found["counts"].get(source["name"])
        if counts is not None:
            told = {name: counts[name] for name in _COUNTS}
            numbers = {name: sum(n.values()) if isinstance(n, dict) else n for name, n in told.items()}
            shown = ", ".join(f"{name} {n:,}" for name, n in numbers.items() if n)
            yield from ("", f"In snapshot {found['snapshot']}: {shown or 'nothing new'}.")
        if source["steps"]:
            yield from (
                "",
                f"Own steps, before the common ones: {', '.join(_code(step['name']) for step in source['steps'])}.",
            )
            for step in source["steps"]:
                yield from _part(step, [("license", step["license"])], "####")
    yield from ("", "## Steps", "", "In this order, after those of the source.")
    for step in found["steps"]:
        yield from _part(step, [("license", step["license"])])
    yield from ("", "## Exports")
    yield from () if found["exports"] else ("", "None.")
    for export in found["exports"]:
        yield from _part(export, [])
    yield from (
        "",
        "## Gate",
        "",
        "A run that does not meet these publishes nothing.",
        "",
        "| rule | limit |",
        "| --- | --- |",
    )
    yield from (
        f"| {_plain(name)} | {_code(value)} |" for name, value in found["gate"].items() if value not in (None, {})
    )
    yield from ("", "## Table", "", "| column | type | |", "| --- | --- | --- |")
    yield from (
        f"| {_code(each['name'])} | {_plain(each['type'])} | {_plain(each['description'])} |" for each in found["table"]
    )
    if found["tests"]:
        yield from ("", "## Tests", "", *(f"- {_plain(name)}" for name in found["tests"]))


def _part(part: dict[str, Any], more: list[tuple[str, str]], level: str = "###") -> Iterator[str]:
    yield from ("", f"{level} {_plain(part['name'])}", "")
    yield f"{_code(part['part'])}: {_plain(part['summary'])}" + (
        f" {_plain(part['description'])}" if part["description"] else ""
    )
    facts = [(name, value) for name, value in [("owner", part["owner"]), *more] if value]
    if facts:
        yield from ("", *(f"- {name}: {_plain(value)}" for name, value in facts))
    given = [each for each in part["parameters"] if not each["default"]]
    if given:
        yield from ("", "| parameter | value | |", "| --- | --- | --- |")
        yield from (
            f"| {_code(each['name'])} | {_code(each['value'])} | {_plain(each['description'])} |" for each in given
        )
    others = [_code(each["name"]) for each in part["parameters"] if each["default"]]
    if others:
        yield from ("", f"As they come: {', '.join(others)}.")


def _plain(value: object) -> str:
    """Give a text in which nothing is Markdown or HTML, on one line."""
    return _SIGNIFICANT.sub(r"\\\1", terminal.visible(" ".join(str(value).split())).replace("&", "&amp;"))


def _code(value: object) -> str:
    """Give a value as code, in a cell of a table too."""
    text = value if isinstance(value, str) else terminal.to_json(value)
    inner = terminal.visible(" ".join(text.split())).replace("|", "\\|")
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", inner)), default=0))
    pad = " " if inner.startswith("`") or inner.endswith("`") or not inner else ""
    return f"{ticks}{pad}{inner}{pad}{ticks}"
