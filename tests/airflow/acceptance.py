"""The longer acceptance, with a scheduler: `python -m tests.airflow.acceptance [SCENE...]`, a few minutes.

Real processes, real data, real signals. It prints a line a scene, with what was seen and how long it took, and ends with 1 where one is
not as promised. What of it fits into the suite is in `test_airflow.py`.
"""

import contextlib
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.airflow import lab, services

from gristmill import Dataset, Pipeline
from gristmill.store.claim import DatasetLock
from gristmill.store.layout import Layout

QUICK = "  retry_delay: 2s\n"
# The DAG behind the dataset is the one that the page shows.
PAGE = (lab.ROOT / "docs" / "how-to" / "airflow.md").read_text("utf-8")
CONSUMER = re.search(r"```py\n(from airflow\.sdk import .*?)```", PAGE, re.DOTALL)[1]
# The first call of each verb stops itself at a failpoint, and leaves its process id.
STOPPING = """#!/bin/bash
case "$1 $2 $4" in
  "stage work read") point=task.staged;;
  "stage work reread") point=merge.index_written;;
  "stage work stage-1") point=task.shard_written;;
  "stage gate "*) point=state.written;;
  "stage commit "*) point=commit.after_delta;;
  "export "*) point=export.chunk_written;;
esac
if [ -n "$point" ] && mkdir "{folder}/met-$point" 2>/dev/null; then
  echo $$ > "{folder}/met-$point/pid"
  export GRISTMILL_FAILPOINT=$point=stop
fi
exec "{program}" "$@"
"""
KILLED = {
    "extract": "task.staged",
    "dedup": "merge.index_written",
    "transform": "task.shard_written",
    "gate": "state.written",
    "publish": "commit.after_delta",
    "export": "export.chunk_written",
}


def success(live, airflow, people):
    """A scheduled run succeeds; its event starts the DAG that waits for the dataset, which reads the snapshot from it."""
    dag = CONSUMER.replace("/data/corpus/corpus", str(airflow.home / "good" / "corpus"))
    assert f"file://{airflow.home}" in dag
    (airflow.home / "dags" / "tokens.py").write_text(dag)
    folder = airflow.project("good")
    run_id, state, tasks = live.ended("gristmill_good")
    assert run_id.startswith("scheduled__"), run_id
    assert (state, set(tasks.values())) == ("success", {("success", 1)}), tasks
    assert live.ended("tokens")[1] == "success"
    logs = [path.read_text() for path in (airflow.home / "logs" / "dag_id=tokens").rglob("*.log")]
    assert "snapshot 1 is there" in "".join(logs)
    return f"run {run_id.partition('__')[0]}: {len(tasks)} tasks succeeded, the consumer read snapshot {whole(folder)} from the event"


def nothing_new(live, airflow, people):
    """The next run finds nothing new and skips; the DAG behind it is not started."""
    assert airflow.airflow("dags", "trigger", "gristmill_good").returncode == 0
    _, state, tasks = live.ended("gristmill_good", 2)
    assert (state, {found[0] for found in tasks.values()}) == ("success", {"skipped"}), tasks
    time.sleep(3)
    assert len(live.runs("tokens")) == 1
    assert people.mails == []
    return f"{len(tasks)} tasks skipped, the consumer was not started"


def refusal(live, airflow, people):
    """A refusal of the gate fails the task at its first try, and is told."""
    airflow.project("strict", (lab.CONFIG + QUICK).replace("min_quality_score: 0.5", "min_docs: 5000"))
    _, state, tasks = live.ended("gristmill_strict")
    assert (state, tasks["gate"], tasks["publish"][0]) == ("failed", ("failed", 1), "upstream_failed"), tasks
    mail, post = told(live, people, "gristmill_strict: gate failed")
    for words in ("Try: 1 of 4", "Verdict: run 1 refused", "min_docs is 72, limit 5000"):
        assert words in mail, mail
        assert words in post, post
    return "gate failed at try 1 of 4, one mail and one post, both with the verdict"


def transient(live, airflow, people):
    """Another run holds the dataset: the task is tried again three times, then fails, and that is told; once."""
    folder = airflow.project("locked", lab.CONFIG + QUICK, data=False)
    with DatasetLock(Layout(folder / "corpus")):
        _, state, tasks = live.ended("gristmill_locked")
    assert (state, tasks["plan"]) == ("failed", ("failed", 4)), tasks
    mail, _ = told(live, people, "gristmill_locked: plan failed")
    for words in ("Try: 4 of 4", "another run holds the dataset"):
        assert words in mail, mail
    return "plan failed at try 4 of 4, one mail and one post, none for the tries before"


def passing(live, airflow, people):
    """A failure that passes is got over by another try, and nobody is told."""
    before = len(people.mails), len(people.posts)
    with contextlib.ExitStack() as held:
        folder = airflow.home / "passing"
        held.enter_context(DatasetLock(Layout(folder / "corpus")))
        (folder / "corpus" / "lock").parent.mkdir(exist_ok=True)
        folder = project_over(airflow, "passing")
        live.wait("a second try", lambda: tries(live, "gristmill_passing", "plan") >= 2)
        held.close()
        _, state, tasks = live.ended("gristmill_passing")
    assert state == "success", tasks
    assert (len(people.mails), len(people.posts)) == before
    return f"plan succeeded at try {tasks['plan'][1]}, snapshot {whole(folder)}, nobody was told"


def killed(live, airflow, people):
    """Every task is killed mid-run with SIGKILL, and cleared: in the end there is exactly one version, and it is whole."""
    folder = airflow.home / "killed"
    folder.mkdir()
    program = folder / "gristmill"
    program.write_text(STOPPING.format(folder=folder, program=lab.GRISTMILL))
    program.chmod(0o755)
    text = lab.CONFIG.replace("groups: 2", "groups: 1") + "  retries: 0\n"
    project_over(airflow, "killed", text, executable=program)
    for task, point in KILLED.items():
        run_id = kill(live, task, folder / f"met-{point}" / "pid")
        told(live, people, f"gristmill_killed: {task} failed")
        live.clear("gristmill_killed", run_id, task)
    live.wait("the run to succeed", lambda: live.runs("gristmill_killed") == [(run_id, "success")])
    report = Dataset(folder / "corpus").report(1)
    assert (report["counts"]["read"], report["counts"]["published"], report["balanced"]) == (86, 72, True), report
    return f"{', '.join(KILLED)} killed and cleared: snapshot {whole(folder)}, the only one; a mail for each"


def kill(live, task, met):
    """Wait until a task's program stands still, and kill the process of the task; give the run."""
    live.wait(f"{task} to stand still", lambda: met.exists() and stopped(int(met.read_text())))
    verb = int(met.read_text())
    parent = int(Path(f"/proc/{verb}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    os.kill(verb, signal.SIGCONT)  # it is told to end, as its parent is gone
    live.wait("the program to end", lambda: not Path(f"/proc/{verb}").exists(), 30)
    return live.wait("the task to fail", lambda: failed(live, "gristmill_killed", task))


def whole(folder):
    """Give the only snapshot of a dataset, after verifying it and its exports."""
    dataset = Dataset(folder / "corpus")
    (seq,) = dataset.seqs()
    os.environ.setdefault("MILL_WORD", lab.WORD)
    assert dataset.verify(seq, Pipeline.from_file(folder / "gristmill.yml").config) == []
    return seq


def project_over(airflow, name, text=lab.CONFIG + QUICK, executable=lab.GRISTMILL):
    """Make a project in a folder that is there already."""
    folder = airflow.home / name
    other = airflow.project(
        f"{name}_made", text.replace("airflow:\n", f"airflow:\n  dag_id: gristmill_{name}\n"), render=False
    )
    for path in other.iterdir():
        path.rename(folder / path.name)
    airflow.render(name, executable)
    return folder


def tries(live, dag_id, task):
    found = live.ask("select max(try_number) from task_instance where dag_id = $1 and task_id = $2", dag_id, task)
    return found[0][0] or 0


def failed(live, dag_id, task):
    for run_id, _ in live.runs(dag_id):
        if live.states(dag_id, run_id).get(task, live.states(dag_id, run_id).get(f"{task}[0]", ("", 0)))[0] == "failed":
            return run_id
    return None


def stopped(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def told(live, people, subject):
    """Give the mail and the post about one failure; there must be one of each."""
    wanted = f"[gristmill] {subject}"
    live.wait(f"the mail {wanted!r}", lambda: [mail for _, mail in people.mails if mail["Subject"] == wanted], 60)
    live.wait("the post", lambda: [post for post in people.posts if post["title"] == wanted], 60)
    (mail,) = [mail.get_content() for _, mail in people.mails if mail["Subject"] == wanted]
    (post,) = [post["message"] for post in people.posts if post["title"] == wanted]
    return mail, post


SCENES = [success, nothing_new, refusal, transient, passing, killed]


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(names):
    bad = 0
    chosen = [scene for scene in SCENES if not names or scene.__name__ in names]
    with (
        tempfile.TemporaryDirectory(prefix="gristmill-airflow-") as folder,
        services.running(Path(folder) / "home") as (live, airflow, people),
    ):
        for scene in chosen:
            began = time.monotonic()
            try:
                seen = scene(live, airflow, people)
                say(f"ok   {scene.__name__:12} {time.monotonic() - began:5.0f} s  {seen}")
            except AssertionError as error:
                bad += 1
                say(f"BAD  {scene.__name__:12} {time.monotonic() - began:5.0f} s  {error}")
        everything = airflow.everything() + live.everything().encode()
        assert b"gristmill_good" in everything or names
        leaks = [what for what in (lab.WORD, lab.PROSE) if what.encode() in everything]
        bad += len(leaks)
        size = len(everything) / 1e6
        say(
            f"{'BAD' if leaks else 'ok '}  no secret and no text of a document in {size:.1f} MB of Airflow's database and logs"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
