"""A signal stops what goes on, wherever Python was when it came."""

import signal
import sys
import threading
import time
import weakref

import pytest

from gristmill.core.errors import Stopped
from gristmill.core.stopping import stoppable

PATIENCE_S = 20


class Thing:
    """What weak references may point to."""


def wait():
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(0.001)


def in_a_finaliser(number):
    thing = Thing()
    seen = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing
    return seen


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_p4_a_signal_that_comes_where_nothing_can_be_raised_is_raised_after_it(number, code):
    began = time.monotonic()
    with pytest.raises(Stopped) as caught, stoppable():  # noqa: PT012
        in_a_finaliser(number)
        wait()
    assert caught.value.exit_code == code
    assert time.monotonic() - began < PATIENCE_S / 2


def test_what_else_cannot_be_raised_is_told_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told_: told.append(told_.exc_type))
    with stoppable():
        thing = Thing()
        seen = weakref.ref(thing, lambda _: 1 / 0)
        del thing
    assert (told, seen()) == ([ZeroDivisionError], None)


def test_handlers_are_as_they_were_afterwards():
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook)
    with stoppable():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


def test_in_another_thread_signals_are_left_alone():
    before, seen = sys.unraisablehook, []

    def body():
        with stoppable():
            seen.append(sys.unraisablehook)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]
