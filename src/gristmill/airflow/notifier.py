"""Telling people that a task has failed for good: by mail, and by any apprise URL.

Not here: when (Airflow calls it after the last try). Invariants: passwords and addresses of hooks are read from Airflow's connections
and variables when they are needed, and stand in no message and no log; one that cannot be reached does not keep the others waiting.
"""

from __future__ import annotations

import json
import logging
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from functools import partial
from typing import Any

from airflow.sdk import BaseNotifier, Connection, Variable  # type: ignore[import-not-found]
from airflow.sdk.exceptions import AirflowException  # type: ignore[import-not-found]

from gristmill.airflow.program import Gristmill

SMTP_TIMEOUT_S = 30
VERDICT_TIMEOUT_S = 60
TOLD = "told"  # a mark of a task that has told of its failure


class Notifier(BaseNotifier):  # type: ignore[misc]
    """Tells people of a failure: of a task after its last try, and of a run whose task had no time to tell of itself.

    emails: who is written to. smtp: the connection of the mail server, with the fields of Airflow's own SMTP connections. apprise:
    variables that hold apprise URLs. gristmill: whom to ask for the report's verdict.
    """

    def __init__(
        self, gristmill: Gristmill, emails: list[str], smtp: str = "smtp_default", apprise: list[str] | None = None
    ) -> None:
        super().__init__()
        self.gristmill, self.emails, self.smtp, self.apprise = gristmill, list(emails), smtp, list(apprise or [])

    def notify(self, context: Any) -> None:
        """Send to all; where one cannot be reached the others still are.

        Airflow calls this for a task in the task's own process, and for a run in the DAG processor. A task that was killed (a lack of
        memory, a lost machine) is not called for: the run is, and then tells of it.

        Raises:
            AirflowException: with the names of those that could not be reached.
        """
        ti = context.get("ti")
        tasks = untold(context) if "reason" in context else [ti.task_id]
        if not tasks or not (self.emails or self.apprise):
            return
        subject = f"[gristmill] {context['dag'].dag_id}: {', '.join(tasks)} failed"
        reached, failed = self._send(subject, self.body(context, tasks))
        if reached and "reason" not in context:
            ti.xcom_push(TOLD, value=True)
        if failed:
            raise AirflowException(f"could not be told of the failure: {'; '.join(failed)}")

    def _send(self, subject: str, body: str) -> tuple[int, list[str]]:
        """Send to all; give how many were reached, and what kept the others from it."""
        ways: list[tuple[str, Callable[[], None]]] = []
        if self.emails:
            ways.append((f"connection {self.smtp}", partial(self._mail, subject, body)))
        ways += [(f"variable {name}", partial(_post, name, subject, body)) for name in self.apprise]
        failed = []
        for called, send in ways:
            try:
                send()
            except Exception as error:  # its message may hold an address with a password
                failed.append(f"{called}: {type(error).__name__}")
        return len(ways) - len(failed), failed

    def body(self, context: Any, tasks: list[str]) -> str:
        """Give the text of a message."""
        ti, of_run = context.get("ti"), "reason" in context
        lines = {"DAG": context["dag"].dag_id, "Task": ", ".join(tasks)}
        if ti is None:
            lines["Run"] = context["run_id"]
        else:
            lines["Task"] += f" [{ti.map_index}]" if ti.map_index >= 0 and not of_run else ""
            lines["Run"] = ti.run_id
            lines |= {} if of_run else {"Try": f"{ti.try_number} of {ti.max_tries + 1}"}
            lines |= {"Log": ti.log_url.partition("/tasks/")[0] if of_run else ti.log_url, "Verdict": self.verdict(ti)}
        error = context.get("exception") or "it was killed, or its worker was lost, before it could tell of itself"
        return "\n".join(f"{name}: {value}" for name, value in lines.items()) + f"\n\n{str(error).strip()}\n"

    def verdict(self, ti: Any) -> str:
        """Say what gristmill's report of the run says; a failure to find out is no failure."""
        try:
            groups = ti.xcom_pull(task_ids="plan")
            if not groups:
                return "no run was planned"
            seq = groups[0]["seq"]
            command = self.gristmill.command(("show", str(seq)))
            done = subprocess.run(command, capture_output=True, text=True, timeout=VERDICT_TIMEOUT_S, check=False)  # noqa: S603
            return verdict_of(json.loads(done.stdout)) if done.returncode == 0 else f"run {seq} has no report yet"
        except Exception as error:
            return f"unknown ({type(error).__name__})"

    def _mail(self, subject: str, body: str) -> None:
        """Send a mail as the connection says; its fields mean what they mean to Airflow's SMTP provider."""
        server = Connection.get(self.smtp)
        extra = server.extra_dejson
        message = EmailMessage()
        message["Subject"], message["To"] = subject, ", ".join(self.emails)
        message["From"] = extra.get("from_email") or (
            server.login if "@" in (server.login or "") else f"gristmill@{socket.getfqdn()}"
        )
        message.set_content(body)
        encrypted = not extra.get("disable_ssl", False)
        timeout_s = float(extra.get("timeout", SMTP_TIMEOUT_S))
        if encrypted:
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port or 465, timeout=timeout_s, context=ssl.create_default_context()
            )
        else:
            client = smtplib.SMTP(server.host, server.port or 25, timeout=timeout_s)
        with client:
            if not encrypted and not extra.get("disable_tls", False):
                client.starttls(context=ssl.create_default_context())
            if server.login and server.password:
                client.login(server.login, server.password)
            client.send_message(message)


def untold(context: Any) -> list[str]:
    """Give the tasks of a run that failed and could not tell of it; where that cannot be found out, the one Airflow names."""
    ti = context.get("ti")
    if ti is None:
        return ["the run"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    known = context["dag"].task_ids  # a mapped one is told as its name, _ and a number
    names = [name if name in known else name.rpartition("_")[0] for name, state in states.items() if state == "failed"]
    failed = dict.fromkeys(names)
    return [name for name in failed or [ti.task_id] if not ti.xcom_pull(task_ids=name, key=TOLD)]


def verdict_of(report: Mapping[str, Any]) -> str:
    """Say in a line what a report says."""
    counts, broken = report["counts"], [rule for rule in report["gate"] if not rule["ok"]]
    rules = "".join(f"; {rule['rule']} is {rule['value']:.6g}, limit {rule['limit']:.6g}" for rule in broken)
    return f"run {report['run']} {report['status']}: {counts['read']} read, {counts['published']} published{rules}"


def _post(variable: str, subject: str, body: str) -> None:
    from apprise import Apprise  # pip install apprise, in Airflow's environment

    logging.getLogger("apprise").disabled = True  # it would write addresses to the task's log
    sender = Apprise()
    if not sender.add(Variable.get(variable)) or not sender.notify(title=subject, body=body):
        raise AirflowException(f"variable {variable} holds no apprise URL, or it was not answered")
