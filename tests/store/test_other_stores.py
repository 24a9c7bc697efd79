"""Datasets and exports on Azure and GCS, by their emulators: the same contract as on S3, and the same bytes as on a disk."""

import contextlib

import obstore
import pytest
from tests.store.emulators import azurite, google
from tests.store.remotes import Bucket, Trials
from tests.store.test_remote import (  # noqa: F401 - the contract, asked of the stores here
    test_a_copy_of_another_object_than_is_there_is_fetched_anew_and_one_that_is_gone_is_gone,
    test_a_lease_that_is_renewed_is_respected_and_one_that_is_given_up_is_free,
    test_a_lease_without_a_sign_of_life_is_taken_over_by_the_watchers_own_clock_and_its_holder_writes_nothing_more,
    test_a_write_holds_to_its_condition,
    test_a_write_that_was_under_way_at_a_takeover_does_not_land,
    test_who_holds_a_folder_takes_the_lease_of_the_dead_at_once,
)

from gristmill.core import buckets
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.files import Files
from gristmill.store.remote import Remote

NAMES = iter(range(1000))


@pytest.fixture(name="store", scope="module", params=[azurite, google], ids=["azure", "gcs"])
def _store(request):
    with request.param() as store:
        yield store


@pytest.fixture(name="remote")
def _remote(store):
    return Remote(f"{store.scheme}://{store.bucket}/case-{next(NAMES)}", store.storage, 2.0)


def test_a_store_that_heeds_conditions_is_taken(remote):
    assert remote.problems() == []
    assert remote.listing("") == []


def test_what_is_not_there_keeps_nothing_else_from_being_removed(remote):
    for key in ("b", "d"):
        remote.put(key, b"1")
    remote.delete(["a", "b", "c", "d", "e"])
    assert remote.listing("") == []


def test_a_folder_is_listed_by_its_objects_and_folders(remote):
    for key in ("a", "d/b", "d/e/c"):
        remote.put(key, key.encode())
    assert [seen.key for seen in remote.listing("", deep=True)] == ["a", "d/b", "d/e/c"]
    assert [seen.key for seen in remote.listing("d/")] == ["d/b"]
    assert remote.folders("") == ["d"]
    assert remote.listing("")[0].etag == remote.head("a").etag


def test_a_source_reads_from_it(store, tmp_path):
    client = buckets.client(buckets.KINDS[store.scheme], store.bucket, store.storage)
    for name in ("a.jsonl", "b.jsonl"):
        obstore.put(client, f"in/{name}", b'{"text": "of %s"}\n' % name.encode())
    source = Files(path=f"{store.scheme}://{store.bucket}/in/*.jsonl", storage=store.storage)
    plan = source.plan(None, PlanContext(tmp_path))
    pages = [page for split in plan.splits for page in source.read(split, ReadContext(folder=tmp_path))]
    assert [row["text"] for page in pages for row in page.rows.to_pylist()] == ["of a.jsonl", "of b.jsonl"]


def test_two_days_with_exports_are_those_on_a_disk_byte_for_byte(store, local, server, tmp_path):
    assert Trials(Bucket(store), local, server, tmp_path, "trials").problems == []


def test_a_store_that_heeds_no_conditions_is_refused():
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(google(blind=True))
        (told,) = Remote(f"gs://{store.bucket}/blind", store.storage, 2.0).problems()
        assert "does not heed the conditions of a write" in told
