"""The verbs `airflow describe` and `airflow render`: what the DAG of a config looks like, and a file that holds it.

Not here: the DAG (`gristmill.airflow`, which runs in Airflow's own environment and is not imported here). Invariants: equal configs
give equal text; no value of a reference stands in it.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gristmill.console.options import Setting
from gristmill.console.session import answer, open_pipeline, out_json, tell, write

if TYPE_CHECKING:
    from gristmill.pipeline import Pipeline

app = typer.Typer(help="Run under Airflow 3: the DAG of this config.", rich_markup_mode=None)
DESCRIBED = 1  # the format of a description; `gristmill.airflow` refuses another


@app.command("describe")
def describe(setting: Setting = None) -> None:
    """Say as JSON what the DAG of this config looks like."""
    out_json(described(open_pipeline(setting)))


@app.command("render")
def render(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", show_default=False, help="default: standard output")] = None,
    executable: Annotated[str, typer.Option(metavar="PATH", show_default=False, help="gristmill on the workers; default: this one")] = "",
    setting: Setting = None,
) -> None:  # fmt: skip
    """Write a DAG file, for the folder where Airflow looks for DAGs."""
    what = described(open_pipeline(setting))
    text = rendered(what, executable or program())
    if file is not None:
        write(file, text)
    found = {"dag_id": what["dag_id"], "path": str(file) if file is not None else None, "text": text}
    answer(found, lambda: [text.rstrip("\n")] if file is None else [])
    if file is not None:
        tell(f"{file} is written; put it where Airflow looks for DAGs")


def described(pipeline: Pipeline) -> dict[str, Any]:
    """Give all that a DAG is made of."""
    config, asked = pipeline.config, pipeline.config.airflow
    folder = re.sub(r"[^A-Za-z0-9_.-]+", "_", config.folder.name)
    return {
        "format": DESCRIBED,
        "dag_id": asked.dag_id or f"gristmill_{folder}",
        "description": config.description,
        "schedule": asked.schedule,
        "start_date": asked.start_date,
        "owner": asked.owner,
        "retries": asked.retries,
        "retry_delay_s": asked.retry_delay_s,
        "emails": asked.emails,
        "smtp": asked.smtp,
        "apprise": asked.apprise,
        "groups": asked.groups,
        "config": str(config.file),
        "dataset": config.dataset,
        "stages": pipeline.stages(),
    }


def program() -> str:
    """Give the path of the gristmill that runs now, or its name where it lies nowhere."""
    beside = Path(sys.executable).parent / "gristmill"
    return str(beside) if beside.exists() else shutil.which("gristmill") or "gristmill"


def rendered(described: dict[str, Any], executable: str) -> str:
    """Give the text of a DAG file."""
    title = described["description"] or f"The dataset {described['dataset']}"
    plain = title.encode("unicode_escape").decode("ascii").replace("\\", "/").replace('"', "'")
    values = pformat(described, width=110, sort_dicts=False, indent=4)
    return f'''"""{plain}

Written by `gristmill airflow render`: write it again when the steps or the `airflow` section of the config have changed.
Airflow's environment needs gristmill for its DAG factory alone (pip install --no-deps gristmill).
"""

from gristmill.airflow import make_dag

GRISTMILL = {executable!r}
DESCRIBED = {values}

dag = make_dag(DESCRIBED, GRISTMILL)
'''
