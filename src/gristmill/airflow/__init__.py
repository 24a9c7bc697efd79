"""Gristmill under Airflow 3: a DAG whose tasks call the command line.

    plan -> extract (mapped) -> dedup -> transform (mapped) [-> dedup-2 -> transform-2 ...] -> gate -> publish -> export -> validate

It runs in an Airflow environment of its own, where nothing else of ours need work: `pip install --no-deps gristmill`. Gristmill itself is
installed elsewhere and called as a program. Not here: what the verbs do (`engine.seams`), writing a DAG file (`console.airflow`).
Invariants: this package imports the standard library and Airflow only; what goes through XCom is a run's number and the names of its
parts, never data, never a secret; each task may be killed and done again at any time.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import (  # type: ignore[import-not-found]  # Airflow lives in another environment than ours
    DAG,
    Asset,
    chain,
    get_current_context,
    task,
)
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException  # type: ignore[import-not-found]

from gristmill.airflow.notifier import Notifier, verdict_of
from gristmill.airflow.program import LOG, Gristmill

__all__ = ["Gristmill", "Notifier", "asset_of", "describe", "make_dag"]

DESCRIBED = 1  # the format of what `gristmill airflow describe` says

Described = Mapping[str, Any]


def asset_of(dataset: str) -> Any:
    """Give the asset that stands for a dataset (a folder or an address); its events carry {"snapshot": number} as their extra."""
    return Asset(dataset if "://" in dataset else f"file://{dataset}")


def describe(config: str | Path, executable: str = "gristmill") -> Described:
    """Ask the program what the DAG of a config looks like."""
    done = subprocess.run(  # noqa: S603
        Gristmill(executable, str(config)).command(("airflow", "describe")), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError(f"gristmill airflow describe ended with {done.returncode}: {done.stderr.strip()}")
    described: Described = json.loads(done.stdout)
    return described


def make_dag(described: Described, executable: str = "gristmill", default_args: Described | None = None) -> Any:
    """Make the DAG of a config that was described (by `describe`, or in a file that `gristmill airflow render` wrote).

    Args:
        described: what `gristmill airflow describe` says.
        executable: the program, or its path.
        default_args: of the tasks, over those that are described.
    """
    if described["format"] != DESCRIBED:
        raise ValueError(
            f"this description has format {described['format']}, not {DESCRIBED}: render the DAG again with one gristmill"
        )
    gristmill = Gristmill(executable, described["config"])
    told = Notifier(gristmill, described["emails"], described["smtp"], described["apprise"])
    arguments = {
        "owner": described["owner"],
        "depends_on_past": False,
        "retries": described["retries"],
        "retry_delay": timedelta(seconds=described["retry_delay_s"]),
        "on_failure_callback": [told],  # on the last failure only: Airflow calls on_retry_callback for the others
        **(default_args or {}),
    }
    with DAG(
        dag_id=described["dag_id"],
        description=described["description"],
        schedule=described["schedule"],
        start_date=datetime.strptime(described["start_date"], "%Y-%m-%d").replace(tzinfo=UTC),
        catchup=False,
        max_active_runs=1,  # a dataset has one writer
        default_args=arguments,
        on_failure_callback=[told],  # of the run: for tasks that were killed, and could not tell of themselves
        tags=["gristmill"],
    ) as dag:
        _tasks(gristmill, described)
    return dag


def _tasks(gristmill: Gristmill, described: Described) -> None:
    """Put the tasks of a run in their order."""
    stages: list[str] = described["stages"]
    asset = asset_of(described["dataset"])

    @task(task_id="plan")  # type: ignore[untyped-decorator]
    def plan() -> list[dict[str, Any]]:
        found = gristmill("stage", "plan")
        if found["status"] != "planned":
            raise AirflowSkipException(f"{found['status']}: there is nothing to publish")
        if found["stages"] != stages:
            raise AirflowFailException(
                "the steps of the config have changed since this DAG was rendered; render it again"
            )
        count = max(1, min(described["groups"], found["tasks"]))
        return [{"seq": found["seq"], "part": f"{part}/{count}"} for part in range(1, count + 1)]

    def spread(stage: str, task_id: str) -> Any:
        @task(task_id=task_id)  # type: ignore[untyped-decorator]
        def work(seq: int, part: str) -> None:
            gristmill("stage", "work", str(seq), stage, "--part", part)

        return work.expand_kwargs(planned)

    def gathered(names: list[str], task_id: str) -> Any:
        @task(task_id=task_id)  # type: ignore[untyped-decorator]
        def settle(groups: list[dict[str, Any]]) -> None:
            gristmill("stage", "work", str(groups[0]["seq"]), *names, "--workers", str(described["groups"]))

        return settle(planned)

    @task(task_id="gate")  # type: ignore[untyped-decorator]
    def gate(groups: list[dict[str, Any]]) -> None:
        judged = gristmill("stage", "gate", str(groups[0]["seq"]), "--workers", str(described["groups"]))
        if judged["status"] != "passed":
            raise AirflowSkipException(f"{judged['status']}: all that was read is known already")

    @task(task_id="publish")  # type: ignore[untyped-decorator]
    def publish(groups: list[dict[str, Any]]) -> int:
        report = gristmill("stage", "commit", str(groups[0]["seq"]), "--no-exports", "--workers", "1")
        LOG.info(verdict_of(report))
        return int(report["snapshot"])

    @task(task_id="export")  # type: ignore[untyped-decorator]
    def export(snapshot: int) -> None:
        gristmill("export")

    @task(task_id="validate", outlets=[asset])  # type: ignore[untyped-decorator]
    def validate(snapshot: int) -> None:
        gristmill("verify", str(snapshot))
        get_current_context()["outlet_events"][asset].extra = {"snapshot": snapshot}

    planned = plan()
    line: list[Any] = [planned]
    waiting: list[str] = []
    for stage in stages:
        kind, _, number = stage.partition("-")
        if kind == "read":
            line.append(spread(stage, "extract"))
        elif kind == "stage":
            ending = "" if number == "1" else f"-{number}"
            line += [gathered(waiting, f"dedup{ending}"), spread(stage, f"transform{ending}")]
            waiting = []
        else:
            waiting.append(stage)  # what comes after the last one is left to the gate, which does all that is not done
    published = publish(planned)
    chain(*line, gate(planned), published, export(published), validate(published))
