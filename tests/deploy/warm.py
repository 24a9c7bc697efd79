"""The command `gristmill` for scripts that call it thirty times: a process that has imported all of it forks a child for each call.

python -m tests.deploy.warm SOCKET          is that process; it says a line when it listens, and ends with its standard input
python -S -E tests/deploy/warm.py SOCKET VERB ...   stands in for `gristmill VERB ...`, and imports next to nothing
"""

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path


def call(path, argv):
    """Have a command line done, with this process's folder, environment and streams; give its exit code."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        told = json.dumps({"cwd": str(Path.cwd()), "argv": argv, "env": dict(os.environ)}).encode()
        socket.send_fds(line, [len(told).to_bytes(4, "big")], [1, 2])
        line.sendall(told)
        return int(line.recv(8) or b"70")


def begun(folder):
    """Begin such a process with its socket in a folder, which has a short name; give it once it listens."""
    import subprocess

    command = [sys.executable, "-m", "tests.deploy.warm", str(folder / "socket")]
    server = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"listening\n"
    return server


def ended(server):
    """End it."""
    server.stdin.close()
    server.wait()
    server.stdout.close()


def stand_in(path, words):
    """Write a program that starts this Python with these words and its own."""
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {" ".join(map(str, words))} "$@"\n')
    path.chmod(0o755)
    return path


def serve(path):
    import gristmill.engine.executors.inline
    import gristmill.exports.jsonl
    import gristmill.sources.files
    import gristmill.steps.clean.text
    import gristmill.steps.dedup.exact  # noqa: F401
    from gristmill.cli import perform
    from gristmill.pipeline import Pipeline  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        line, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            child(line, perform)
        line.close()


def child(line, perform):
    code = 70
    try:
        size, streams, _, _ = socket.recv_fds(line, 4, 2)
        told = bytearray()
        while len(told) < int.from_bytes(size, "big"):
            told += line.recv(65536)
        asked = json.loads(told)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        for fd, stream in enumerate(streams, 1):
            os.dup2(stream, fd)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = perform(asked["argv"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        line.sendall(str(code).encode())
        os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(call(sys.argv[1], sys.argv[2:]))
    serve(sys.argv[1])
