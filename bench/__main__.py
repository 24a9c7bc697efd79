"""`python -m bench`: measure, compare with floors.json, print, write results.json; exit 1 below a floor.

python -m bench                     everything, on 300 MB
python -m bench --mb 30 --repeats 1 a quick look; nothing is written, no floor fails
python -m bench --only help,stages  some of it; nothing is written
python -m bench --readme            put the committed results into README.md
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from bench import corpus, end_to_end, limits, sql, sql_export, stages, warc
from bench.machine import ROOT, WORK, facts, measure, python
from bench.results import RESULTS, Measure, floors, holds, median, put_into, readme_section, table

MEGABYTES = 300
PARTS = ("help", "limits", "end_to_end", "stages", "sql", "sql_export", "warc")
SQL_ROWS = 200_000  # of 3 KB; `python -m bench.sql 1000000 3` reads a million, `bench.sql_export` loads one
RIVALS = ROOT / ".venv-rivals" / "bin" / "python"


def help_time() -> dict[str, Measure]:
    """Measure `gristmill --help` from the start of the process to its end."""
    runs = [measure(python("-m", "gristmill", "--help")).wall_s * 1000 for _ in range(10)][1:]
    return {"help_ms": median(runs, "ms", "`gristmill --help`, median of nine")}


def run_parts(parts: list[str], megabytes: int, repeats: int) -> dict[str, Measure]:
    """Run the chosen benchmarks."""
    found: dict[str, Measure] = {}
    for part in parts:
        print(f"bench: {part} …", file=sys.stderr, flush=True)
        if part == "help":
            found |= help_time()
        elif part == "limits":
            found |= limits.run(corpus.build(megabytes), repeats)
        elif part == "end_to_end":
            found |= end_to_end.run(megabytes, repeats)
        elif part == "stages":
            found |= stages.run()
        elif part == "sql":
            found |= sql.run(SQL_ROWS if megabytes == MEGABYTES else SQL_ROWS // 10, repeats)
        elif part == "sql_export":
            found |= sql_export.run(SQL_ROWS if megabytes == MEGABYTES else SQL_ROWS // 10, repeats)
        elif part == "warc":
            found |= warc.run(repeats, str(RIVALS) if RIVALS.exists() else "")
    if {"one_core_mb_per_cpu_s", "limit_together"} <= found.keys():
        share = found["one_core_mb_per_cpu_s"].value / found["limit_together"].value
        found["share_of_limit"] = Measure(
            round(share, 3), "", "of read + parse + compress alone, by CPU time on one core"
        )
    return found


def write_readme() -> int:
    """Put the committed results into the README."""
    path = ROOT / "README.md"
    path.write_text(
        put_into(path.read_text("utf-8"), readme_section(json.loads(RESULTS.read_text()), floors())), "utf-8"
    )
    return 0


def main() -> int:
    """Parse, run, compare."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure gristmill beside its baseline.")
    parser.add_argument("--mb", type=int, default=MEGABYTES, help="size of the corpus")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved runs of each")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--readme", action="store_true", help="only put the committed results into README.md")
    options = parser.parse_args()
    if options.readme:
        return write_readme()
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    WORK.mkdir(exist_ok=True)
    machine = facts()
    measures = run_parts(parts, options.mb, options.repeats)
    limits_ = floors()
    everything = {name: measure_._asdict() for name, measure_ in measures.items()}
    print(table(everything, limits_))
    print(f"load: {machine['load_1m_before']} before, {os.getloadavg()[0]:.2f} after", file=sys.stderr)
    if tuple(parts) == PARTS and options.mb == MEGABYTES:
        results = {"machine": machine, "megabytes": options.mb, "repeats": options.repeats, "measures": everything}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        missing = limits_.keys() - measures.keys()
        if missing:
            print(f"not measured on this machine: {', '.join(sorted(missing))}", file=sys.stderr)
    missed = [name for name, limit in limits_.items() if name in measures and not holds(measures[name].value, limit)]
    for name in missed:
        print(f"MISSED {name}: {measures[name].value:g}, limits {limits_[name]}", file=sys.stderr)
    return 1 if missed and options.mb == MEGABYTES else 0


if __name__ == "__main__":
    sys.exit(main())
