"""Cost: what a run costs by the prices of its config, when that jumps, and what an estimate said beside it."""

import json

import pytest

from gristmill.config.settings import Cost
from gristmill.engine import cost
from gristmill.engine.report import Report
from gristmill.store.layout import Layout

PRICES = Cost(currency="EUR", core_hour=0.36, gb_month=0.02, months=3)


def report(run: int, total: float, gb: float = 1.0, currency: str = "EUR") -> dict:
    return {
        "run": run,
        "bytes_read": int(gb * 1e9),
        "cost": {"total": total, "currency": currency, "parts": {"compute": total}},
    }


def test_cores_are_paid_by_the_hour_and_storage_by_gb_and_month():
    told = cost.in_all(PRICES, cores=2, seconds=1800, stored_bytes=5e9)
    assert told == {"total": 0.66, "currency": "EUR", "parts": {"compute": 0.36, "storage": 0.3}}


def test_what_has_no_price_is_no_part_and_no_price_at_all_is_no_cost():
    assert cost.in_all(Cost(core_hour=1), 1, 3600, 1e9)["parts"] == {"compute": 1.0}
    assert cost.in_all(Cost(), 1, 3600, 1e9) is None


def test_a_limit_without_a_price_is_refused():
    with pytest.raises(ValueError, match="limits nothing"):
        Cost(max_cost=5)


def test_a_jump_is_told_over_twice_the_median_of_at_least_three_runs():
    before = [report(1, 1.0), report(2, 1.2), report(3, 90.0), report(4, 1.1)]
    assert cost.jump(PRICES, report(5, 2.2), before) is None  # the median is 1.15
    told = cost.jump(PRICES, report(5, 2.4), before)
    assert told is not None
    assert "2.1 times the median of the last 4 runs (1.15)" in told
    assert cost.jump(PRICES, report(5, 50.0), before[:2]) is None
    assert cost.jump(Cost(core_hour=1, jump=None), report(5, 50.0), before) is None


def test_runs_in_another_currency_or_that_read_nothing_are_not_compared():
    before = [report(1, 1.0, currency="USD"), report(2, 1.0, gb=0.0001), report(3, 1.0), report(4, 1.0)]
    assert cost.jump(PRICES, report(5, 9.0), before) is None
    assert [run["run"] for run in cost.trend(before)] == [1, 3, 4]


def test_a_finished_run_tells_its_cost_a_jump_and_what_was_estimated(tmp_path):
    layout = Layout(tmp_path)
    for run in (1, 2, 3):
        path = layout.report(run)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"status": "published", "dataset": "d"} | report(run, 0.1)))
    kept = {"head": 3, "config": "f", "bytes": 77, "seconds": 9.0, "cpu_seconds": 5.0, "table_bytes": 10}
    held = {"cores": 2, "machines": 1, "dataset_bytes": 10, "exports": {}, "cost": {"total": 7.0}}  # at other prices
    layout.estimate.write_text(json.dumps(kept | held))
    ran = Report(
        status="published", dataset="d", run=4, parent=3, bytes_read=10**9, seconds=10.0, cores=2, cpu_seconds=4.0
    )
    cost.settle(Cost(currency="EUR", core_hour=72.0), layout, 77, "f", ran)
    assert ran.cost == {"total": 0.4, "currency": "EUR", "parts": {"compute": 0.4}}
    assert [entry["code"] for entry in ran.errors] == ["cost.jump"]
    assert ran.estimate == {
        "seconds": {"estimated": 9.0, "measured": 10.0, "ratio": 0.9},
        "cpu_seconds": {"estimated": 5.0, "measured": 4.0, "ratio": 1.25},
        "cost": {"estimated": 0.36, "measured": 0.4, "ratio": 0.9},
    }
    cost.settle(Cost(), layout, 78, "f", ran)
    assert ran.estimate is None, "it was made for another plan"
