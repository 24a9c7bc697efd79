"""The count of guards tells what failed, what was skipped, and what did not run at all."""

from tests.guards import GUARDS, run


def test_what_fails_is_named_and_what_is_skipped_is_counted(tmp_path):
    file = tmp_path / "test_it.py"
    file.write_text("import pytest\ndef test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pytest.skip('no')\n")
    passed, skipped, failed = run((str(file),))
    assert (passed, skipped) == (1, 1)
    assert [name.rpartition("::")[2] for name in failed] == ["test_b"]
    assert run((str(tmp_path / "nothing.py"),))[2], "tests that are not there are not passed"


def test_every_guard_has_as_many_cases_as_were_promised():
    promised = [60, 200, 30, 30, 0]
    assert [guard.cases >= least for guard, least in zip(GUARDS.values(), promised, strict=True)] == [True] * 5
