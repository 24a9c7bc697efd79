"""A real Ray cluster of several node processes on this machine, on loopback, with a token, that is seen to end.

`Cluster` starts this file as a process of its own (`python -m tests.ray.cluster`), which starts the nodes, says where they are, and adds one or
ends when told. Nothing is left: `close` kills what does not end, and `left` tells.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
OBJECT_STORE_BYTES = 80 << 20


def environment(source, token, scratch):
    """Give the variables that a cluster and its drivers must share; `source`: the frozen `src` that all of them run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(source), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1 stays what it is (executors/ray.py)
        "RAY_TMPDIR": str(scratch),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # as local workers have
    }


class Cluster:
    """Nodes of one core each; the first is the head, where the driver is. Used as a context."""

    def __init__(self, source, nodes, cpus=1):
        self.scratch = Path(tempfile.mkdtemp(prefix="gmr-", dir="/tmp"))  # short: sockets lie in it
        self.env = environment(source, secrets.token_hex(32), self.scratch)
        command = [sys.executable, "-W", "ignore", "-m", "tests.ray.cluster", str(nodes), str(cpus)]
        self._log = (self.scratch / "cluster.log").open("w")
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._known = None

    @property
    def _told(self):
        """Give what the nodes are; they start beside what the caller does until it asks."""
        if self._known is None:
            self._known = self._hear()
        return self._known

    def _hear(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the cluster did not start: {(self.scratch / 'cluster.log').read_text()[-2000:]}")
        return json.loads(line)

    @property
    def address(self):
        return self._told["address"]

    @property
    def raylets(self):
        """Give the raylet of each node, the head's first."""
        found = [psutil.Process(pid) for pid in self._told["raylets"] if psutil.pid_exists(pid)]
        return [each for each in found if each.status() != psutil.STATUS_ZOMBIE]

    def add_node(self):
        self._process.stdin.write("add\n")
        self._process.stdin.flush()
        self._known = self._hear()

    def workers(self, node=None):
        """Give the processes that run tasks, of one node or of all."""
        found = []
        for raylet in self.raylets if node is None else [node]:
            try:
                found += [each for each in raylet.children(recursive=True) if each.name().startswith("ray::gristmill")]
            except psutil.NoSuchProcess:
                continue
        return found

    def kill_node(self, raylet):
        """Kill a node whole, as a machine that loses its power: the raylet and all below it, at once."""
        tree = [raylet, *raylet.children(recursive=True)]
        for each in tree:
            try:
                each.suspend()  # so that none sees another die
            except psutil.NoSuchProcess:
                continue
        for each in tree:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue

    def left(self):
        """Give the processes that still belong to the cluster, known by the scratch folder in their environment."""
        return belonging(f"RAY_TMPDIR={self.scratch}")

    def close(self):
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()
        self._log.close()
        deadline = time.monotonic() + 10
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.1)
        for each in self.left():
            each.kill()
        psutil.wait_procs(self.left(), 10)
        shutil.rmtree(self.scratch, ignore_errors=True)
        assert not self.left()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def belonging(setting):
    """Give the living processes that have `NAME=VALUE` in their environment, but not this one."""
    found = []
    for process in psutil.process_iter():
        try:
            environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if setting.encode() in environ and process.pid != os.getpid():
            found.append(process)
    return found


def serve(nodes, cpus):
    """Be the cluster."""
    from ray.cluster_utils import Cluster as Nodes

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = {
        "num_cpus": cpus,
        "object_store_memory": OBJECT_STORE_BYTES,
        "node_ip_address": "127.0.0.1",
        "include_dashboard": False,
    }
    cluster = Nodes()
    for _ in range(nodes):
        cluster.add_node(**arguments)
    tell(cluster)
    for line in sys.stdin:
        if line.strip() == "add":
            cluster.add_node(**arguments)
            tell(cluster)
    cluster.shutdown()


def tell(cluster):
    nodes = [cluster.head_node, *sorted(cluster.worker_nodes, key=lambda node: node._raylet_socket_name)]
    raylets = [process.process.pid for node in nodes for process in node.all_processes.get("raylet", [])]
    sys.stdout.write(json.dumps({"address": cluster.address, "raylets": raylets}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
