"""What comes out of a user's own code: told apart from what is meant for the process it runs in.

Not here: what becomes of it (`engine.flow`, the executors, `core.single`). Invariant: nothing that a function of a user's raises ends the
process, `sys.exit()` with its text least of all; a signal, the alarm and too little memory are not the function's doing.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from gristmill.core.alarm import LateError
from gristmill.core.errors import StepError, Stopped


def is_raised(error: BaseException) -> bool:
    """Tell if the code itself raised this, SystemExit and the like too. Ctrl-C is a person's where Python makes KeyboardInterrupt of it."""
    if isinstance(error, KeyboardInterrupt):
        return signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    return not isinstance(error, MemoryError | Stopped | LateError)


@contextmanager
def contained() -> Iterator[None]:
    """Let what would end the process come out as an error, where no record can be blamed for it.

    Raises:
        StepError: SystemExit or another that is no Exception was raised within; its message is not kept.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if not is_raised(error):
            raise
        raise StepError(
            f"code that the config names raised {type(error).__name__}, which would end the process; let it raise an error of its own"
        ) from error
