"""In our own processes pyarrow does without pandas until somebody imports it, and then knows it as ever."""

import importlib.util
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")

SPARED = """
import sys
import pyarrow as pa
from gristmill.core.frames import spare_pandas
spare_pandas()
pa.table({"a": pa.array([1, None])}).take(pa.array([1]))
print("pandas" in sys.modules)
"""


def output(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_values_are_converted_without_pandas():
    assert output(SPARED) == ["False"]


def test_who_imports_pandas_has_its_values_converted_as_ever():
    code = "import pandas as pd\nprint(pa.array(pd.Series([1.0, None])).null_count, len(sys.meta_path))"
    plain = output("import sys\nimport pyarrow as pa\n" + code)
    assert output(SPARED + code) == ["False", *plain]
    assert plain[0] == "1"


def test_arrow_itself_goes_to_pandas_when_asked():
    assert output(SPARED + "print(type(pa.table({'a': [1]}).to_pandas()).__name__)") == ["False", "DataFrame"]


def test_a_process_that_has_pandas_stays_as_it_is():
    code = "import sys, pandas\nfrom gristmill.core.frames import spare_pandas\nbefore = list(sys.meta_path)\nspare_pandas()\n"
    assert output(code + "print(sys.meta_path == before)") == ["True"]


def test_a_run_loads_no_pandas(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a text of some words"}\n')
    (tmp_path / "gristmill.yml").write_text(
        "version: 1\ndataset: ./d\nsources: [{name: a, files: {path: a.jsonl}}]\nsteps: [clean.text]\n"
    )
    command = [sys.executable, "-X", "importtime", "-m", "gristmill", "run", "--workers", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pyarrow.lib" in done.stderr
    assert "pandas.core" not in done.stderr
