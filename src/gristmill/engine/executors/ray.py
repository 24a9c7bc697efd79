"""The Ray executor: jobs as stateless tasks of a Ray cluster, one of this run's own on loopback or one that is there.

What crosses is a job and its result, plain data of a few kB; records go through the dataset's storage only, which all nodes must see under
the same path. Not here: retries (`engine.drive`). Invariants: Ray tries nothing again by itself, a worker or node that dies is told as died;
no more tasks are handed over than `max_in_flight`; a worker of another build, or one that does not see the dataset, refuses to work; when the
driver dies the cluster ends its tasks, and what they still write has names nobody reads.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from gristmill.config.settings import RaySettings, RayStage, RunSettings
from gristmill.core import access, alarm, errors
from gristmill.core.build import build
from gristmill.core.errors import ConfigError, GristmillError, MissingExtra, StepError, Stopped, Transient
from gristmill.core.machine import MERGE_ROW_BYTES, WORKER_MB, worker_count
from gristmill.core.stopping import check
from gristmill.engine.adopt import Adoption
from gristmill.engine.executors.border import next_job, portable
from gristmill.engine.staged import wait_for
from gristmill.engine.task import run_task
from gristmill.engine.work import Job, Mode, Outcome, Setup, TaskResult, Work

OBJECT_STORE_BYTES = 80 << 20  # the least Ray takes; nothing of ours goes through it
IN_FOLDER_BYTES = 64  # `/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store`
POLL_S = 2.0  # how often a wait looks up, at the nodes and for signals
KNOCK_S = 10.0
NODES_S = 5.0  # how long what is known of the nodes holds
DIED = ("WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "LocalRayletDiedError", "ObjectLostError", "OwnerDiedError")  # fmt: skip


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
    """Let what a signal raises inside Ray's compiled code be what it is; it comes out as the cause of a SystemError."""
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__, Stopped | KeyboardInterrupt):
            raise error.__cause__ from None
        raise


class RayTasks:
    """Runs jobs as tasks of a Ray cluster; outcomes come in the order they are done."""

    def __init__(self, setup: Setup, run: RunSettings, workers: int | None) -> None:
        """Join the cluster, or start one of our own with room for `workers` tasks at a time."""
        self.settings: RaySettings = run.ray
        self.merge_mb = WORKER_MB + (run.merge_rows * MERGE_ROW_BYTES >> 20)
        self.own = self.settings.address is None
        self.most = None if self.own else workers  # our own cluster is as large as that
        self.ray = require(self.settings.address)
        self._flying: dict[Any, Job] = {}
        self._stuck_since: float | None = None
        self._known: tuple[float, list[dict[str, float]]] = (0.0, [])
        self._scratch = access.socket_folder("gm-ray-", IN_FOLDER_BYTES) if self.own else None
        self._joined = not self.ray.is_initialized()
        if self._joined:
            self._join(workers or worker_count())
        file = str(setup.file) if setup.file is not None else ""
        of_run = setup.fingerprint, file, setup.overrides, setup.adopted, setup.mode
        order = _Order(str(setup.root), setup.seq, setup.parent, *of_run, build())
        self._order = msgspec.json.encode(order)
        self._task = self.ray.remote(max_retries=0)(serve)
        self.slots = max(1, min([self._fit("read"), *([self.most] if self.most else [])]))

    def _join(self, workers: int) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self.own:
            quiet |= {
                "num_cpus": workers,
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": str(self._scratch),
            }
        try:
            if self.settings.address not in {None, "auto"}:
                _knock(str(self.settings.address))  # Ray itself tries for minutes
            with _signals_kept():
                self.ray.init(address=self.settings.address or "local", **quiet)
            if self.own:
                _check_loopback(self.ray.util.get_node_ip_address())
        except (OSError, RuntimeError, ValueError, self.ray.exceptions.RayError) as error:
            self.close()
            where = f"the Ray cluster at {self.settings.address}" if not self.own else "a Ray cluster on this machine"
            told = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Transient(f"{where} cannot be joined: {told}; mend it and run again") from error
        except BaseException:  # a signal
            self.close()
            raise

    def map(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Run all jobs; give each outcome as soon as it is there."""
        self._give_up()  # of a map that was left before its end
        waiting = deque(jobs)
        while waiting or self._flying:
            while waiting and len(self._flying) < self._room(waiting[0].kind):
                job = next_job(waiting, self._flying.values())
                if job is None:
                    break
                self._flying[self._hand_over(job)] = job
            ready = self._wait()
            check()
            for reference in ready:
                yield self._collect(reference, self._flying.pop(reference))
            self._check_nodes(moved=bool(ready))

    @_stopping()
    def _wait(self) -> list[Any]:
        """Give what is done, after a moment at most."""
        ready: list[Any] = self.ray.wait(list(self._flying), timeout=POLL_S, fetch_local=False)[0]
        return ready

    @_stopping()
    def _hand_over(self, job: Job) -> Any:
        need = self._need(job.kind)
        own = {name: n for name, n in need.items() if name not in {"CPU", "memory"}}
        options = self._task.options(
            num_cpus=need["CPU"], memory=need["memory"], resources=own, name=f"gristmill:{job.id}"
        )
        return options.remote(self._order, msgspec.json.encode(job))

    @_stopping()
    def _collect(self, reference: Any, job: Job) -> Outcome:
        try:
            answer = msgspec.json.decode(self.ray.get(reference), type=_Answer)
        except self.ray.exceptions.RayTaskError as error:  # raised before our own code was reached
            raise ConfigError(
                "a Ray worker could not load gristmill; install the same one, with its extras, on all nodes "
                f"({type(error.cause).__name__ if getattr(error, 'cause', None) else 'no import'})"
            ) from None
        except self.ray.exceptions.RayError as error:
            name = type(error).__name__
            if name in DIED or isinstance(error, self.ray.exceptions.ObjectLostError):
                return Outcome(job, died=name)
            return Outcome(job, error=StepError(f"Ray did not run task {job.id}: {name}"))
        if answer.failure is not None:
            return Outcome(job, error=answer.failure.error())
        return Outcome(job, result=answer.result)

    # --- room ----------------------------------------------------------------------------------------------------

    def _need(self, kind: str) -> dict[str, float]:
        """Give what a task of a kind asks for. What it is thought to need is at most what the largest node has."""
        stage: RayStage = getattr(self.settings.stages, kind)
        memory = float(stage.memory_mb or 0) * (1 << 20)
        if stage.memory_mb is None:
            usual = self.merge_mb if kind in {"identity", "merge"} else WORKER_MB
            memory = min([usual * float(1 << 20), max((n.get("memory", 0.0) for n in self._nodes()), default=0.0)])
        return {"CPU": stage.cpus, "memory": memory, **stage.resources}

    @_stopping()
    def _nodes(self) -> list[dict[str, float]]:
        """Give the resources of each node that lives, as of a moment ago."""
        if time.monotonic() - self._known[0] > NODES_S or not self._known[1]:
            alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
            self._known = (time.monotonic(), alive)
        return self._known[1]

    def _fit(self, kind: str) -> int:
        """Give how many tasks of a kind the cluster can run at once."""
        need = {name: n for name, n in self._need(kind).items() if n > 0}
        return sum(int(min(node.get(name, 0.0) / n for name, n in need.items())) for node in self._nodes())

    def _room(self, kind: str) -> int:
        """Give how many tasks may be in flight: a queue as long as what runs, so that no node waits for the driver."""
        return self.most or self.settings.max_in_flight or max(1, 2 * self._fit(kind))

    def _check_nodes(self, *, moved: bool) -> None:
        """Stop waiting for a node that could hold a task, when none comes."""
        kinds = sorted({job.kind for job in self._flying.values()}) if not moved else []
        lacking = next((kind for kind in kinds if self._fit(kind) == 0), None)
        if lacking is None:
            self._stuck_since = None
            return
        self._stuck_since = self._stuck_since or time.monotonic()
        if time.monotonic() - self._stuck_since >= (0 if self.own else self.settings.node_wait_s):
            nodes = [{name: node.get(name, 0.0) for name in self._need(lacking)} for node in self._nodes()]
            raise Transient(
                f"no node of the Ray cluster can hold a task of stage {lacking}, which asks for {_shown(self._need(lacking))}; there are "
                f"{', '.join(map(_shown, nodes)) or 'no nodes'}. Add one, or ask for less in run.ray.stages.{lacking}, and run again"
            )

    def _give_up(self) -> None:
        """End what is in flight."""
        for reference in self._flying:
            with contextlib.suppress(self.ray.exceptions.RayError, ValueError, RuntimeError):
                self.ray.cancel(reference, force=True)
        self._flying = {}

    def close(self) -> None:
        """End what is in flight, and leave the cluster; our own ends."""
        self._give_up()
        if self._joined:
            self.ray.shutdown()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def require(address: str | None) -> Any:
    """Import Ray with what it reads from the environment set: no telemetry, who may come in said aloud, loopback where nothing else is asked.

    Raises:
        MissingExtra: it is not installed.
    """
    loaded = sys.modules.get("ray")
    if loaded is not None and loaded.is_initialized():  # the user's own script has joined a cluster: that one
        return loaded
    told = os.environ
    told["RAY_USAGE_STATS_ENABLED"] = "0"
    if address is None:  # other users of this machine could reach it otherwise
        told.pop("RAY_AUTH_TOKEN_PATH", None)
        told |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}
        told |= {"RAY_worker_niceness": "0", "ARROW_DEFAULT_MEMORY_POOL": "system"} | told  # as local workers have it
    elif address != "auto":
        has_token = "RAY_AUTH_TOKEN" in told or "RAY_AUTH_TOKEN_PATH" in told
        told.setdefault("RAY_AUTH_MODE", "token" if has_token else "disabled")
    if address is None or _is_loopback(address.rpartition(":")[0].strip("[]")):
        # "No clusters on this kind of machine" is the one switch by which Ray takes 127.0.0.1 for what it is: tried, 2.60.
        told["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(
            f'run.engine: ray needs what is not installed ({error}); pip install "gristmill[ray]"'
        ) from None
    return ray


@lru_cache(maxsize=1)
def _token() -> str:
    """Give the secret of this process's own clusters: Ray reads it once, so the next one must have the same."""
    return secrets.token_hex(32)


def problems(file: Path | None, address: str | None) -> list[str]:
    """Say what would stop a run on Ray before it starts; joins no cluster."""
    if file is None:
        return ["run.engine: ray needs a config file that the workers can read; write the pipeline as gristmill.yml"]
    try:
        require(address)
    except MissingExtra as error:
        return list(error.problems)
    return []


def _knock(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


def _check_loopback(host: str) -> None:
    if not _is_loopback(host):
        raise ConfigError(
            f"Ray would listen on {host}, not on loopback only: it was loaded before gristmill; run in a process of its own"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep our own way with SIGTERM, which Ray replaces."""
    mine = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, before)


def _shown(resources: dict[str, float]) -> str:
    told = {name: f"{n / (1 << 20):.0f} MB" if name == "memory" else f"{n:g}" for name, n in resources.items() if n}
    return " and ".join(f"{name} {n}" for name, n in told.items()) or "nothing"


# --- in a worker of the cluster ----------------------------------------------------------------------------------


class _Order(msgspec.Struct, frozen=True):
    """`Setup` as it crosses, and the build that the driver is."""

    root: str
    seq: int
    parent: int
    fingerprint: str
    file: str
    overrides: list[str]
    adopted: Adoption | None
    mode: Mode
    build: dict[str, str]


class _Failure(msgspec.Struct, frozen=True):
    """An error as it crosses: its type as far as it is one of ours or the system's, what it says, code places."""

    kind: str
    told: list[str]
    notes: list[str]
    errno: int | None = None

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        """Take an error apart."""
        notes = list(getattr(error, "__notes__", []))
        if isinstance(error, OSError) and error.errno is not None:
            filename = [str(error.filename)] if error.filename is not None else []
            return cls("OSError", [error.strerror or "", *filename], notes, error.errno)
        names = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _KINDS]
        told = list(error.problems) if isinstance(error, ConfigError) else [str(error)]
        return cls(names[0] if names else "GristmillError", told, notes)

    def error(self) -> Exception:
        """Put it together again."""
        if self.errno is not None:
            error: Exception = OSError(self.errno, *self.told)
        else:
            error = _KINDS[self.kind](*self.told)
        for note in self.notes:
            error.add_note(note)
        return error


_KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        OSError, GristmillError, ConfigError, MissingExtra, errors.SourceError, Transient, StepError, errors.TooManyErrors,
        errors.StoreError, errors.StaleError,
    )
}  # fmt: skip


class _Answer(msgspec.Struct, frozen=True):
    """What a task hands back."""

    result: TaskResult | None = None
    failure: _Failure | None = None


def serve(order: bytes, job: bytes) -> bytes:
    """Do one job in a worker of the cluster, which keeps its `Work` for the next."""
    try:
        work, todo = _work(order), msgspec.json.decode(job, type=Job)
        wait_for(work, todo.sees)
        with alarm.raising():
            answer = _Answer(result=run_task(work, todo))
    except Exception as error:
        answer = _Answer(failure=_Failure.of(portable(error)))
    return msgspec.json.encode(answer)


@lru_cache(maxsize=1)
def _work(order: bytes) -> Work:
    """Make the run's `Work` in this process, once.

    Raises:
        ConfigError: this node is not like the driver's, or does not see what it sees.
    """
    told, node = msgspec.json.decode(order, type=_Order), socket.gethostname()
    here = build()
    other = [f"{name} {here.get(name)} there, {it} here" for name, it in told.build.items() if here.get(name) != it]
    if other:
        raise ConfigError(
            f"Ray node {node} is of another build than the driver: {'; '.join(other)}; install the same on all nodes"
        )
    of_run = told.fingerprint, Path(told.file), told.overrides, None, told.adopted, told.mode
    setup = Setup(Path(told.root), told.seq, told.parent, *of_run)
    try:
        work = Work(setup)
    except ConfigError as error:
        raise ConfigError(*(f"on Ray node {node}: {problem}" for problem in error.problems)) from error
    if not work.layout.plan(told.seq).exists():
        raise ConfigError(
            f"Ray node {node} does not see run {told.seq} in {told.root}; the dataset must lie on storage that all nodes share, under the same path"
        )
    return work
