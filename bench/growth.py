"""Growth on one machine: the tutorial's recipe over 1, 3, 10 GB of the corpus, and a day of 300 MB on top of each.

For each size: MB/s, processor seconds, peak memory of all processes, and what lies in the dataset afterwards, by folder. The same
generator makes all sizes; a larger corpus begins with the smaller one, and the day that is added is what follows. Run it on
a machine that does nothing else:

python -m bench.growth 1 3 10       measure, write bench/growth.json and the part of docs/growth.md that is made of it
python -m bench.growth --docs       only the page, from bench/growth.json
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from bench import corpus
from bench.end_to_end import RECIPE
from bench.machine import MB, ROOT, WORK, cores, facts, measure, python

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "growth.json"
PAGE = ROOT / "docs" / "growth.md"
PLOT = ROOT / "docs" / "growth.svg"
BEGIN, END = "<!-- growth: begin -->", "<!-- growth: end -->"
DAY_MB = 300
FOLDERS = ("table", "index", "runs", "state")
FILE_MB = 100


def grow(gigabytes: list[int]) -> list[dict[str, Any]]:
    """Measure each size."""
    measure(python("-m", "gristmill", "warmup"))
    return [_one(size) for size in gigabytes]


def _one(gigabytes: int) -> dict[str, Any]:
    place = WORK / "growth"
    shutil.rmtree(place, ignore_errors=True)
    data = place / "data"
    data.mkdir(parents=True)
    (place / "gristmill.yml").write_text(RECIPE.read_text("utf-8"), "utf-8")
    stream = corpus.stream()
    for n in range(gigabytes * 1000 // FILE_MB):
        corpus.write(data / f"day1-{n:04d}.jsonl", stream, FILE_MB * MB)
    first = _run(place)
    held = {name: _size(place / "corpus" / name) for name in FOLDERS} | {"exports": _size(place / "out")}
    for n in range(DAY_MB // FILE_MB):
        corpus.write(data / f"day2-{n:04d}.jsonl", stream, FILE_MB * MB)
    second = _run(place)
    shutil.rmtree(place)
    return {"gigabytes": gigabytes, "first": first, "stored": held, "day": second}


def _run(place: Path) -> dict[str, Any]:
    sample = measure(python("-m", "gristmill", "run", "--json"), cwd=place, pin=cores()[:2], memory=True)
    report = json.loads(sample.output.splitlines()[-1])
    if report["status"] != "published" or not report["balanced"]:
        raise RuntimeError(f"the run is {report['status']}, balanced: {report['balanced']}")
    return {
        "bytes": report["bytes_read"],
        "records": report["counts"]["read"],
        "published": report["counts"]["published"],
        "seconds": round(sample.wall_s, 2),
        "cpu_seconds": round(report["cpu_seconds"], 2),
        "peak_mb": round(sample.peak_rss_mb),
    }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def page(results: dict[str, Any]) -> str:
    """Give what stands between the markers of the page."""
    machine, sizes = results["machine"], results["sizes"]
    asked = " ".join(str(one["gigabytes"]) for one in sizes)
    where = f"{machine['cores']} cores of {', '.join(machine['cpu'])}, {machine['memory_gb']} GB, Python {machine['python']}"
    lines = [
        BEGIN,
        f"Measured by `python -m bench.growth {asked}` on {where}, with two workers.",
        "",
        "| GB read | records | seconds | MB/s | CPU s per GB | peak memory, MB | table, MB per GB | index, MB per GB | runs and state, MB per GB | exports, MB per GB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in sizes:
        first, stored, gb = one["first"], one["stored"], one["first"]["bytes"] / 1e9
        cells = [
            f"{gb:.2f}", f"{first['records']:,}", f"{first['seconds']:.1f}", f"{first['bytes'] / 1e6 / first['seconds']:.1f}",
            f"{first['cpu_seconds'] / gb:.1f}", f"{first['peak_mb']:,}", f"{stored['table'] / 1e6 / gb:.0f}",
            f"{stored['index'] / 1e6 / gb:.1f}", f"{(stored['runs'] + stored['state']) / 1e6 / gb:.1f}",
            f"{stored['exports'] / 1e6 / gb:.0f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "![CPU seconds per GB and peak memory by GB read](growth.svg)",
        "",
        f"Then a day of {DAY_MB} MB on top of each:",
        "",
        "| GB before | records before | seconds | CPU s | peak memory, MB |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in sizes:
        day, first = one["day"], one["first"]
        cells = [
            f"{first['bytes'] / 1e9:.2f}", f"{first['records']:,}", f"{day['seconds']:.1f}", f"{day['cpu_seconds']:.1f}",
            f"{day['peak_mb']:,}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    per_gb = [one["first"]["cpu_seconds"] / (one["first"]["bytes"] / 1e9) for one in sizes]
    memory = [one["first"]["peak_mb"] for one in sizes]
    off = max((one / per_gb[0] - 1 for one in per_gb), key=abs)  # a line through the smallest and nothing
    apart = f"Processor time is at most {abs(off) * 100:.0f} % {'above' if off > 0 else 'below'} linear growth from the smallest size (20 % asked): "
    apart += f"its fixed part is spread. Peak memory lies between {min(memory):,} and {max(memory):,} MB."
    return "\n".join([*lines, "", apart, "", *projection(sizes), END])


def projection(sizes: list[dict[str, Any]]) -> list[str]:
    """Give what follows for 100 TB, and for a day of 10 GB on top of 2e9 records, with the arithmetic."""
    largest = sizes[-1]
    gb = largest["first"]["bytes"] / 1e9
    cpu = max(one["first"]["cpu_seconds"] / (one["first"]["bytes"] / 1e9) for one in sizes)
    stored = {name: size / gb for name, size in largest["stored"].items()}  # bytes per GB
    index_each = largest["stored"]["index"] / largest["first"]["records"]
    few, many = sizes[0], sizes[-1]
    more_records = many["first"]["records"] - few["first"]["records"]
    looked_us = (
        max(0.0, many["day"]["cpu_seconds"] - few["day"]["cpu_seconds"]) / more_records * 1e6 if more_records else 0.0
    )
    whole_hours = 100_000 * cpu / 3600
    day_s, index_s = 10 * cpu, 2e9 * looked_us / 1e6
    return [
        "## What follows for 100 TB and 2 billion records",
        "",
        "Not measured: this goes on with the lines above, of which the first is level and the second nearly so. The worst size is taken.",
        "",
        "| what | arithmetic | gives |",
        "| --- | --- | ---: |",
        f"| 100 TB once, CPU | 100,000 GB x {cpu:.1f} s / 3,600 | {whole_hours:,.0f} core-hours |",
        f"| the same on 1,000 cores | {whole_hours:,.0f} / 1,000 | {whole_hours / 1000:.1f} hours, and what its storage takes to feed them |",
        f"| table | 100,000 x {stored['table'] / 1e6:.0f} MB | {stored['table'] * 1e5 / 1e12:.0f} TB |",
        f"| exports, the same texts once more | 100,000 x {stored['exports'] / 1e6:.0f} MB | {stored['exports'] * 1e5 / 1e12:.0f} TB |",
        f"| index of 2e9 records | 2e9 x {index_each:.0f} bytes | {index_each * 2e9 / 1e9:.0f} GB |",
        f"| a day of 10 GB, its own CPU | 10 x {cpu:.1f} s | {day_s:,.0f} s |",
        f"| the same, looking at the index of 2e9 records | 2e9 x {looked_us:.2f} us | {index_s:,.0f} s |",
        f"| the day on two cores | ({day_s:,.0f} + {index_s:,.0f}) / 2 | {(day_s + index_s) / 120:,.0f} min |",
        "",
        f"Memory: a task holds batches and one row group, a merge the keys of one range, at most `run.merge_rows` of them. The peak is the fattest batch met: {few['first']['peak_mb']:,} MB at {few['first']['bytes'] / 1e9:.0f} GB, {many['first']['peak_mb']:,} MB at {gb:.0f} GB.",
    ]


def plot(sizes: list[dict[str, Any]]) -> str:
    """Draw CPU seconds per GB and peak memory over the size, as SVG."""
    gb = [one["first"]["bytes"] / 1e9 for one in sizes]
    panels = [
        ("CPU seconds per GB", [one["first"]["cpu_seconds"] / g for one, g in zip(sizes, gb, strict=True)]),
        ("peak memory, MB", [float(one["first"]["peak_mb"]) for one in sizes]),
    ]
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="720" height="240" font-family="sans-serif" font-size="12">',
        '<rect width="720" height="240" fill="white"/>',
    ]
    for n, (title, values) in enumerate(panels):
        left, top, wide, high = 60 + 360 * n, 40, 270, 150
        most = max(values) * 1.2
        dots = [(left + wide * g / max(gb), top + high * (1 - v / most)) for g, v in zip(gb, values, strict=True)]
        parts.append(f'<text x="{left}" y="24" font-weight="bold">{title}</text>')
        parts.append(f'<path d="M{left} {top}V{top + high}H{left + wide}" fill="none" stroke="#666"/>')
        parts.append(
            f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in dots)}" fill="none" stroke="#1565c0" stroke-width="2"/>'
        )
        for (x, y), g, v in zip(dots, gb, values, strict=True):
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#1565c0"><title>{g:.1f} GB: {v:.1f}</title></circle>'
            )
            parts.append(f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{v:,.0f}</text>')
            parts.append(f'<text x="{x:.1f}" y="{top + high + 16}" text-anchor="middle">{g:.0f}</text>')
        parts.append(f'<text x="{left + wide / 2}" y="{top + high + 36}" text-anchor="middle">GB read</text>')
    return "\n".join([*parts, "</svg>", ""])


def write_docs() -> None:
    """Put the committed results into the page, and draw the plot."""
    results = json.loads(RESULTS.read_text())
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + page(results) + rest.split(END)[1], "utf-8")
    PLOT.write_text(plot(results["sizes"]), "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--docs"]:
        measured = {"machine": facts(), "sizes": grow([int(size) for size in sys.argv[1:] or ("1", "3", "10")])}
        RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    write_docs()
