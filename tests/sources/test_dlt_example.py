"""The example of the `dlt` source, three days of it."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("dlt", reason="the extra dlt is not installed")

from gristmill.pipeline import Pipeline
from gristmill.testing import laws

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sources" / "dlt"


def write(folder, key, **post):
    (folder / "posts" / f"{key}.json").write_text(json.dumps({"id": key} | post))


def run(folder):
    report = Pipeline.from_file(folder / "gristmill.yml").run(workers=1)
    laws.assert_laws(folder / "corpus")
    texts = {row["id"]: row["text"] for row in laws.head_rows(folder / "corpus").to_pylist()}
    return report.status, {id_.removeprefix("posts/"): text for id_, text in texts.items()}


def test_the_example_runs_for_three_days(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    status, texts = run(tmp_path)
    assert status == "published"
    assert sorted(texts) == ["bread", "harbour"]
    assert texts["bread"].startswith("Bread\n\nFlour, water")
    write(
        tmp_path,
        "bread",
        title="Bread",
        body="Flour, water, salt, time and a warm kitchen.",
        updated_at="2026-03-03T08:00:00Z",
    )
    write(
        tmp_path,
        "rain",
        title="Rain",
        body="It has rained for a week and nobody minds.",
        updated_at="2026-03-03T09:00:00Z",
    )
    status, texts = run(tmp_path)
    assert sorted(texts) == ["bread", "harbour", "rain"]
    assert "warm kitchen" in texts["bread"]
    write(tmp_path, "rain", deleted=True, updated_at="2026-03-04T09:00:00Z")
    status, texts = run(tmp_path)
    assert sorted(texts) == ["bread", "harbour"]
    assert run(tmp_path)[0] == "nothing_new"
