"""Read all malformed files there are, make others and read those, and check what must hold of each.

    python -m tests.malformed [N] [SEED] [--here]

The folder `../shared/data/malformed`, where there is one, against its table (`table`); every file of `generated.tsv` against the rules (`made.table`);
then N files (2,000) from SEED (1) on, in child processes of 200 each, so that one that crashes is named and the others go on. Prints what is broken
with the name or seed that replays it, and the peak of memory; the last line is for the soak (`tests.soak.commands`). `--here`: in this process, only
what seeds make. Exits 1 if anything is broken.
"""

import collections
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

from tests.malformed import table
from tests.malformed.cases import make
from tests.malformed.limits import peak_mb
from tests.malformed.made import table as rules
from tests.malformed.properties import Hung, broken
from tests.soak import commands

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT.parent / "shared" / "data" / "malformed"
EACH = 200


def here(first, count):
    """Check some cases in this process; give sentences, the peak of memory in MB, and how many of each kind there were."""
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    found, kinds = [], collections.Counter()
    for seed in range(first, first + count):
        case = make(seed)
        kinds[case.what.rpartition(" ")[2] if not case.what.startswith("attack") else "attack"] += 1
        sys.stderr.write(f"{seed}\n")
        sys.stderr.flush()
        try:
            found += [f"seed {seed} ({case.what}): {what}" for what in broken(case)]
        except Hung:
            found.append(f"seed {seed} ({case.what}): hangs")
        except Exception as error:
            found.append(f"seed {seed} ({case.what}): raises {type(error).__name__}: {str(error)[:200]}")
    return {"broken": found, "peak_mb": peak_mb(), "kinds": kinds}


def apart(first, count):
    """Check some cases in a child; one that kills it is named, and the rest are done in another."""
    done = {"broken": [], "peak_mb": 0, "kinds": collections.Counter()}
    end = first + count
    while first < end:
        command = [sys.executable, "-m", "tests.malformed", str(end - first), str(first), "--here"]
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
        if child.returncode in {0, 1} and child.stdout:
            told = json.loads(child.stdout.splitlines()[-1])
            done["broken"] += told["broken"]
            done["peak_mb"] = max(done["peak_mb"], told["peak_mb"])
            done["kinds"].update(told["kinds"])
            return done
        seeds = [line for line in child.stderr.splitlines() if line.isdigit()]
        last = int(seeds[-1]) if seeds else first
        done["broken"].append(f"seed {last}: the process ends with {child.returncode}: {child.stderr[-300:]!r}")
        first = last + 1
    return done


def folder():
    """Hold the files of the folder against the table; give how many there are, what differs, and the peak of memory in MB."""
    command = [sys.executable, "-m", "tests.malformed.table", str(FOLDER)]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    if child.returncode:
        return 0, [f"the folder: the process ends with {child.returncode}: {child.stderr[-300:]!r}"], 0
    told = json.loads(child.stdout)
    found = {name: line.rpartition("\t")[0] for name, line in told["files"].items()}
    wanted = {name: line for name, (line, _) in table.expected().items()}
    wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    return (
        len(found),
        [f"{name}: {found.get(name)!r}, expected {wanted.get(name)!r}" for name in wrong],
        told["peak_mb"],
    )


def main():
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    count, first = [*numbers, *(2000, 1)[len(numbers) :]][:2]
    if "--here" in sys.argv:
        told = here(first, count)
        sys.stdout.write(json.dumps(told) + "\n")
        return bool(told["broken"])
    began, there = time.monotonic(), FOLDER.is_dir()
    real, bad, most_mb = folder() if there else (0, [], 0)
    made = list(rules.every())
    bad += [f"{name}: {what}" for name, what in rules.differences(made)]
    kinds = collections.Counter()
    for at in range(first, first + count, EACH):
        done = apart(at, min(EACH, first + count - at))
        bad += done["broken"]
        most_mb = max(most_mb, done["peak_mb"])
        kinds.update(done["kinds"])
    known = f"{real} files of the folder" if there else "no ../shared/data/malformed beside this checkout"
    end = f"{known}, {len(made)} made by rules, {count} files from seed {first}: {len(bad)} broken, peak {most_mb} MB, {time.monotonic() - began:.0f} s"
    sys.stdout.write("\n".join([*bad, f"{end}; {dict(kinds)}"]) + "\n")
    places = {
        "of the folder": real,
        "made by rules": len(made),
        "attacks": kinds["attack"],
        "others from seeds": count - kinds["attack"],
    }
    note = "" if there else f"There is {known}."
    sys.stdout.write(
        commands.told(real + len(made) + count, bad, places=places, note=f"{note} Peak {most_mb} MB.".strip()) + "\n"
    )
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
