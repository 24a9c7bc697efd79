"""The tutorial recipe end to end: gristmill beside the baseline, on the same files, in the same minutes.

gristmill writes the versioned table and the compressed chunks; the baseline writes the chunks only. Both are measured
by wall clock, from the start of the process to its end, A B C A B C, and compared by medians.
"""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path

from bench import baseline, corpus
from bench.machine import ROOT, WORK, Sample, cores, measure, python
from bench.results import Measure, median

RECIPE = ROOT / "examples" / "tutorial" / "gristmill.yml"


def run_gristmill(folder: Path, workers: int, *, memory: bool = False) -> Sample:
    """Run the recipe over a corpus folder into a fresh dataset, on as many cores as it has workers.

    Raises:
        RuntimeError: the run did not publish, or was not balanced.
    """
    place = WORK / f"gristmill-{workers}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    recipe = RECIPE.read_text("utf-8")
    if "data/*.jsonl" not in recipe:
        raise RuntimeError(f"{RECIPE} no longer reads data/*.jsonl")
    (place / "gristmill.yml").write_text(recipe.replace("data/*.jsonl", f"{folder}/part-*"), "utf-8")
    command = python("-m", "gristmill", "run", "--json", "--workers", str(workers))
    sample = measure(command, cwd=place, pin=cores()[:workers], memory=memory)
    report = json.loads(sample.output.splitlines()[-1])
    if report["status"] != "published" or not report["balanced"]:
        raise RuntimeError(f"the run is {report['status']}, balanced: {report['balanced']}")
    return sample


def published(sample: Sample) -> int:
    """Give the records a run published."""
    return int(json.loads(sample.output.splitlines()[-1])["counts"]["published"])


def run(megabytes: int, repeats: int) -> dict[str, Measure]:
    """Measure speed on `megabytes` MB and memory on that and on a third of it."""
    folder = corpus.build(megabytes)
    mb = corpus.size_mb(folder)
    measure(python("-m", "gristmill", "warmup"))  # compiling happens once per installation, not per run
    plain, one, two = [], [], []
    for _ in range(repeats):
        plain.append(baseline.run(folder))
        one.append(run_gristmill(folder, 1))
        if len(cores()) >= 2:
            two.append(run_gristmill(folder, 2))
    if baseline.kept(plain[0]) != published(one[0]):
        raise RuntimeError(f"the baseline kept {baseline.kept(plain[0])} records, gristmill {published(one[0])}")
    base = statistics.median(sample.wall_s for sample in plain)
    found = {
        "baseline_mb_per_s": median([mb / s.wall_s for s in plain], "MB/s", "the tutorial script, one process"),
        "baseline_mb_per_cpu_s": median([mb / s.cpu_s for s in plain], "MB/s", "the same by CPU time"),
        "one_core_mb_per_s": median(
            [mb / s.wall_s for s in one], "MB/s", "gristmill pinned to one core, table and chunks"
        ),
        "one_core_mb_per_cpu_s": median([mb / s.cpu_s for s in one], "MB/s", "the same by CPU time"),
        "one_core_vs_baseline": median([base / s.wall_s for s in one], "x", "one core beside the tutorial script"),
    }
    base_cpu = statistics.median(sample.cpu_s for sample in plain)
    found["one_core_vs_baseline_cpu"] = median([base_cpu / s.cpu_s for s in one], "x", "the same by CPU time")
    if two:
        found["two_core_mb_per_s"] = median(
            [mb / s.wall_s for s in two], "MB/s", "gristmill on two cores, table and chunks"
        )
        found["two_core_vs_baseline"] = median(
            [base / s.wall_s for s in two], "x", "two cores beside the tutorial script on one"
        )
    return found | memory(megabytes)


def memory(megabytes: int) -> dict[str, Measure]:
    """Measure the peak memory of the whole process tree, shared pages counted once, at one size and at a third of it."""
    workers = min(2, len(cores()))
    small, large = (
        run_gristmill(corpus.build(size), workers, memory=True).peak_rss_mb for size in (megabytes // 3, megabytes)
    )
    plain = baseline.run(corpus.build(megabytes), memory=True).peak_rss_mb
    return {
        "rss_100_mb": Measure(small, "MB", f"peak memory of all processes, {megabytes // 3} MB in"),
        "rss_300_mb": Measure(large, "MB", f"peak memory of all processes, {megabytes} MB in"),
        "rss_300_over_100": Measure(round(large / small, 3), "x", "memory when the input is three times as large"),
        "baseline_rss_300_mb": Measure(plain, "MB", f"peak memory of the tutorial script, {megabytes} MB in"),
    }
