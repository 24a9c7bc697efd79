"""The demo: real documents through gristmill, told as it happens. Ends non-zero as soon as anything is not as promised.

Works in a fresh copy of the quickstart (examples/demo/out, not under version control), through the command line only.
Another folder can be named: `python examples/demo.py FOLDER`; what is in it is removed.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUICKSTART = HERE / "quickstart"
WORK = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else HERE / "demo" / "out"


def say(text=""):
    print(text, flush=True)


def chapter(title):
    say(f"\n── {title} " + "─" * max(0, 100 - len(title)))


def demand(truth, what):
    if not truth:
        sys.exit(f"demo: NOT as promised: {what}")


def gristmill(*arguments, expect=0, quiet=False):
    """Run a verb as a user would; show the command and what it says, give its standard output."""
    say(f"$ gristmill {' '.join(arguments)}")
    command = [sys.executable, "-m", "gristmill", *arguments]
    done = subprocess.run(command, cwd=WORK, stdout=subprocess.PIPE, check=False, encoding="utf-8")
    if not quiet or done.returncode != expect:
        say(done.stdout.rstrip())
    demand(done.returncode == expect, f"`gristmill {' '.join(arguments)}` ended with {done.returncode}, not {expect}")
    return done.stdout


def run():
    """Run the pipeline; give the report, which is the last line."""
    return json.loads(gristmill("run", "--json", quiet=True).strip().splitlines()[-1])


def check_law(report):
    """Add the numbers of the first law up by hand; give the counts."""
    counts = report["counts"]
    parts = [counts["published"], counts["unchanged"], counts["superseded"]]
    parts += [sum(counts[kind].values()) for kind in ("dropped", "duplicates", "quarantined")]
    say(f"  added up here again: {counts['read']} read = {' + '.join(map(str, parts))}")
    demand(counts["read"] == sum(parts), "the first law does not hold")
    demand(report["balanced"], "the report says that it is not balanced")
    return counts


def show_texts():
    """Print the beginning of one document a language, as the table holds it."""
    from gristmill.testing import laws

    shown = set()
    for row in laws.head_rows(WORK / "corpus", ["id", "text", "ord"]).to_pylist():
        lang = row["id"].split("/")[1].split("-")[0]
        if len(lang) == 2 and lang not in shown:
            shown.add(lang)
            say(f"  {row['id']:<14} {' '.join(row['text'].split())[:70]}")
    demand(len(shown) >= 12, f"documents in {len(shown)} languages only")


def main():
    """Tell the story."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    shutil.copy(QUICKSTART / "gristmill.yml", WORK)
    shutil.copytree(QUICKSTART / "data", WORK / "data")

    chapter("The pipeline, whole")
    say((WORK / "gristmill.yml").read_text("utf-8").rstrip())

    chapter("First run: twelve languages, six formats, and trouble in the files")
    first = run()
    counts = check_law(first)
    demand(first["status"] == "published", f"the first run is {first['status']}")
    demand(counts["published"] >= 60, "fewer than 60 documents were published")
    demand(sum(counts["quarantined"].values()) >= 3, "two broken lines and a broken file must be in quarantine")

    chapter("What was published, what was not, and why")
    show_texts()
    gristmill("try", "data/web/crawl-01.jsonl", "-n", "1")
    gristmill("inspect", "--dropped", "-n", "3")
    gristmill("inspect", "--quarantined")
    gristmill("explain", "web/en-92")

    chapter("Second run: nothing is done twice")
    again = run()
    demand(again["status"] == "nothing_new", f"the second run is {again['status']}")

    chapter("A delivery arrives: only what is new is read")
    sys.path.insert(0, str(QUICKSTART))
    from make_sample import today

    (WORK / "data" / "web" / "today.jsonl").write_bytes(today())
    third = check_law(run())
    demand(third["read"] == 3, f"3 records were delivered, {third['read']} were read")
    demand(third["published"] == 2, f"2 of them are new, {third['published']} were published")
    demand(sum(third["duplicates"].values()) == 1, "one of them repeats a page of the first run")
    gristmill("log")

    chapter("Is it all really there? Its own check, and an independent one")
    gristmill("verify")
    from gristmill.testing import laws

    problems = laws.check(WORK / "corpus", [WORK / "out"])
    demand(not problems, "\n".join(problems))
    rows = laws.head_rows(WORK / "corpus").num_rows
    demand(rows == counts["published"] + 2, f"the table holds {rows} rows")
    say(f"  independent checker: 0 problems; {rows} documents in the table and in the chunks")

    chapter("Done")
    here = os.path.relpath(WORK)
    say(f"  {here}/corpus/table           a Delta table: Polars, DuckDB, Spark and datasets read it")
    say(f"  {here}/corpus/runs/{first['snapshot']}/report.json")
    for path in sorted((WORK / "out").iterdir()):
        say(f"  {here}/out/{path.name}")


if __name__ == "__main__":
    main()
