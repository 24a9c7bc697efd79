"""The tiny corpora are the same everywhere, and what they promise to be."""

import gzip
import hashlib
import json

import pytest
from backports import zstd

from gristmill.testing.corpora import SENTENCES, documents, jsonl, pack, write


def test_documents_are_a_function_of_their_arguments():
    digest = hashlib.sha256(jsonl(documents(200, seed=7, duplicates=0.2))).hexdigest()
    assert digest == "08059b27777bba97689bbfa9615e6b33346267d46c8de0ceb7c30c6d48ad6e26"
    assert documents(5, seed=1) != documents(5, seed=2)


def test_ids_differ_and_texts_repeat_only_as_asked():
    records = documents(3000)
    assert len({r["id"] for r in records}) == len({r["text"] for r in records}) == 3000
    repeated = documents(3000, duplicates=0.1)
    assert 2600 < len({r["text"] for r in repeated}) < 2800
    assert {r["lang"] for r in records} == set(SENTENCES)


def test_every_sentence_survives_utf8():
    assert len(SENTENCES) >= 8
    for sentences in SENTENCES.values():
        assert all(sentence.encode().decode() == sentence and sentence.strip() for sentence in sentences)


@pytest.mark.parametrize(
    ("name", "unpack"), [("a.jsonl", bytes), ("a.jsonl.gz", gzip.decompress), ("a.jsonl.zst", zstd.decompress)]
)
def test_written_files_hold_the_records_in_fixed_bytes(tmp_path, name, unpack):
    records = documents(20)
    path = write(tmp_path / "deep" / name, records)
    content = path.read_bytes()
    assert [json.loads(line) for line in unpack(content).splitlines()] == records
    assert pack(jsonl(records), name) == content
