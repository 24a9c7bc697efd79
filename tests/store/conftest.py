"""An object store and a warm process for the tests of datasets on a store."""

import contextlib
import shutil
import subprocess
import sys
import time

import pytest
from tests.examples import SOAK
from tests.net.stores import free_ports, s3, seaweed
from tests.soak import scenes
from tests.store.remotes import history


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    """Give a moto in a process of its own: delta-rs holds the interpreter while it waits for an answer.

    It knows which buckets there are and asks for no signatures, unlike SeaweedFS, and takes four times as long for an answer.
    """
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


@pytest.fixture(scope="session", params=["seaweedfs", "moto"] if SOAK else ["seaweedfs"])
def bucket(request, tmp_path_factory):
    """Give a bucket of a SeaweedFS, and in the soak one of moto, too."""
    if request.param == "moto":
        yield request.getfixturevalue("moto")
        return
    with seaweed(tmp_path_factory.mktemp("weed")) as store:
        yield store


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
