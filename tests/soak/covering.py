"""What pytest loads where its lines are counted (`covered`): a worker of an executor is given the time to say which it has run, before it is killed.

Not here: the counting. Invariant: a worker that does not end by itself is killed all the same.
"""

from multiprocessing.process import BaseProcess

PATIENCE_S = 5.0


def pytest_configure() -> None:
    """Let workers whose pipe is closed end by themselves."""
    kill = BaseProcess.kill

    def end(process: BaseProcess) -> None:
        process.join(PATIENCE_S)
        kill(process)

    BaseProcess.kill = end  # type: ignore[method-assign]
