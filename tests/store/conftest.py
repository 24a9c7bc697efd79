"""An object store and a warm process for the tests of datasets on a store."""

import contextlib
import shutil
import subprocess
import sys
import time

import pytest
from tests.net.stores import free_ports, s3
from tests.soak import scenes
from tests.store.remotes import history


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    """Give a moto in a process of its own: delta-rs holds the interpreter while it waits for an answer."""
    (port,) = free_ports(1)
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield _ready(process, port)
    finally:
        process.kill()
        process.wait()
        log.close()


def _ready(process, port):
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(Exception):
            return s3(port, "bucket")
        time.sleep(0.2)
    raise RuntimeError(f"moto does not come up ({process.poll()})")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Give a warm process over a frozen copy of `src`: a manifest holds a digest of the code, which somebody may be editing."""
    source = tmp_path_factory.mktemp("frozen") / "src"
    shutil.copytree(scenes.ROOT / "src", source)
    with scenes.warm(tmp_path_factory.mktemp("warm"), source) as warm:
        yield warm


@pytest.fixture(scope="session")
def local(tmp_path_factory, server):
    """Give the scenes on a local disk."""
    return history(tmp_path_factory.mktemp("local"), server, n=40)
