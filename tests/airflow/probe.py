"""Looks at Airflow from inside its own environment, and answers with one line of JSON. Run by `lab.py`, not imported.

`probe.py dags` tells what the DAG files give; `probe.py test DAG...` gives the words `db migrate` and `dags test DAG`, of the first,
to Airflow's command line, runs each once more, then tells the same and all runs; `probe.py runs DAG...` tells the runs of each, oldest
first: states, tries, what went through XCom, events of assets. All in one process: for Airflow to start takes as long as for its tasks.
"""

import json
import sys
import time


def command(*words):
    """Do what `airflow WORDS` does, and give its seconds."""
    from airflow.__main__ import main as airflow

    began, sys.argv = time.monotonic(), ["airflow", *words]
    airflow()
    return time.monotonic() - began


def dags():
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag

    (bundle,) = DagBundlesManager().get_all_dag_bundles()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    foreign = sorted(name for name in sys.modules if name.partition(".")[0] == "gristmill")
    return bag, {
        "errors": bag.import_errors,
        "gristmill_modules": foreign,
        "dags": {dag_id: _described(dag) for dag_id, dag in bag.dags.items()},
    }


def _described(dag):
    return {
        "description": dag.description,
        "start_date": dag.start_date.isoformat(),
        "schedule": str(dag.schedule),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "tasks": {
            task.task_id: {
                "downstream": sorted(task.downstream_task_ids),
                "mapped": task.is_mapped,
                "owner": task.owner,
                "retries": task.retries,
                "retry_delay_s": task.retry_delay.total_seconds(),
                "depends_on_past": task.depends_on_past,
                "on_failure": [type(each).__name__ for each in task.on_failure_callback or []],
                "on_retry": [type(each).__name__ for each in task.on_retry_callback or []],
                "outlets": [outlet.uri for outlet in task.outlets or []],
            }
            for task in dag.tasks
        },
    }


def runs(dag_ids):
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    from airflow import settings

    session = settings.Session()
    told = {}
    for dag_id in dag_ids:
        found = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id))
        told[dag_id] = [_run(session, run, (TaskInstance, XComModel, AssetModel, AssetEvent), select) for run in found]
    return told


def _run(session, run, models, select):
    tis, xcoms, assets, events = models
    mine = {"dag_id": run.dag_id, "run_id": run.run_id}
    tasks = session.scalars(select(tis).filter_by(**mine)).all()
    passed = session.scalars(select(xcoms).filter_by(**mine)).all()
    told = session.execute(
        select(assets.uri, events.extra)
        .join(assets, assets.id == events.asset_id)
        .where(events.source_dag_id == run.dag_id, events.source_run_id == run.run_id)
    ).all()
    return {
        "run": run.run_id,
        "state": run.state,
        "tasks": {f"{ti.task_id}{f'[{ti.map_index}]' if ti.map_index >= 0 else ''}": ti.state for ti in tasks},
        "tries": {ti.task_id: ti.try_number for ti in tasks},
        "xcoms": sorted([each.task_id, each.key, xcoms.deserialize_value(each)] for each in passed),
        "events": [[uri, extra] for uri, extra in told],
    }


def main(asked, dag_ids):
    if asked == "runs":
        return {"runs": runs(dag_ids)}
    if asked == "test":
        command("db", "migrate")
        seconds = command("dags", "test", dag_ids[0])
    bag, found = dags()
    if asked == "test":
        found["seconds"] = seconds
        for dag_id in dag_ids:
            bag.dags[dag_id].test()
        found["runs"] = runs(dag_ids)
    return found


if __name__ == "__main__":
    answer = main(sys.argv[1], sys.argv[2:])
    sys.stdout.write("\n" + json.dumps(answer, default=str) + "\n")
