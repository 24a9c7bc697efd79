"""Web archives beside datatrove's WarcReader: pages per second, in the same run, on the same file.

Counted are the pages that come out: the rival's reader drops 13 of the 230 without a word (it decodes by one guess).

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
COPIES = 16  # for reading alone: 406 MB of records
EXTRACTED = 4  # copies for extraction: starting its process must not count for much

_TIMED = """
import json, resource, sys, time

def cpu_s():
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)

def timed(work):
    wall, cpu = time.perf_counter(), cpu_s()
    docs, size = work()
    print(json.dumps({"docs": docs, "size": size, "wall_s": time.perf_counter() - wall, "cpu_s": cpu_s() - cpu}))
"""

_OURS = (
    _TIMED
    + """
from pathlib import Path
import msgspec
from gristmill.core.frames import spare_pandas
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.warc import Warc

def work():
    file, parameters = Path(sys.argv[1]), json.loads(sys.argv[2])
    source = msgspec.convert({"path": file.name} | parameters, Warc)
    docs = size = 0
    for split in source.plan(None, PlanContext(file.parent)).splits:
        for page in source.read(split, ReadContext(folder=file.parent)):
            docs += page.rows.num_rows
            size += page.rows["text"].nbytes  # the texts are UTF-8
    return docs, size

spare_pandas()  # as the processes of gristmill do
timed(work)
"""
)

_LIMIT = (
    _TIMED
    + """
import hashlib
from pathlib import Path
from isal import isal_zlib

def work():
    members = chars = 0
    with Path(sys.argv[1]).open("rb") as file:
        member, parts = isal_zlib.decompressobj(31), []
        while data := file.read(128 << 10):
            while data:
                parts.append(member.decompress(data))
                data = member.unused_data
                if member.eof:
                    whole = b"".join(parts)
                    hashlib.sha1(whole).digest()
                    members, chars = members + 1, chars + len(whole)
                    member, parts = isal_zlib.decompressobj(31), []
    return members, chars

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
        docs = Trafilatura(timeout=60, favour_precision=False, deduplicate=False).run(docs)  # as ours
    n = size = 0
    for doc in docs:
        n += 1
        size += len(doc.text)
    return n, size

import trafilatura  # before the clock: theirs loads it with the first page
timed(work)
"""
)


def run(repeats: int = 3, rival: str = "") -> dict[str, Measure]:
    """Measure; the sides take turns. Gives nothing where the pages are not there. rival: the interpreter that has datatrove."""
    if not PAGES.is_file():
        return {}
    WORK.mkdir(exist_ok=True)
    large, pages = _repeated(COPIES), _repeated(EXTRACTED)
    rival = rival or os.environ.get("GRISTMILL_RIVAL_PYTHON", "")
    sides: dict[str, list[str]] = {
        "warc_read": python("-c", _OURS, large, json.dumps({"format": "text"})),
        "warc_unverified_read": python("-c", _OURS, large, json.dumps({"format": "text", "verify_digests": False})),
        "warc_limit_read": python("-c", _LIMIT, large),
        "warc_trafilatura": python("-c", _OURS, pages, json.dumps({"extract": {"extractor": "trafilatura"}})),
        "warc_resiliparse": python("-c", _OURS, pages, json.dumps({"extract": {"extractor": "resiliparse"}})),
        "warc_default": python("-c", _OURS, pages, "{}"),
    }
    if rival:
        sides["rival_read"] = [rival, "-c", _RIVAL, large, "none"]
        sides["rival_trafilatura"] = [rival, "-c", _RIVAL, pages, "trafilatura"]
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, command in sides.items():
            taken[name].append(json.loads(measure(command).output.splitlines()[-1]))
    found: dict[str, Measure] = {}
    for name, samples in taken.items():
        unit = "characters" if name.startswith("rival") else "bytes"
        what = f"{name.replace('_', ', ')}: {samples[0]['docs']:.0f} documents, {samples[0]['size']:.0f} {unit}"
        found[f"{name}_pages_per_s"] = median([s["docs"] / s["wall_s"] for s in samples], "pages/s", what)
        found[f"{name}_pages_per_cpu_s"] = median([s["docs"] / s["cpu_s"] for s in samples], "pages/CPU-s", what)
    if rival:
        found |= _ratios(found)
    return found


def _repeated(copies: int) -> str:
    """Give the path of the pages' file with so many copies in it: a WARC file stays one when it is appended to."""
    file = WORK / f"pages-{copies}.warc.gz"
    if not file.is_file():
        file.write_bytes(PAGES.read_bytes() * copies)
    return str(file)


def _ratios(found: dict[str, Measure]) -> dict[str, Measure]:
    pairs = {
        "read": ("warc_read", "rival_read", "reading alone, HTML as text"),
        "unverified": (
            "warc_unverified_read",
            "rival_read",
            "the same with no digest checked, as the rival checks none",
        ),
        "trafilatura": ("warc_trafilatura", "rival_trafilatura", "reading and trafilatura on both sides"),
        "limit": ("warc_limit_read", "rival_read", "unpacking and hashing alone, so the most that reading could reach"),
        "default": ("warc_default", "rival_trafilatura", "reading and our default extractor, beside theirs"),
    }
    own = 1 / found["rival_trafilatura_pages_per_cpu_s"].value
    extracting = own - 1 / found["rival_read_pages_per_cpu_s"].value
    most = "reading in no time at all and trafilatura, beside theirs, by CPU time: the most a reader could reach"
    bound = {"warc_trafilatura_bound_times_rival_cpu": Measure(round(own / extracting, 2), "x", most)}
    return bound | {
        f"warc_{name}_times_rival{end}": Measure(
            round(found[f"{ours}{unit}"].value / found[f"{theirs}{unit}"].value, 2), "x", f"{what}, {by}"
        )
        for name, (ours, theirs, what) in pairs.items()
        for end, unit, by in (("", "_pages_per_s", "by time"), ("_cpu", "_pages_per_cpu_s", "by CPU time"))
    }


if __name__ == "__main__":
    for key, figure in run(int(sys.argv[1]) if sys.argv[1:] else 3).items():
        print(f"{key:40} {figure.value:>10g} {figure.unit:12} {figure.what}")
