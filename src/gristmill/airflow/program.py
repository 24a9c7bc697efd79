"""Calling gristmill, the program, from a task: its messages go to the task's log, its exit code decides whether to try again.

Not here: which verbs are called (`gristmill.airflow`). Invariants: the program ends when its task does, however that is killed; an
error's text is what the program said, which never holds document text or a secret.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from airflow.sdk.exceptions import (  # type: ignore[import-not-found]  # Airflow lives in another environment than ours
    AirflowException,
    AirflowFailException,
)

LOG = logging.getLogger("airflow.task")
FOR_GOOD = {2: "wrong usage or config", 3: "refused by the gate", 4: "verify found damage"}
PASSING = {5: "another run holds the dataset"}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Gristmill:
    """The program and the config it is called with."""

    executable: str
    config: str

    def command(self, words: tuple[str, ...]) -> list[str]:
        """Give the command line of a verb."""
        return [find_program(self.executable), *words, "-c", self.config, "--json"]

    def __call__(self, *words: str) -> Any:
        """Call a verb and give what it answers; its messages go to the task's log.

        Raises:
            AirflowFailException: another try would end the same: exit codes 2, 3 and 4, or there is no such program.
            AirflowException: any other failure: the task is to be tried again.
        """
        LOG.info("gristmill %s", " ".join(words))
        told: list[str] = []
        with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
            with _started(self.command(words), answer) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    LOG.info(line.rstrip())
                    if line.startswith("error: "):
                        told.append(line.removeprefix("error: ").strip())
            answer.seek(0)
            lines = answer.read().splitlines()
        code = process.returncode
        if code:
            why = FOR_GOOD.get(code) or PASSING.get(code) or "failed; it is safe to try again"
            message = f"gristmill {' '.join(words[:2])} ended with {code}: {why}" + "".join(
                f"\n{line}" for line in told
            )
            raise AirflowFailException(message) if code in FOR_GOOD else AirflowException(message)
        return json.loads(lines[-1]) if lines else {}


def find_program(executable: str) -> str:
    """Give the path of the program. One that lies beside this Python comes last: installed without dependencies it cannot run.

    Raises:
        AirflowFailException: there is none.
    """
    if "/" in executable:
        found = shutil.which(executable)
    else:
        here = str(Path(sys.executable).parent)
        others = [folder for folder in os.get_exec_path() if folder != here]
        found = shutil.which(executable, path=os.pathsep.join(others)) or shutil.which(executable)
    if found is None:
        raise AirflowFailException(
            f"there is no program {executable!r} on this worker; install gristmill in an environment of its own and name its path: "
            "gristmill airflow render --executable /path/to/bin/gristmill"
        )
    return found


@contextlib.contextmanager
def _started(command: list[str], answer: TextIO) -> Iterator[subprocess.Popen[str]]:
    """Run a program that ends when its task is killed, however that happens."""
    die_with_me = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def with_parent() -> None:
        if die_with_me is not None:
            die_with_me(_PR_SET_PDEATHSIG, signal.SIGTERM)

    process = subprocess.Popen(  # noqa: S603  the words are ours, there is no shell
        command, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.PIPE, text=True, errors="replace", preexec_fn=with_parent  # noqa: PLW1509
    )  # fmt: skip
    try:
        with _terminated(process):
            yield process
            process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()


@contextlib.contextmanager
def _terminated(process: subprocess.Popen[str]) -> Iterator[None]:
    """Pass a SIGTERM on: Airflow sends one to a task that is to stop, and leaves the rest to the task."""

    def stop(number: int, frame: FrameType | None) -> None:
        process.terminate()

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
