"""A dataset as a Dagster asset: each materialization is one `gristmill run`, once a day."""

import json
import subprocess

import dagster as dg

GRISTMILL = "/opt/gristmill/bin/gristmill"
CONFIG = "/data/corpus/gristmill.yml"


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=3, delay=300))
def corpus() -> dg.MaterializeResult:
    """The newest snapshot."""
    done = subprocess.run([GRISTMILL, "run", "-c", CONFIG, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode in {2, 3}:  # a wrong config, a refusal of the gate: another try would end the same
        raise dg.Failure(
            f"gristmill run ended with {done.returncode}; its messages are in the run's log", allow_retries=False
        )
    done.check_returncode()
    report = json.loads(done.stdout.splitlines()[-1])
    published = report["counts"]["published"]
    return dg.MaterializeResult(
        metadata={"status": report["status"], "snapshot": report["snapshot"] or 0, "published": published}
    )


daily = dg.ScheduleDefinition(name="daily", cron_schedule="0 4 * * *", target=dg.AssetSelection.assets(corpus))
defs = dg.Definitions(assets=[corpus], schedules=[daily])
