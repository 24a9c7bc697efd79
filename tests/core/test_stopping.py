"""A signal stops what goes on, wherever Python was when it came."""

import contextlib
import signal
import sys
import threading
import time
import weakref

import pytest

from gristmill.core.errors import Stopped
from gristmill.core.stopping import behind, check, stop_by_sigterm, stoppable

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


def a_lost_signal(number):
    """What a library does that tries something and takes whatever is raised for its own failure."""
    with contextlib.suppress(BaseException):
        signal.raise_signal(number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_p4_a_signal_whose_exception_was_swallowed_is_raised_at_the_next_check(number, code):
    with pytest.raises(Stopped) as caught, stoppable():  # noqa: PT012
        a_lost_signal(number)
        check()
    assert caught.value.exit_code == code


def test_a_signal_that_was_lost_before_a_run_began_stops_it_too():
    before = (signal.getsignal(signal.SIGTERM), sys.unraisablehook)
    try:
        stop_by_sigterm()
        a_lost_signal(signal.SIGTERM)
        with pytest.raises(Stopped), stoppable():
            check()
    finally:
        signal.signal(signal.SIGTERM, before[0])
        sys.unraisablehook = before[1]


def test_an_error_that_comes_out_after_a_signal_is_that_signal():
    missing = ImportError("half imported")
    with stoppable():
        assert behind(missing) is missing
        a_lost_signal(signal.SIGTERM)
        told = behind(missing)
        assert isinstance(told, Stopped)
        assert told.exit_code == 143
        assert behind(told) is told
        assert isinstance(behind(KeyboardInterrupt()), KeyboardInterrupt)
    assert behind(missing) is missing
    with pytest.raises(Stopped) as caught, stoppable():  # noqa: PT012
        a_lost_signal(signal.SIGINT)
        raise missing
    assert (caught.value.exit_code, caught.value.__cause__) == (130, missing)
    with pytest.raises(ImportError), stoppable():
        raise missing


def test_where_no_signal_came_or_another_thread_asks_a_check_goes_on():
    seen = []
    with stoppable():
        check()
        a_lost_signal(signal.SIGTERM)
        thread = threading.Thread(target=lambda: seen.append(check()))
        thread.start()
        thread.join()
    check()
    assert seen == [None]
