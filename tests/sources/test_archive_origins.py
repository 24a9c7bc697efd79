"""No file has the name of a member of an archive, whatever folders are called."""

from hypothesis import given
from hypothesis import strategies as st
from tests.properties.lab import Lab, flat, jsonl
from tests.sources.test_files_archives import tarred, zipped

from gristmill.core.filesets import _apart

PATH = st.text(st.sampled_from("a!/"), min_size=1, max_size=9).filter(lambda path: not path.endswith("/"))


def test_a_folder_called_as_an_archive_has_other_records_than_its_members(tmp_path):
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/**/*", "id": None}}]})
    lab.put("in/a.zip", zipped({"x.jsonl": jsonl([{"text": "in the archive"}])}))
    lab.put("in/a.zip!/x.jsonl", jsonl([{"text": "in the folder"}]))
    lab.put("in/b!", tarred({"x.jsonl": jsonl([{"text": "in the other archive"}])}))
    lab.put("in/b!!/x.jsonl", jsonl([{"text": "in the other folder"}]))
    assert flat(lab.run().counts) == {"read": 4, "published": 4}
    assert {row.id: row.text for row in lab.rows()} == {
        "s/a.zip!/x.jsonl#0": "in the archive",
        "s/a.zip!//x.jsonl#0": "in the folder",
        "s/b!!/x.jsonl#0": "in the other archive",
        "s/b!!//x.jsonl#0": "in the other folder",
    }
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"


@given(PATH, PATH, PATH)
def test_no_two_places_are_one(path, other, member):
    if path != other:
        assert _apart(path) != _apart(other)
    if not member.startswith("/"):
        assert _apart(path) != f"{_apart(other)}!/{member}"
