"""What stands in for `sbatch`: runs each task of an array at once, minds dependencies, keeps no queue.

    sbatch --parsable [--array=1-N] [--dependency=afterok:ID] SCRIPT ARGS

FAKE_SLURM names the folder with its state; a line `STAGE TASK` in its file `kill` makes that task die once.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

STATE = Path(os.environ["FAKE_SLURM"])


def main(argv):
    options = dict(word.lstrip("-").partition("=")[::2] for word in argv if word.startswith("--"))
    script, *words = [word for word in argv if not word.startswith("--")]
    needs = options.get("dependency", "afterok:").removeprefix("afterok:")
    number = len(list(STATE.glob("job-*"))) + 1
    well = not needs or (STATE / f"job-{needs}").read_text() == "COMPLETED"
    if well:
        last = int(options["array"].removeprefix("1-")) if "array" in options else 0
        with ThreadPoolExecutor(2) as pool:
            well = all(pool.map(lambda task: run(script, words, task), range(1, last + 1) if last else [None]))
    (STATE / f"job-{number}").write_text("COMPLETED" if well else "FAILED")
    sys.stdout.write(f"{number}\n")  # sbatch has done its part, whatever became of the job


def run(script, words, task):
    kill = STATE / "kill"
    if kill.exists() and kill.read_text().split() == [words[1] if len(words) > 1 else "", str(task)]:
        kill.unlink()
        return False
    env = os.environ | ({"SLURM_ARRAY_TASK_ID": str(task)} if task is not None else {})
    with (STATE / "output.log").open("a") as log:
        return subprocess.run(["bash", script, *words], env=env, stdout=log, stderr=log, check=False).returncode == 0


main(sys.argv[1:])
