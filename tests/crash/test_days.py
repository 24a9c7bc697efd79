"""A process that makes many runs: what it holds, day by day."""

from __future__ import annotations

from pathlib import Path

from tests.soak import days


def test_open_files_and_threads_do_not_pile_up_over_runs_in_one_process(tmp_path: Path) -> None:
    lived, problems = days.live(tmp_path, 6, workers=2)
    assert problems == []
    assert len({(day.files, day.threads) for day in lived[2:]}) == 1, lived


def test_what_piles_up_is_told() -> None:
    flat = [days.Day(100 << 20, 20, 2)] * 50
    assert days.grown(flat)[1] == []
    assert days.grown([day._replace(rss=day.rss + n * (40 << 10)) for n, day in enumerate(flat)])[1] == [
        "memory grows by 40 kB a run"
    ]
    piled = [day._replace(files=20 + n // 20, threads=2 + n // 40) for n, day in enumerate(flat)]
    assert days.grown(piled)[1] == ["open files pile up: at most 21, then 22", "threads pile up: at most 2, then 3"]
