"""What `plan --estimate` says beside what the run then takes, on three pipelines of different kinds.

JSON Lines through the tutorial's recipe (many splits); compressed dumps through cleaning and two exports (few splits, as a
compressed file is not cut); web archives through extraction in processes of its own (processor time goes by pages). Each pipeline is
estimated and run in turn; the ratio is estimated over measured. Run it by `python -m bench.estimate [repeats]`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from bench import corpus
from bench.end_to_end import RECIPE
from bench.machine import ROOT, WORK, measure, python
from bench.results import Measure, median

SHARED = ROOT.parent / "shared" / "data"
DUMP_COPIES = 6
WARC_COPIES = 3
DUMPS = """version: 1
dataset: ./corpus
sources: [{name: dumps, files: {path: "data/*.zst", text: text, id: null}}]
steps: [clean.text, {filter.length: {min_chars: 100}}, {clean.text: {ops: [collapse_whitespace]}, name: again}]
gate: {min_quality_score: null}
exports: [{name: chunks, jsonl: {path: ./out, compression: zstd}}, {name: table, parquet: {path: ./parquet}}]
"""
PAGES = """version: 1
dataset: ./corpus
sources: [{name: crawl, warc: {path: "data/*.warc.gz", id: origin}}]
steps: [clean.text, dedup.exact]
gate: {min_quality_score: null}
"""


def recipe(name: str, folder: Path) -> None:
    """Lay a pipeline into a folder: its config and its data."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    config = {"dumps": DUMPS, "pages": PAGES}.get(name) or RECIPE.read_text("utf-8")
    (folder / "gristmill.yml").write_text(config, "utf-8")
    if name == "jsonl":
        made = corpus.build(300)
        for part in sorted(made.glob("part-*")):
            (folder / "data" / f"{part.stem}.jsonl").symlink_to(part.resolve())
    elif name == "dumps":
        for n in range(DUMP_COPIES):
            for part in sorted((SHARED / "corpus").glob("*.zst")):
                shutil.copyfile(part, folder / "data" / f"{n}-{part.name}")
    else:
        for n in range(WARC_COPIES):
            shutil.copyfile(SHARED / "warc" / "pages.warc.gz", folder / "data" / f"{n}.warc.gz")


def once(name: str) -> dict[str, float]:
    """Estimate and run one pipeline; give the ratios of time, processor time and table size."""
    folder = WORK / f"estimate-{name}"
    recipe(name, folder)
    measure(python("-m", "gristmill", "plan", "--estimate", "--json"), cwd=folder)
    run = json.loads(measure(python("-m", "gristmill", "run", "--json"), cwd=folder).output.splitlines()[-1])
    ratios = {what: both["ratio"] for what, both in run["estimate"].items()}
    shutil.rmtree(folder)
    return ratios


def run(repeats: int = 3) -> dict[str, Measure]:
    """Measure all three. Gives nothing where the real data is not there."""
    if not SHARED.is_dir():
        return {}
    found = {}
    for name in ("jsonl", "dumps", "pages"):
        samples = [once(name) for _ in range(repeats)]
        for what, unit in (("seconds", "wall clock"), ("cpu_seconds", "processor time"), ("table_bytes", "table size")):
            key = f"estimate_{name}_{what}"
            found[key] = median([sample[what] for sample in samples], "x", f"estimated over measured, {unit}")
    return found


if __name__ == "__main__":
    for key, figure in run(int(sys.argv[1]) if sys.argv[1:] else 3).items():
        print(f"{key:32} {figure.value:>8g} {figure.unit:4} {figure.what} {figure.samples}")
