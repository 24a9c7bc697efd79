"""SEC2: no name that comes from data becomes a path: whatever ids, file names, languages and addresses are, our own files have our names."""

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.properties.lab import Lab, folder, jsonl

from gristmill.config import load
from gristmill.core.errors import ConfigError

OUR_NAME = re.compile(r"\.?[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
# What a file may be called at all is decided by the kernel: any bytes but "/" and NUL, 255 of them.
ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
FILE_NAMES = ANY.map(lambda name: name.replace("/", "\u2215").replace("\0", "0")).filter(
    lambda name: name not in {".", ".."} and not name.startswith(".") and len(name.encode()) <= 200
)
CLIMBING = st.sampled_from(
    [
        "../../x",
        "/etc/passwd",
        "..",
        ".",
        "a/../../b",
        "x\0y",
        "CON",
        "~root",
        "$(id)",
        "a" * 5000,
        "-rf",
        "\n",
        "%2e%2e%2f",
    ]
)
VALUES = ANY | CLIMBING


def tree(place):
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir()}


@settings(derandomize=True, deadline=None, max_examples=8)
@given(FILE_NAMES, st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=4))
def test_any_string_as_id_language_address_or_file_name_leads_to_no_path(name, records):
    config = {
        "sources": [
            {"name": "a", "files": {"path": "in/*", "format": "jsonl", "id": "id", "lang": "lang", "url": "url"}}
        ],
        "steps": [{"dedup.exact": {"scope": "language"}}],
        "exports": [{"name": "x", "jsonl": {"path": "./out"}}],
    }
    with folder() as outer:
        lab = Lab(outer / "deep" / "down", config)
        lab.put(f"in/{name}", jsonl([{"id": id_, "lang": lang, "url": url, "text": id_} for id_, lang, url in records]))
        before = tree(outer)
        lab.run()
        made = tree(outer) - before
        inside = ("deep/down/set/", "deep/down/out/")
        assert made
        assert [path for path in made if not path.startswith(inside)] == []
        assert [part for path in made for part in path.split("/") if not OUR_NAME.fullmatch(part)] == []
        assert lab.broken() == []


@settings(derandomize=True, deadline=None, max_examples=6)
@given(st.lists(FILE_NAMES, min_size=1, max_size=5, unique=True))
@example(["\u00e9", "e\u0301", "\u00c9", "E", "e", "\ufb01", "fi"])
@example(["CON", "aux.txt", "a\\b", "C:", "a ", "a", "\n", "a..%2f", "~", "$(id)", "%41", "A", "#0", "!", "x" * 255])
def test_s10_each_file_is_its_own_whatever_it_is_called_and_is_found_again_by_its_name(names):
    """Names that differ in case, in normal form or in an escape alone are as different as the kernel says; so are their records."""
    with folder() as outer:
        lab = Lab(outer, {"sources": [{"name": "a", "files": {"path": "in/*", "format": "jsonl"}}]})
        for name in names:
            lab.put(f"in/{name}", jsonl([{"text": f"What lies in {name.encode().hex()}."}]))
        lab.run()
        rows = lab.rows()
        assert {row.origin: row.text for row in rows} == {
            f"{name}#0": f"What lies in {name.encode().hex()}." for name in names
        }
        assert {row.id for row in rows} == {f"a/{name}#0" for name in names}
        for row in rows:
            assert (outer / "in" / row.origin.removesuffix("#0")).read_bytes() == jsonl([{"text": row.text}])
            assert [each["id"] for each in lab.open().explain(row.id)["published"]] == [row.id]
        assert lab.broken() == []


@pytest.mark.parametrize("name", ["../x", "a/b", "-", ".", "..", "a b", "a\\b", "x" * 300, "a\x00", "ä/"])
@pytest.mark.parametrize("kind", ["sources", "exports"])
def test_a_name_in_the_config_that_would_be_a_path_is_refused(tmp_path, kind, name):
    """The config is trusted; a slip in it is not to write somewhere else all the same."""
    told = {"version": 1, "dataset": "./set", "sources": [{"name": "a", "files": {"path": "in/*"}}], "exports": []}
    told[kind] = [
        {"name": name, **({"files": {"path": "in/*"}} if kind == "sources" else {"jsonl": {"path": "./out"}})}
    ]
    (tmp_path / "gristmill.yml").write_text(json.dumps(told))
    with pytest.raises(ConfigError):
        load.load(tmp_path / "gristmill.yml")
