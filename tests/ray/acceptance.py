"""Ray on a real cluster of three nodes and more: the same bytes as one machine, whatever is killed, and how fast.

    python -m tests.ray.acceptance [--kills 20] [--nodes 3] [--seed 1] [--only NAME ...]

Every trial copies a dataset as it stood before a run, hurts a run on the copy, and holds every lasting byte against a run on this machine alone
that nobody disturbed; then the independent checker reads all of it (`gristmill.testing.crash`, `laws`). Prints the figures as JSON in the end.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from tests.ray.cluster import ROOT, Cluster, environment
from tests.ray.test_ray import driving
from tests.soak import scenes

from gristmill.testing import corpora, crash

# A little slower than the mill is, so that there is something to hit.
CUSTOM = "import time\n\ndef mine(record):\n    time.sleep(0.001)\n    return record\n"
POISON = """\
import os

def mine(record):
    if record["id"] == "web/doc-000007":
        os._exit(9)
    return record
"""
SIZE = {"n": 16_000, "split": 300_000, "docs": 3000}
CORPUS_DOCS, CORPUS_FILES, SPEED_RUNS = 240_000, 24, 3
SPEED = """\
version: 1
dataset: ./corpus
sources:
  - name: web
    files: {path: "../speed/*.jsonl", text: text, id: id, split_bytes: 4000000}
steps:
  - clean.text
  - filter.length: {min_chars: 12}
  - dedup.exact
exports:
  - name: chunks
    jsonl: {path: ./out, docs_per_chunk: 10000}
"""


def say(*words):
    sys.stderr.write(" ".join(map(str, words)) + "\n")
    sys.stderr.flush()


class Acceptance:
    """The trials, one cluster for all."""

    def __init__(self, folder, seed, nodes):
        self.folder, self.chance, self.nodes = folder, random.Random(seed), nodes
        self.source = freeze(folder)
        self.local = environment(self.source, "", folder)
        self.figures = {"nodes": nodes, "seed": seed}
        self.problems = []
        self.cluster = Cluster(self.source, nodes)

    def histories(self):
        """Make the scenes on this machine alone: day 1, and day 2 with revisions, withdrawals, bad files."""

        def run(tree, _):
            command = driving(tree, "run.workers=2")
            return subprocess.run(command, env=self.local, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode

        self.days = scenes.history(self.folder, "day", run, **SIZE, custom=CUSTOM)
        say("scenes:", [(day.name, len(day.after.lasting)) for day in self.days])

    def start(self, tree, *overrides):
        command = driving(tree, "run.engine=ray", f"run.ray.address={self.cluster.address}", *overrides)
        log = (tree / "driver.log").open("a")
        return subprocess.Popen(command, env=self.cluster.env, cwd=ROOT, stdout=log, stderr=log)

    def run(self, tree, _):
        return self.start(tree).wait(600)

    def trial(self, day, label, blows):
        trial = crash.attacked(day, self.folder / "trials", label, blows, self.run)
        self.problems += [f"{label}: {problem}" for problem in trial.problems]
        say(f"{label}: {trial.codes}, {trial.seconds:.0f} s", *trial.problems[:3])
        return trial

    # --- the trials ----------------------------------------------------------------------------------------------

    def peace(self, _):
        """Nobody is hurt."""
        for day in self.days:
            self.trial(day, f"in peace, {day.name}", [])

    def workers(self, kills):
        """Busy workers are killed, one after the other, until there were enough; each run ends well by itself."""
        dealt, runs, codes = 0, 0, []
        while dealt < kills:
            done = 0

            def blow(tree, _, most=kills - dealt):
                nonlocal done
                driver = self.start(tree)
                while driver.poll() is None:
                    time.sleep(self.chance.uniform(0.3, 1.0))
                    busy = self.cluster.workers()
                    if busy and done < most:
                        done += kill(self.chance.choice(busy))
                return driver.returncode

            trial = self.trial(self.days[runs % 2], f"workers killed, run {runs + 1}", [blow])
            codes += trial.codes
            dealt, runs = dealt + done, runs + 1
        self.figures["workers"] = {"killed": dealt, "runs": runs, "exit_codes": codes}

    def node(self, _):
        """A whole node is killed in the middle of tasks; the run ends well by itself. Told: seconds until the driver knew."""
        known, codes = [], []
        for i in range(3):

            def blow(tree, _):
                driver = self.start(tree)
                log = tree / f"corpus/runs/{2 if 'day-2' in tree.name else 1}/run.log"
                self.until(lambda: len(self.cluster.workers(self.cluster.raylets[-1])) > 0, driver)
                time.sleep(self.chance.uniform(0.2, 1.0))
                self.until(lambda: len(self.cluster.workers(self.cluster.raylets[-1])) > 0, driver)
                began = time.monotonic()
                self.cluster.kill_node(self.cluster.raylets[-1])
                self.until(lambda: log.exists() and "its worker died" in log.read_text(), driver)
                known.append(round(time.monotonic() - began, 1))
                return driver.wait(600)

            codes += self.trial(self.days[i % 2], f"node killed, run {i + 1}", [blow]).codes
            self.cluster.add_node()
        self.figures["node"] = {"killed": len(known), "exit_codes": codes, "seconds_until_known": known}

    def driver(self, _):
        """The driver is killed at random moments, and a new one goes on; at the last a node dies with it."""
        deaths = 0
        for i in range(4):

            def blow(tree, turn, last=i == 3):
                driver = self.start(tree)
                self.until(lambda: len(self.cluster.workers()) > 0, driver)
                time.sleep(self.chance.uniform(0.2, 4.0))
                if last and turn == 0:
                    self.cluster.kill_node(self.cluster.raylets[-1])
                driver.kill()
                return driver.wait()

            trial = self.trial(self.days[i % 2], f"driver killed, run {i + 1}", [blow, blow])
            deaths += trial.deaths
            if i == 3:
                self.cluster.add_node()
        self.figures["driver"] = {"killed": deaths}

    def poison(self, _):
        """A record that kills every worker that takes it up is quarantined, as by local workers."""

        def local(tree, _):
            command = driving(tree, "run.workers=2")
            return subprocess.run(command, env=self.local, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode

        day = scenes.history(self.folder, "poison", local, n=60, split=4000, docs=15, custom=POISON)[0]
        trial = self.trial(day, "a record kills its workers", [])
        self.figures["poison"] = {"exit_codes": trial.codes}

    def signal(self, _):
        """SIGTERM and SIGINT end the driver soon, with 143 and 130, and the next goes on."""
        ended = []
        for number in (signal.SIGTERM, signal.SIGINT):

            def blow(tree, _, number=number):
                driver = self.start(tree)
                self.until(lambda: len(self.cluster.workers()) > 0, driver)
                time.sleep(self.chance.uniform(0.2, 2.0))
                began = time.monotonic()
                driver.send_signal(number)
                code = driver.wait(60)
                ended.append(round(time.monotonic() - began, 1))
                if code != 128 + number:
                    self.problems.append(f"signal {number}: exit code {code}")
                return code

            self.trial(self.days[0], f"signal {number.name}", [blow])
        self.figures["signal"] = {"seconds_until_ended": ended}

    def speed(self, _):
        """Measure one and two workers, as local processes and on a Ray cluster of the run's own, in turn; medians."""
        megabytes = write_corpus(self.folder / "speed")
        found = {}
        for turn in range(SPEED_RUNS):
            for engine in ("local", "ray"):
                for workers in (1, 2):
                    tree = self.folder / f"speed-{engine}-{workers}"
                    shutil.rmtree(tree, ignore_errors=True)
                    tree.mkdir()
                    (tree / "gristmill.yml").write_text(SPEED)
                    began = time.perf_counter()
                    command = [sys.executable, "-m", "gristmill", "run", "--json", "-q"]
                    done = subprocess.run(
                        [*command, "--engine", engine, "--workers", str(workers)],
                        cwd=tree, env=plain(self.local), capture_output=True, check=True,
                    )  # fmt: skip
                    report = json.loads(done.stdout)
                    wall = time.perf_counter() - began
                    found.setdefault(f"{engine} {workers}", []).append((wall, report["seconds"], report["cpu_seconds"]))
                    say(turn, engine, workers, found[f"{engine} {workers}"][-1])
        views = {name: crash.look(self.folder / f"speed-{name.replace(' ', '-')}", "corpus", ["out"]) for name in found}
        if len({json.dumps(view.lasting, sort_keys=True) for view in views.values()}) != 1:
            self.problems.append("speed: the four ways left other bytes")
        self.figures["speed"] = {"mb": round(megabytes, 1), "load_1m": round(os.getloadavg()[0], 1)} | {
            name: {
                "mb_per_s": round(megabytes / statistics.median(seconds for _, seconds, _ in times), 1),
                "mb_per_s_with_start": round(megabytes / statistics.median(wall for wall, _, _ in times), 1),
                "cpu_seconds_of_tasks": round(statistics.median(cpu for _, _, cpu in times), 1),
            }
            for name, times in found.items()
        }

    @staticmethod
    def until(condition, driver, patience_s=120):
        deadline = time.monotonic() + patience_s
        while not condition() and driver.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError("nothing happened")
            time.sleep(0.02)


def kill(worker):
    """Kill a worker; give 1 if it was there and at work."""
    try:
        busy = worker.name().startswith("ray::gristmill")
        worker.kill()
    except psutil.NoSuchProcess:
        return 0
    return int(busy)


def plain(env):
    return {name: value for name, value in env.items() if not name.startswith("RAY_") or name == "RAY_worker_niceness"}


def write_corpus(folder):
    """Write files of documents; give their size in MB."""
    folder.mkdir()
    for i in range(CORPUS_FILES):
        documents = corpora.documents(CORPUS_DOCS // CORPUS_FILES, seed=i, sentences=16, duplicates=0.1)
        corpora.write(folder / f"{i:02}.jsonl", [{**each, "id": f"{i}-{each['id']}"} for each in documents])
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def freeze(folder):
    """Copy the committed source, which nobody edits meanwhile, and compile its kernels."""
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD", "src"], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    env = environment(folder / "src", "", folder)
    subprocess.run([sys.executable, "-m", "gristmill", "warmup"], env=env, stdout=subprocess.DEVNULL, check=True)
    return folder / "src"


TRIALS = ("peace", "workers", "node", "driver", "signal", "poison", "speed")


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.ray.acceptance", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=TRIALS, default=list(TRIALS))
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gristmill-ray-"))
    acceptance = Acceptance(folder, args.seed, args.nodes)
    try:
        if set(args.only) - {"speed"}:
            acceptance.histories()
        for name in args.only:
            if name == "speed":  # it starts clusters of its own, and nothing else shall be there
                acceptance.cluster.close()
            began = time.monotonic()
            getattr(acceptance, name)(args.kills)
            acceptance.figures.setdefault("seconds", {})[name] = round(time.monotonic() - began)
    finally:
        acceptance.cluster.close()
    sys.stdout.write(json.dumps(acceptance.figures | {"problems": acceptance.problems}, indent=1) + "\n")
    if acceptance.problems:
        say("what is left lies in", folder)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
