"""How often chance is taken for drift, and what real changes measure: `python -m tests.drift [--times N] [--data FOLDER]`.

Halves: N times every source of the corpus with enough records is cut into two random halves, which come on two days; every warning at the
defaults is a false alarm. Turns: the English help pages come first, then those of another language, or spoiled ones.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from tests.drift.real import ACCIDENTS, changed, corpus, halves
from tests.properties.lab import Lab, folder, jsonl

LEAST = 250  # records of a source
STEPS = ["clean.text", {"filter.length": {"min_chars": 200, "min_words": 20}}]
ENGLISH = "libreoffice-help-en-us"


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def config(names, steps):
    sources = [{"name": name, "files": {"path": f"{name}/*", "id": "id", "lang": "lang"}} for name in names]
    return {"sources": sources, "steps": steps, "require": {"min_chars": 11}}


def count_false_alarms(texts, times, steps):
    """Give how often each measure was compared, was over a limit, and its highest value."""
    names = sorted(name for name, rows in texts.items() if len(rows) >= LEAST)
    say(f"{len(names)} sources of {min(len(texts[n]) for n in names)} to {max(len(texts[n]) for n in names)} records")
    compared, over, worst, alarmed = Counter(), Counter(), {}, 0
    for seed in range(times):
        with folder() as place:
            lab = Lab(place, config(names, steps))
            days = {name: halves(texts[name], seed) for name in names}
            for day in (0, 1):
                for name in names:
                    lab.put(f"{name}/{day}.jsonl", days[name][day])
                report = lab.run()
        for entry in report.drift:
            measure = entry["measure"]
            compared[measure] += 1
            over[measure] += entry["level"] != "ok"
            share = entry["value"] / max(entry["warn"], entry["noise"])
            if share > worst.get(measure, (0.0,))[0]:
                worst[measure] = (share, seed, entry)
            if entry["level"] != "ok":
                say(f"  seed {seed}: {entry}")
        alarmed += any(error["code"] == "source.drift" for error in report.errors)
    for measure in compared:
        share, seed, entry = worst[measure]
        say(f"{measure}: {compared[measure]:,} compared, {over[measure]} over; nearest to its limit: {share:.2f} of it, "
            f"{entry['source']} {entry['distribution']}, value {entry['value']:.3f}, seed {seed}")  # fmt: skip
    say(f"{alarmed} of {times} runs gave an alarm")


def tell_turns(texts):
    """Tell what each turn of the English help pages measures, as read, where no step knows languages."""
    english = texts[ENGLISH]
    turns = {
        name.removeprefix("libreoffice-help-"): jsonl(rows)
        for name, rows in sorted(texts.items())
        if name.startswith("libreoffice-help-")
    }
    turns = {"English, the other half": jsonl(english[1::2]), **turns, **{kind: changed(english[1::2], kind) for kind in ACCIDENTS}}  # fmt: skip
    say("turn: over at the defaults; psi and ks of chars, non_ascii, spaces as read")
    for name, made in turns.items():
        if name == "en-us":
            continue
        with folder() as place:
            lab = Lab(place, config(["s"], STEPS) | {"sources": [{"name": "s", "files": {"path": "s/*", "id": "id"}}]})
            for day, rows in enumerate((jsonl(english[::2]), made)):
                lab.put(f"s/{day}.jsonl", rows)
                report = lab.run()
        found = {(e["distribution"], e["measure"]): e["value"] for e in report.drift}
        over = sum(e["level"] != "ok" for e in report.drift)
        told = " ".join(
            f"{found.get((f'read.{what}', measure), float('nan')):6.2f}"
            for what in ("chars", "non_ascii", "spaces")
            for measure in ("psi", "ks")
        )
        say(f"{name:26}{over:4} {told}")


def main():
    """Do what the command line asks for."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--times", type=int, default=50)
    asked.add_argument(
        "--skip", type=int, default=0, metavar="N", help="pipelines to leave out: 1 goes straight to the one with dedup"
    )
    asked.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    given = asked.parse_args()
    texts = corpus(given.data)
    began = time.monotonic()
    for steps in (STEPS, [*STEPS, "dedup.exact"])[given.skip :]:
        say(f"halves, steps {steps}")
        count_false_alarms(texts, given.times, steps)
    tell_turns(texts)
    say(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
