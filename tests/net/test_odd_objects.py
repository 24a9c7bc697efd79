"""Objects of a store that are no files of anybody: folders' marks and empty ones are counted, and nothing else is made of them."""

import pytest
from tests.net.test_objects import KEYS, FakeS3, FaultServer

from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.files import Files

OBJECTS = {
    "data/": b"",
    "data/a.jsonl": b'{"text": "a"}\n',
    "data/b.jsonl": b"",
    "data/sub/": b"",
    "data/sub/c.jsonl": b'{"text": "c"}\n',
    "data/sub_$folder$": b"",
}


@pytest.mark.parametrize("glob", ["s3://bucket/data/**/*", "s3://bucket/**/*"])
def test_marks_of_folders_and_empty_objects_give_no_rows_and_are_counted(glob, tmp_path):
    with FaultServer(FakeS3(OBJECTS)) as server:
        source = Files(path=glob, storage=KEYS | {"endpoint": server.url})
        plan = source.plan(None, PlanContext(tmp_path))
        pages = [page for split in plan.splits for page in source.read(split, ReadContext(tmp_path))]
    assert plan.failed == []
    assert [text for page in pages for text in page.rows["text"].to_pylist()] == ["a", "c"]
    empty = [page.unit.removeprefix("data/") for page in pages if page.warnings == {"file.empty": 1}]
    assert {"b.jsonl", "sub", "sub_$folder$"} <= set(empty)
    assert [reject for page in pages for reject in page.rejects] == []
