"""Every released format is read, run on and brought forward; what is newer is refused, whichever file says so."""

import json
import shutil

import pytest
from tests.cli.conftest import Project
from tests.fixtures import FORMATS, unpack
from tests.properties.lab import flat

from gristmill import ConfigError, Dataset, Pipeline
from gristmill.core.errors import StoreError
from gristmill.engine import upgrade
from gristmill.observe.events import Silent
from gristmill.store import formats, snapshot
from gristmill.store.formats import Migration
from gristmill.store.layout import FORMAT
from gristmill.testing import laws

READ = [
    ("check",), ("plan",), ("status",), ("log",), ("show",), ("show", "1"), ("show", "3"), ("diff", "1", "2"), ("explain", "web/1"),
    ("explain", "web/5"), ("inspect", "--kept"), ("inspect", "--dropped", "--run", "2"), ("inspect", "--duplicates", "--run", "2"),
    ("inspect", "--quarantined", "--run", "2"), ("quarantine", "ls"), ("verify",), ("verify", "1"), ("drift",), ("gc", "--dry-run"),
]  # fmt: skip


@pytest.fixture(scope="module", params=FORMATS)
def old(request, tmp_path_factory):
    """Give a dataset of each released format; only for reading."""
    return unpack(request.param, tmp_path_factory.mktemp("old"))


@pytest.fixture
def own(old, tmp_path):
    return shutil.copytree(old, tmp_path / "own")


def test_there_is_a_fixture_of_every_format_up_to_the_newest():
    assert list(range(1, FORMAT + 1)) == FORMATS
    assert len(formats.MIGRATIONS) == FORMAT - 1


def test_every_verb_that_reads_reads_it(old):
    project = Project(old)
    for argv in READ:
        answer = project(*argv, "--json")
        assert answer.code == 0, (argv, answer.err)
        assert answer.json is not None
    assert [row["id"] for row in Dataset(old / "corpus").read().to_pylist()] == ["web/2", "web/1", "web/6"]
    assert Dataset(old / "corpus").read(1).num_rows == 3


def test_it_is_brought_forward_and_run_on(own):
    project = Project(own)
    found = project("upgrade", "--json").json
    assert found["newest"] == FORMAT
    assert (found["steps"] == []) is (found["found"] == FORMAT)
    with (own / "data/a.jsonl").open("a") as file:
        file.write(
            '{"id": "8", "text": "A record that came after the upgrade."}\n{"id": "9", "text": "A record in a second file."}\n'
        )
    report = Pipeline.from_file(own / "gristmill.yml").run(workers=1)
    assert flat(report.counts)["published"] == 1
    assert flat(report.counts)["duplicates/dedup.exact"] == 1  # of a record that was there before
    assert project("verify").code == 0
    assert laws.check(own / "corpus", [own / "out"]) == []
    assert project("rollback", "1").code == 0
    assert project("gc", "--keep-last", "1").code == 0
    assert project("verify").code == 0
    assert laws.check(own / "corpus", [own / "out"]) == []


def test_there_is_nothing_to_do_for_a_dataset_of_the_newest_format(own):
    if not (own / "corpus/runs/2/manifest.json").read_text().count(f'"format": {FORMAT}'):
        pytest.skip("of an earlier format")
    answer = Project(own)("upgrade")
    assert (answer.code, answer.out) == (0, f"there is nothing to do: the dataset has format {FORMAT}, the newest\n")
    assert Dataset(own / "corpus").seqs() == [1, 2]


def newer(path, key="format"):
    content = json.loads(path.read_bytes())
    content[key] += 1
    path.write_text(json.dumps(content))


def contents(dataset):
    """Give what stands in all manifests and the pins."""
    return {path: path.read_bytes() for found in ("runs/*/manifest.json", "pins.json") for path in dataset.glob(found)}


# Which file is of a newer format, and the verb that comes upon it.
NEWER = {
    "corpus/runs/2/manifest.json": ["status", "verify", "run", "upgrade", "rollback 1", "gc --pin 1", "gc --unpin 1"],
    "corpus/runs/1/manifest.json": ["diff 1", "gc"],
    "corpus/runs/3/claim.json": ["log", "gc"],
    "corpus/runs/3/candidate.json": ["inspect --kept --run 3", "gc --set retention.grace=5200w"],
    "corpus/runs/1/collected.json": ["log", "gc"],
    "corpus/pins.json": ["gc"],
    "out/manifest.json": ["run", "export"],
}


@pytest.mark.parametrize("name", NEWER)
def test_what_is_newer_is_refused_with_its_place(own, name):
    if max(FORMATS) != FORMAT or not (own / name).parent.exists():
        pytest.skip("of an earlier format")
    project = Project(own)
    if name.endswith("pins.json"):
        assert project("gc", "--pin", "1").code == 0
    if name.endswith("2/manifest.json"):
        assert project("gc", "--pin", "1").code == 0
    if name.endswith("collected.json"):
        assert project("gc", "--keep-last", "1").code == 0
    newer(own / name, "version" if name.startswith("out/") else "format")
    before = contents(own / "corpus")
    for verb in NEWER[name]:
        answer = project(*verb.split())
        assert answer.code == 1, (verb, answer.out, answer.err)
        assert "upgrade gristmill" in answer.err, (verb, answer.err)
        assert name.rpartition("/")[2] in answer.err
    after = contents(own / "corpus")
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) or name.startswith("out/"), "a snapshot does not wait for its exports"


def test_a_plan_of_a_newer_format_is_not_gone_on_with(own, monkeypatch):
    with (own / "data/a.jsonl").open("a") as file:
        file.write('{"id": "8", "text": "One more of the records."}\n')
    pipeline = Pipeline.from_file(own / "gristmill.yml")
    monkeypatch.setattr(
        "gristmill.engine.candidate.snapshot.commit", lambda *_: (_ for _ in ()).throw(OSError(5, "gone"))
    )
    with pytest.raises(OSError, match="gone"):
        pipeline.run(workers=1)
    monkeypatch.undo()
    newer(own / "corpus/runs/4/plan.json")
    with pytest.raises(StoreError, match=r"plan\.json has format \d+, this gristmill knows \d+; upgrade gristmill"):
        pipeline.run(workers=1)


# --- steps forward, made up ----------------------------------------------------------------------------------------


def lift(raw):
    return raw | {"summary": raw["summary"] | {"lifted": raw["summary"].get("lifted", 0) + 1}}


STEPS = (Migration("the summary counts its liftings", lift), Migration("and once more", lift))


def test_a_manifest_is_lifted_step_by_step_from_whatever_format_it_has(tmp_path):
    one, two, three = ({"format": number, "summary": {}} for number in (1, 2, 3))
    assert formats.lifted(tmp_path, one, STEPS) == {"format": 3, "summary": {"lifted": 2}}
    assert formats.lifted(tmp_path, two, STEPS) == {"format": 3, "summary": {"lifted": 1}}
    assert formats.lifted(tmp_path, three, STEPS) == three
    for wrong in (0, 4, -1, None, "1"):
        with pytest.raises(StoreError, match="upgrade gristmill"):
            formats.lifted(tmp_path, {"format": wrong, "summary": {}}, STEPS)


def test_an_upgrade_publishes_the_same_rows_anew_and_changes_no_file_that_was_committed(own):
    dataset = Dataset(own / "corpus")
    rows, before = dataset.read(), {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    done = upgrade.upgrade(dataset.layout, None, Silent(), migrations=STEPS)
    assert (done.newest, done.snapshot) == (3, 4)
    assert done.steps == [step.title for step in STEPS][done.found - 1 :]
    changed = {path.relative_to(own).as_posix() for path, content in before.items() if path.read_bytes() != content}
    assert changed <= {"corpus/lock", "corpus/table/_delta_log/_last_checkpoint"}
    raw = json.loads((own / "corpus/runs/4/manifest.json").read_bytes())
    assert (raw["format"], raw["parent"], raw["summary"]["lifted"]) == (3, 2, 3 - done.found)
    assert raw["lineage"] == [{"upgraded_from": done.found, "to": 3, "steps": done.steps}]
    assert [raw["counts"][name] for name in ("read", "published", "withdrawn")] == [0, 0, 0]
    # this gristmill, which does not know the steps, now refuses it: nothing newer is ever guessed at
    with pytest.raises(StoreError, match="has format 3, this gristmill knows 1; upgrade gristmill"):
        Dataset(own / "corpus").read()
    raw["format"] = FORMAT
    (own / "corpus/runs/4/manifest.json").write_text(json.dumps(raw))
    assert Dataset(own / "corpus").read().equals(rows)
    assert upgrade.upgrade(dataset.layout, None, Silent()).steps == []


def test_nothing_is_built_on_an_earlier_format_before_the_upgrade(own, monkeypatch):
    """What a gristmill of format 3 will say of a dataset of today."""
    dataset = Dataset(own / "corpus")
    head = dataset.manifest()
    monkeypatch.setattr(snapshot.formats.check, "__defaults__", (3, 3))
    with pytest.raises(StoreError, match="has format 1, this gristmill knows 3; run `gristmill upgrade`"):
        snapshot.check_files(dataset.layout, head)


def test_a_dataset_without_snapshots_has_nothing_to_bring_forward(tmp_path):
    (tmp_path / "corpus").mkdir()
    assert upgrade.upgrade(Dataset(tmp_path / "corpus").layout, None, Silent()).snapshot is None
    with pytest.raises(ConfigError, match="there is no dataset"):
        Dataset(tmp_path / "nowhere")
