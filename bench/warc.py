"""Web archives beside datatrove's WarcReader: records and pages per second, in the same run, on the same file.

The rival runs in an interpreter of its own, that of `.venv-rivals` (`make bench` installs it from bench/rivals.lock, with the same
trafilatura as here), or one named by GRISTMILL_RIVAL_PYTHON; without it only our figures are made. Real pages come from the developer
data set; without that there is nothing to measure. Run it alone by `python -m bench.warc [repeats]`.
"""

from __future__ import annotations

import json
import os
import sys

from bench.machine import ROOT, WORK, measure, python
from bench.results import Measure, median

PAGES = ROOT.parent / "shared" / "data" / "warc" / "pages.warc.gz"
COPIES = 8  # for reading alone: 203 MB of records

_TIMED = """
import json, resource, sys, time

def cpu_s():
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)

def timed(work):
    wall, cpu = time.perf_counter(), cpu_s()
    docs, chars = work()
    print(json.dumps({"docs": docs, "chars": chars, "wall_s": time.perf_counter() - wall, "cpu_s": cpu_s() - cpu}))
"""

_OURS = (
    _TIMED
    + """
from pathlib import Path
import msgspec
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.warc import Warc

def work():
    file, parameters = Path(sys.argv[1]), json.loads(sys.argv[2])
    source = msgspec.convert({"path": file.name} | parameters, Warc)
    docs = chars = 0
    for split in source.plan(None, PlanContext(file.parent)).splits:
        for page in source.read(split, ReadContext(folder=file.parent)):
            docs += page.rows.num_rows
            chars += sum(map(len, page.rows["text"].to_pylist()))
    return docs, chars

timed(work)
"""
)

_RIVAL = (
    _TIMED
    + """
from pathlib import Path
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import WarcReader
from loguru import logger
logger.remove()

def work():
    file = Path(sys.argv[1])
    docs = WarcReader(str(file.parent), glob_pattern=file.name).run()
    if sys.argv[2] == "trafilatura":
        docs = Trafilatura(timeout=60).run(docs)
    n = chars = 0
    for doc in docs:
        n += 1
        chars += len(doc.text)
    return n, chars

timed(work)
"""
)


def run(repeats: int = 3, rival: str = "") -> dict[str, Measure]:
    """Measure; the sides take turns. Gives nothing where the pages are not there. rival: the interpreter that has datatrove."""
    if not PAGES.is_file():
        return {}
    WORK.mkdir(exist_ok=True)
    large = WORK / f"pages-{COPIES}.warc.gz"
    if not large.is_file():
        large.write_bytes(PAGES.read_bytes() * COPIES)
    rival = rival or os.environ.get("GRISTMILL_RIVAL_PYTHON", "")
    sides: dict[str, list[str]] = {
        "warc_read": python("-c", _OURS, str(large), json.dumps({"format": "text"})),
        "warc_trafilatura": python("-c", _OURS, str(PAGES), json.dumps({"extract": {"extractor": "trafilatura"}})),
        "warc_resiliparse": python("-c", _OURS, str(PAGES), json.dumps({"extract": {"extractor": "resiliparse"}})),
        "warc_default": python("-c", _OURS, str(PAGES), "{}"),
    }
    if rival:
        sides["rival_read"] = [rival, "-c", _RIVAL, str(large), "none"]
        sides["rival_trafilatura"] = [rival, "-c", _RIVAL, str(PAGES), "trafilatura"]
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, command in sides.items():
            taken[name].append(json.loads(measure(command).output.splitlines()[-1]))
    found: dict[str, Measure] = {}
    for name, samples in taken.items():
        copies = COPIES if name.endswith("read") else 1
        what = f"{name.replace('_', ', ')}: {samples[0]['docs']:.0f} documents, {samples[0]['chars']:.0f} characters"
        found[f"{name}_pages_per_s"] = median([230 * copies / s["wall_s"] for s in samples], "pages/s", what)
        found[f"{name}_pages_per_cpu_s"] = median([230 * copies / s["cpu_s"] for s in samples], "pages/CPU-s", what)
    if rival:
        found |= _ratios(found)
    return found


def _ratios(found: dict[str, Measure]) -> dict[str, Measure]:
    pairs = {
        "read": ("warc_read", "rival_read", "reading alone, HTML as text"),
        "trafilatura": ("warc_trafilatura", "rival_trafilatura", "reading and trafilatura on both sides"),
        "default": ("warc_default", "rival_trafilatura", "reading and our default extractor, beside theirs"),
    }
    return {
        f"warc_{name}_times_rival{end}": Measure(
            round(found[f"{ours}{unit}"].value / found[f"{theirs}{unit}"].value, 2), "x", f"{what}, {by}"
        )
        for name, (ours, theirs, what) in pairs.items()
        for end, unit, by in (("", "_pages_per_s", "by time"), ("_cpu", "_pages_per_cpu_s", "by CPU time"))
    }


if __name__ == "__main__":
    for key, figure in run(int(sys.argv[1]) if sys.argv[1:] else 3).items():
        print(f"{key:40} {figure.value:>10g} {figure.unit:12} {figure.what}")
