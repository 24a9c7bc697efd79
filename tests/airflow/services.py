"""A running Airflow for the acceptance: scheduler with LocalExecutor, DAG processor and API server, on PostgreSQL and loopback."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.airflow import lab
from tests.database.servers import PostgreSQL

START_S, WAIT_S = 180, 600


def settings(port, database):
    """Give the settings that make a small Airflow quick; none of them changes what a DAG does."""
    secret = secrets.token_hex(32)
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.replace("postgresql://", "postgresql+psycopg2://"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": database.replace("postgresql://", "postgresql+asyncpg://"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "3",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": "4",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": secret,
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "3",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "3",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    }


class Running:
    """The three processes of an Airflow, each a session of its own, and its database as seen from outside."""

    def __init__(self, airflow, port, database):
        self.database = database
        self.airflow, self.url = airflow, f"http://127.0.0.1:{port}"
        self.processes = {}

    def start(self):
        """Start them, the API server first: without it the first tasks would fail, and wait for their next try."""
        home, port = self.airflow.home, self.url.rpartition(":")[2]
        commands = {
            "api": ["api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1"],
            "dag-processor": ["dag-processor"],
            "scheduler": ["scheduler", "--skip-serve-logs"],
        }
        for name, words in commands.items():
            with (home / f"{name}.out").open("wb") as out:
                self.processes[name] = subprocess.Popen(
                    [lab.BIN / "airflow", *words], env=self.airflow.env, cwd=home, stdout=out, stderr=out, start_new_session=True
                )  # fmt: skip
            if name == "api":
                self.wait("the API server", lambda: answers(f"{self.url}/api/v2/monitor/health"), START_S)

    def stop(self):
        """End them, and whatever they have started: nothing of this home lives on."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        left = processes_of(self.airflow.home)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait(20)
        return left

    def post(self, path, body):
        """Ask the API server for something, as the pages of Airflow do."""
        with urllib.request.urlopen(f"{self.url}/auth/token", timeout=30) as answer:
            token = json.load(answer)["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        asked = urllib.request.Request(f"{self.url}/api/v2/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)

    def clear(self, dag_id, run_id, task):
        """Clear a task and all that follow it."""
        body = {"dag_run_id": run_id, "task_ids": [task], "include_downstream": True, "only_failed": False}
        return self.post(f"dags/{dag_id}/clearTaskInstances", body | {"dry_run": False, "reset_dag_runs": True})

    def ask(self, query, *values):
        """Read the database of Airflow."""
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return cursor.fetchall()

    def everything(self):
        """Give all rows of Airflow's database as text."""
        tables = [
            name
            for (name,) in self.ask(
                "select table_name::text from information_schema.tables where table_schema = 'public'"
            )
        ]
        return "\n".join(
            text for name in tables for (text,) in self.ask(f'select row_to_json(t)::text from "{name}" t')
        )

    def runs(self, dag_id):
        """Give the ids and states of the runs of a DAG, oldest first."""
        return self.ask("select run_id, state from dag_run where dag_id = $1 order by id", dag_id)

    def states(self, dag_id, run_id):
        """Give the states of a run's tasks, and the tries they have had."""
        found = self.ask(
            "select task_id, map_index, state, try_number from task_instance where dag_id = $1 and run_id = $2",
            dag_id,
            run_id,
        )
        return {f"{task}[{index}]" if index >= 0 else task: (state, tries) for task, index, state, tries in found}

    def wait(self, what, done, seconds=WAIT_S):
        """Wait until `done()` gives something, and give it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name, process in self.processes.items():
                assert process.poll() is None, (
                    f"{name} has ended: {(self.airflow.home / f'{name}.out').read_text()[-3000:]}"
                )
            found = done()
            if found:
                return found
            time.sleep(0.3)
        raise AssertionError(f"waited {seconds} s for {what}")

    def ended(self, dag_id, number=1):
        """Wait until run `number` of a DAG (counted from 1) has ended; give its state and its tasks'."""

        def look():
            found = self.runs(dag_id)
            return found[number - 1] if len(found) >= number and found[number - 1][1] in {"success", "failed"} else None

        run_id, state = self.wait(f"run {number} of {dag_id}", look)
        return run_id, state, self.states(dag_id, run_id)


def answers(url):
    """Whether a server is there."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
        return True
    return False


def processes_of(home):
    """Give the processes that work in this home; some of Airflow's write their title over their environment."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError):
                alive = (path / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                where = (path / "cwd").readlink()
                named = f"AIRFLOW_HOME={home}\0".encode() in (path / "environ").read_bytes()
                found += [int(path.name)] if alive and (named or where == home or home in where.parents) else []
    return [pid for pid in found if pid != os.getpid()]


@contextlib.contextmanager
def running(folder):
    """Give a running Airflow and its people."""
    port = lab.free_port()
    database = PostgreSQL()
    try:
        with lab.airflow(folder, **settings(port, database.dsn)) as (airflow, people):
            started = Running(airflow, port, database)
            try:
                started.start()
                yield started, airflow, people
            finally:
                started.stop()
                assert processes_of(airflow.home) == []
    finally:
        database.stop()
