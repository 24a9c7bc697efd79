"""P11: where one dataset's export lies nothing else is put, and what is not an export's own is not removed."""

import contextlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.properties.lab import Lab

from gristmill.core.errors import ConfigError, StoreError

PARTS = {"jsonl": {"path": "../out", "docs_per_chunk": 2}, "parquet": {"path": "../out"}}


def lab_in(folder, part="jsonl", texts=("one", "two", "three")):
    exports = [{"name": "chunks", part: PARTS[part]}]
    lab = Lab(folder, {"sources": [{"name": "a", "files": {"path": "a/*.jsonl", "id": "id"}}], "exports": exports})
    rows = [{"id": str(at), "text": f"{folder.name} says {text}"} for at, text in enumerate(texts)]
    lab.put("a/1.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    return lab


def seen(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("part", PARTS)
def test_two_datasets_do_not_share_a_folder(tmp_path, part):
    mine, other = lab_in(tmp_path / "mine", part), lab_in(tmp_path / "other", part)
    assert mine.run().status == "published"
    before = seen(tmp_path / "out")
    whose = json.loads(before[".dataset.json"])["dataset"]
    with pytest.raises(
        ConfigError, match=rf"holds the export of another dataset \(its id is {whose}, .*a path of its own"
    ):
        other.run()
    assert not (other.dataset / "runs").exists(), "nothing is done before it is told"
    assert any("another dataset" in told for told in other.pipeline().problems())
    assert seen(tmp_path / "out") == before
    assert mine.broken() == []


def test_of_a_dataset_that_has_snapshots_another_ones_folder_is_told_by_verify_and_left_by_gc(tmp_path):
    mine, other = lab_in(tmp_path / "mine"), lab_in(tmp_path / "other")
    mine.run()
    shutil.move(tmp_path / "out", tmp_path / "kept")
    other.run()
    before = seen(tmp_path / "out")
    assert any("another dataset" in told for told in mine.open().verify(config=mine.pipeline().config))
    with pytest.raises(ConfigError, match="another dataset"):
        mine.pipeline().export()
    mine.open().gc(config=mine.pipeline().config)
    assert seen(tmp_path / "out") == before


def test_a_dataset_that_was_moved_or_rolled_back_keeps_its_export(tmp_path):
    lab = lab_in(tmp_path / "mine")
    lab.run()
    lab.put("a/2.jsonl", b'{"id": "9", "text": "one more"}\n')
    lab.run()
    lab.open().rollback(1, why="too much", config=lab.pipeline().config)
    assert lab.broken() == []
    shutil.move(tmp_path / "mine", tmp_path / "moved")
    moved = Lab(tmp_path / "moved", lab.config)
    moved.put("a/3.jsonl", b'{"id": "8", "text": "and another"}\n')
    assert moved.run().status == "published"
    assert moved.broken() == []


def test_an_export_of_before_there_were_owners_is_taken_over(tmp_path):
    lab = lab_in(tmp_path / "mine")
    lab.run()
    before = seen(tmp_path / "out")
    (tmp_path / "out" / ".dataset.json").unlink()
    assert lab.run().status == "nothing_new"
    assert seen(tmp_path / "out") == before
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "chunk_00099.jsonl.zst").write_bytes(b"of a writer that died")
    lab.run()
    assert seen(tmp_path / "out") == before


def test_files_that_only_look_like_chunks_are_not_removed(tmp_path):
    lab = lab_in(tmp_path / "mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("of somebody's")
    stranger = tmp_path / "out" / "chunk_00007.jsonl.zst"
    stranger.write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"that no manifest lists \(chunk_00007.jsonl.zst\).*empty the folder"):
        lab.run()
    assert stranger.read_bytes() == b"precious"
    stranger.unlink()
    assert lab.run().status == "published"
    assert lab.broken() == []


class Refusing(BaseHTTPRequestHandler):
    """Says 403 to all that is read."""

    def do_GET(self):
        self.send_error(403)

    def log_message(self, *told):
        """Say nothing."""


@contextlib.contextmanager
def refusing():
    """Give the address of a store whose keys are good for nothing."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def a_file(out):
    shutil.rmtree(out)
    out.write_text("in the folder's place")


HURT = {
    "its manifest is damaged": lambda out: (out / "manifest.json").write_text("{"),
    "whose it is is damaged": lambda out: (out / ".dataset.json").write_text("{"),
    "a file lies in its place": a_file,
}


@pytest.mark.parametrize("hurt", HURT.values(), ids=HURT)
def test_an_export_in_files_that_cannot_be_made_keeps_neither_snapshots_nor_other_exports(tmp_path, hurt):
    lab = lab_in(tmp_path / "mine")
    lab.configure(lab.config | {"exports": [*lab.config["exports"], {"name": "more", "parquet": {"path": "../more"}}]})
    lab.run()
    hurt(tmp_path / "out")
    lab.put("a/2.jsonl", b'{"id": "9", "text": "one more"}\n')
    report = lab.run()
    assert (report.status, report.snapshot, list(report.exports)) == ("published_export_failed", 2, ["more"])
    assert [(error["code"], error["context"]["export"]) for error in report.errors] == [("export.failed", "chunks")]
    assert json.loads((tmp_path / "more" / "manifest.json").read_bytes())["docs"] == 4
    with pytest.raises((StoreError, OSError), match=r"manifest.json: not an|whose export this is|Not a directory"):
        lab.run()  # nothing new, and still not whole
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    (tmp_path / "out").unlink(missing_ok=True)
    assert lab.run().status == "nothing_new"
    assert lab.broken() == []


def test_what_workers_still_make_of_an_export_that_failed_is_taken_for_nothing_of_the_next(tmp_path):
    lab = lab_in(tmp_path / "mine")
    places = [{"name": name, "jsonl": {"path": f"../{name}", "docs_per_chunk": 1}} for name in ("out", "more")]
    lab.configure(lab.config | {"exports": places})
    lab.run()
    (tmp_path / "out" / "chunk_00003.jsonl.zst").mkdir()
    rows = [{"id": f"n{at}", "text": f"said in run two: {at} " * 2000} for at in range(9)]
    lab.put("a/2.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    report = lab.run_in_processes(3)
    assert [error["context"]["export"] for error in report.errors] == ["out"]
    (tmp_path / "out" / "chunk_00003.jsonl.zst").rmdir()
    lab.run()
    assert lab.broken() == []


def test_a_store_that_refuses_an_export_keeps_neither_snapshots_nor_other_exports(tmp_path, monkeypatch):
    monkeypatch.setenv("FAR_KEY", "good for nothing")
    with refusing() as url:
        at = {"endpoint": url, "access_key_id": "a", "secret_access_key": "${env:FAR_KEY}", "region": "x", "retries": 0}
        lab = lab_in(tmp_path / "mine")
        far = {"name": "far", "parquet": {"path": "s3://bucket/out", "storage": at}}
        lab.configure(lab.config | {"exports": [far, *lab.config["exports"]]})
        for n in (1, 2):
            lab.put(f"a/{n}.jsonl", b'{"id": "%d", "text": "one more"}\n' % n)
            report = lab.run()
            assert (report.status, list(report.exports)) == ("published_export_failed", ["chunks"])
            assert "403" in report.errors[0]["message"]
