"""The state machine, a short walk of it: `python -m tests.properties.machine 100000` makes a long one."""

import pytest
from tests.examples import examples
from tests.properties import machine


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    with machine.warm_process(tmp_path_factory.mktemp("warm")) as process:
        yield process


def test_whatever_happens_in_whatever_order_both_laws_and_the_promises_hold(warm):
    before = machine.Mill.taken.total()
    machine.walk(examples(150), 20, warm, per_walk=20)
    assert machine.Mill.taken.total() - before >= 20


def test_a_failure_prints_the_seed(warm):
    class Broken(machine.Mill):
        def holds(self, *, ended=True):
            raise AssertionError("as told")

    with pytest.raises(BaseException, match="as told") as raised:
        machine.walk(60, 7, warm, per_walk=20, mill=Broken)
    assert "seed 7: python -m tests.properties.machine 60 7" in raised.value.__notes__
