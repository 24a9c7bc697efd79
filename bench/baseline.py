"""The baseline: the tutorial script (examples/tutorial/reference.py) as its readers run it, one process on one core."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench import corpus
from bench.machine import ROOT, WORK, Sample, cores, measure, python

SCRIPT = ROOT / "examples" / "tutorial" / "reference.py"


def run(folder: Path, *, memory: bool = False) -> Sample:
    """Run the script over a corpus folder; its output says how many records it kept."""
    out = WORK / "baseline-out"
    shutil.rmtree(out, ignore_errors=True)
    return measure(python(str(SCRIPT), str(out), *map(str, corpus.files(folder))), pin=cores()[:1], memory=memory)


def kept(sample: Sample) -> int:
    """Give the records the script kept."""
    return int(json.loads(sample.output)["kept"])
