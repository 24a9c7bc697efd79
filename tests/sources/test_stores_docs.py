"""The pages and examples of `warc` and of stores say what is so."""

import re
from pathlib import Path

import pytest

import gristmill
from gristmill.sources.warc import Warc

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["warc", "s3"])
def test_the_example_loads(name, monkeypatch):
    for variable in ("BUCKET", "S3_ENDPOINT", "S3_KEY_ID", "S3_SECRET"):
        monkeypatch.setenv(variable, "value-1")
    pipeline = gristmill.Pipeline.from_file(ROOT / "examples" / "sources" / name / "gristmill.yml")
    assert [bound.part for bound in pipeline.config.sources][-1] == "warc"


def test_the_page_of_warc_names_every_parameter():
    page = (ROOT / "docs" / "sources" / "warc.md").read_text()
    assert all(f"`{name}`" in page for name in Warc.__struct_fields__), "a parameter is missing"


def test_every_code_of_the_source_is_on_its_page():
    page = (ROOT / "docs" / "sources" / "warc.md").read_text()
    code = "".join(
        (ROOT / "src" / "gristmill" / name).read_text() for name in ("sources/warc.py", "sources/formats/warc.py")
    )
    codes = set(re.findall(r'"((?:warc|file|size)\.[a-z_]+)"', code)) - {"file.extension", "file.empty"}
    assert {code for code in codes if f"`{code}`" not in page} == set()
