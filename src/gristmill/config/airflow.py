"""The key `airflow` of a config: how its DAG is scheduled, and who is told when a task has failed for good.

Not here: the DAG (`gristmill.airflow`). Invariants: nothing here changes a record or a fingerprint; passwords and the addresses of
hooks stay in Airflow, this key names the connection and the variables that hold them.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

import msgspec

Delay = Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d*(s|m|h|d)$")]
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.\-]+$")]
Mail = Annotated[str, msgspec.Meta(pattern=r"^[^@\s<>,;]+@[^@\s<>,;]+$")]
Schedule = Annotated[str, msgspec.Meta(pattern=r"^(@(hourly|daily|weekly|monthly|quarterly|yearly)|\S+( \S+){4})$")]
Day = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d$")]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class AirflowSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the DAG of this config looks.

    dag_id: null for gristmill and the name of the config's folder. schedule: a preset such as @daily or a cron expression in five fields; null
    for by hand only. start_date: YYYY-MM-DD. owner: who answers for it. emails: who is written to when a task has
    failed for good. smtp: the Airflow connection of the mail server. apprise: Airflow variables, each of which holds an apprise URL to
    notify. groups: parts that reading and the steps are spread over, at most. retries: further tries of a task. retry_delay: between them.
    """

    dag_id: Word | None = None
    schedule: Schedule | None = "@daily"
    start_date: Day = "2026-01-01"
    owner: Annotated[str, msgspec.Meta(min_length=1)] = "gristmill"
    emails: list[Mail] = []
    smtp: Word = "smtp_default"
    apprise: list[Word] = []
    groups: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    retries: Annotated[int, msgspec.Meta(ge=0)] = 3
    retry_delay: Delay = "5m"

    def __post_init__(self) -> None:
        try:
            date.fromisoformat(self.start_date)
        except ValueError:
            raise ValueError(f"start_date {self.start_date} is no day there is") from None

    @property
    def retry_delay_s(self) -> int:
        """The delay in seconds."""
        return int(self.retry_delay[:-1]) * _SECONDS[self.retry_delay[-1]]
