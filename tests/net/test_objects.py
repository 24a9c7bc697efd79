"""Places beyond this machine: what they list, what they read, how they fail, and that no secret leaves them."""

import asyncio
import io
import json
import random
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import memory
from tests.faults.server import Fault, Out, Reply, Request, TcpProxy
from tests.faults.server import FaultServer as AnyServer
from tests.net.stores import KEY_ID, SECRET, moto

from gristmill.core.errors import ConfigError, MissingExtra, SourceError, Transient
from gristmill.core.places import Replaced, common_folder, key_glob
from gristmill.core.source import PlanContext, ReadContext
from gristmill.net.objects import place_for
from gristmill.net.ranges import RangeFile
from gristmill.net.s3keys import spellable
from gristmill.sources.files import Files

HERE = Path()


class FaultServer(AnyServer):
    """Answers HEAD with the head alone."""

    async def _answer(self, request, writer):
        if request.method != "HEAD":
            return await super()._answer(request, writer)
        out = Out(writer, request, self.app(request), self.rng, None)
        return await out.send(out.head())


DATA = random.Random(1).randbytes(3_000_000)
KEYS = {"region": "us-east-1", "access_key_id": KEY_ID, "secret_access_key": SECRET}


# --- ranges ------------------------------------------------------------------------------------------------------


class Proxy(TcpProxy):
    """Lets its transports end before their loop does."""

    async def _close(self):
        await super()._close()
        await asyncio.sleep(0.2)


@settings(deadline=None)
@given(
    size=st.integers(0, 400_000),
    moves=st.lists(
        st.tuples(st.sampled_from(["read", "seek", "end", "on", "into"]), st.integers(0, 200_000)), max_size=20
    ),
)
def test_a_file_of_ranges_reads_as_any_other(size, moves):
    data = DATA[:size]
    asked = []

    def fetch(start, end):
        assert 0 <= start < end <= size
        asked.append((start, end))
        return data[start:end]

    with RangeFile(fetch, size) as ours, io.BytesIO(data) as other:
        for move, n in moves:
            if move == "read":
                assert ours.read(n) == other.read(n)
            elif move == "into":
                mine, theirs = bytearray(n), bytearray(n)
                assert ours.readinto(mine) == other.readinto(theirs)
                assert mine == theirs
            else:
                whence = {"seek": 0, "on": 1, "end": 2}[move]
                offset = -min(n, size) if move == "end" else n
                assert ours.seek(offset, whence) == other.seek(offset, whence)
        assert ours.read() == other.read()
    with pytest.raises(ValueError, match="closed"):
        ours.read(1)


def test_a_file_is_read_on_in_growing_ranges_and_a_small_one_in_one():
    asked = []
    size = 40 << 20

    def fetch(start, end):
        asked.append(end - start)
        return bytes(end - start)

    file = RangeFile(fetch, size)
    while file.read(1 << 17):
        pass
    mib = 1 << 20
    assert asked == [mib, 4 * mib, *[8 * mib] * 4, 3 * mib]
    asked.clear()
    assert RangeFile(fetch, 5000).read() == bytes(5000)
    assert asked == [5000]


# --- globs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "head", "yes", "no"),
    [
        ("a/b.txt", "a/", ["b.txt"], ["c.txt", "b.txt/x", "bxtxt"]),
        ("a/*.txt", "a/", ["b.txt", "\n.txt", "%41.txt"], [".b.txt", "x/b.txt", "b.txtx"]),
        ("**/*.txt", "", ["a.txt", "x/a.txt", "x/y/a.txt", "/a.txt", "x//a.txt"], [".x/a.txt", "x/.a.txt"]),
        ("a/**", "a/", ["b", "c/d"], [".b", "c/.d"]),
        ("a/.*/x", "a/", [".b/x"], ["b/x"]),
        ("a/b[0-9]?.t", "a/", ["b1x.t"], ["bax.t", "b1/.t", "b1.t"]),
        ("a/[!x]", "a/", ["y"], ["x", "/", "."]),
        ("dot/../*", "dot/../", ["up"], []),
    ],
)
def test_globs_match_keys_as_they_match_files(glob, head, yes, no):
    found, pattern = key_glob(glob)
    assert found == head
    assert [tail for tail in [*yes, *no] if pattern.fullmatch(tail)] == yes


def test_the_common_folder_of_globs_is_what_units_are_named_from():
    assert common_folder(["a/b/", "a/c/", "a/b/d/"]) == "a/"
    assert common_folder(["a/b/", "a/bc/"]) == "a/"
    assert common_folder(["a/b/"]) == "a/b/"
    assert common_folder(["", "a/"]) == ""


# --- configs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "options", "words"),
    [
        (["s3://b/a", "data/x"], {}, "file, s3 in one source"),
        (["s3://b/a", "s3://c/a"], {}, "b, c in one source"),
        (["s3://key:hidden@b/a"], {}, "credentials in it"),
        (["s3://b"], {}, "BUCKET"),
        (["s3:///a"], {}, "BUCKET"),
        (["s3://b/a"], {"regoin": "x"}, "regoin: no such option for s3"),
        (["s3://b/a"], {"retries": "many"}, "retries: write a whole number"),
        (["gs://b/a"], {"account_key": "hidden"}, "account_key: no such option for gcs"),
        (["az://c/a"], {"region": "x"}, "region: no such option for azure"),
        (["az://c/a"], {}, "options for azure"),
        (["https://h.example/*.gz"], {}, "no globs"),
        (["https://me:hidden@h.example/a"], {}, "token"),
        (["https://h.example/a"], {"region": "x"}, "region: no such option for http"),
        (["https://h.example/a"], {"allow_hosts": ["http://x/"]}, "allow_hosts"),
        (["sftp://me:hidden@h.example/a"], {}, "password"),
        (["sftp://g.example/a", "sftp://h.example/a"], {}, "several hosts"),
        (["nope://h/a"], {}, "no such scheme"),
    ],
)
def test_what_cannot_be_is_refused_without_a_secret(globs, options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        place_for(globs, HERE, options)
    assert "hidden" not in str(caught.value)


def test_a_scheme_whose_package_is_missing_says_which():
    with pytest.raises(MissingExtra, match="not installed"):
        place_for(["dropbox://a/b"], HERE, {})


def test_gcs_and_azure_are_made_of_their_options():
    # Made only; they are held to emulators in tests/store/test_other_stores.py.
    account = {"client_email": "a@b.example", "private_key": "", "private_key_id": "1", "disable_oauth": True}
    google = place_for(["gs://bucket/a/*.gz"], HERE, {"service_account_key": json.dumps(account)})
    key = {"account_name": "acc", "account_key": "c2VjcmV0"}
    places = [google, place_for(["az://box/a"], HERE, key)]
    places.append(place_for(["abfss://box@acc.dfs.core.windows.net/a"], HERE, {"account_key": "c2VjcmV0"}))
    assert [type(place).__name__ for place in places] == ["Objects"] * 3
    assert all(place.pins for place in places)


# --- a fake S3, that misbehaves as told --------------------------------------------------------------------------


class FakeS3:
    """Lists and gives objects as S3 does. page: keys in one page of a listing. mark: stands around an ETag in it."""

    def __init__(self, objects: dict[str, bytes], page: int = 1000, mark: str = "&quot;") -> None:
        self.objects, self.page, self.mark = objects, page, mark
        self.keys = sorted(objects)

    def __call__(self, request: Request) -> Reply:
        name = request.path.removeprefix("/bucket").removeprefix("/")
        if "list-type" in request.query:
            return self.listing(request)
        if name not in self.objects:
            return Reply(b"<Error><Code>NoSuchKey</Code></Error>", 404, label="missing")
        data = self.objects[name]
        etag = f'"{abs(hash(data))}"'
        headers = {"ETag": etag, "Last-Modified": formatdate(1e9, usegmt=True), "Accept-Ranges": "bytes"}
        if request.headers.get("if-match", etag) != etag:
            return Reply(b"<Error><Code>PreconditionFailed</Code></Error>", 412, label="changed")
        if (asked := request.headers.get("range")) and data:
            start, end = (int(part) for part in asked.removeprefix("bytes=").split("-"))
            end = min(end, len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            return Reply(data[start : end + 1], 206, headers, label=name)
        return Reply(data, 200, headers, label=name)

    def listing(self, request: Request) -> Reply:
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        keys = [key for key in self.keys if key.startswith(prefix) and key > after]
        now, more = keys[: self.page], len(keys) > self.page
        spell = quote_plus if request.query.get("encoding-type") == "url" else escape
        entries = "".join(
            f"<Contents><Key>{spell(key)}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
            f"<ETag>{self.mark}{abs(hash(self.objects[key]))}{self.mark}</ETag><Size>{len(self.objects[key])}</Size></Contents>"
            for key in now
        )
        token = f"<NextContinuationToken>{escape(now[-1])}</NextContinuationToken>" if more else ""
        encoding = "<EncodingType>url</EncodingType>" if spell is quote_plus else ""
        body = (
            f'<?xml version="1.0"?><ListBucketResult><Name>bucket</Name>{encoding}<KeyCount>{len(now)}</KeyCount>'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        )
        return Reply(body.encode(), 200, {"Content-Type": "application/xml"}, label=f"page {after}")


def place(server, glob="s3://bucket/**/*", **options):
    return place_for([glob], HERE, KEYS | {"endpoint": server.url, "retries": 2, "timeout_s": 5} | options)


def test_thirty_thousand_keys_are_listed_in_little_memory():
    objects = {f"part/{i % 7}/{i:06d}.jsonl": b"x" * (i % 50) for i in range(30_000)}
    with FaultServer(FakeS3(objects)) as server:
        there = place(server, "s3://bucket/part/**/*.jsonl")
        with memory.grown() as most:
            found, failed = there.list(["s3://bucket/part/**/*.jsonl"])
    assert [one.unit for one in found] == sorted(key.removeprefix("part/") for key in objects)
    assert failed == []
    assert len(server.requests) == 30
    assert most.bytes < 30_000 * 700 + 40_000_000  # the server's pages are in this figure


@pytest.mark.parametrize("kind", ["reset_at_once", "reset_in_head", "reset_in_body", "cut_body", "status"])
@pytest.mark.parametrize("times", [2, 100])
def test_a_listing_is_whole_or_raises(kind, times):
    objects = {f"{i:03d}": b"x" for i in range(50)}
    with FaultServer(
        FakeS3(objects, 10), [Fault(kind, "page 019", times, 503 if kind == "status" else None)]
    ) as server:
        there = place(server, "s3://bucket/*", retries=2 if times == 2 else 0)
        if times == 2:
            assert [one.unit for one in there.list(["s3://bucket/*"]).found] == sorted(objects)
        else:
            with pytest.raises(Transient, match="s3://bucket/ cannot be listed now") as caught:
                there.list(["s3://bucket/*"])
            assert SECRET not in str(caught.value)
        assert server.hits[kind] >= (2 if times == 2 else 1)


@pytest.mark.parametrize(
    ("status", "kind"), [(403, SourceError), (404, SourceError), (400, SourceError), (503, Transient)]
)
def test_a_refused_listing_says_what_was_answered_and_nothing_more(status, kind):
    body = f"<Error><Code>SomeCode</Code><Message>signed with {SECRET} {KEY_ID}</Message></Error>".encode()
    with FaultServer(lambda _: Reply(body, status)) as server, pytest.raises(SourceError) as caught:
        place(server, retries=0).list(["s3://bucket/**/*"])
    assert type(caught.value) is kind
    assert str(status) in str(caught.value)
    assert SECRET not in str(caught.value)
    assert KEY_ID not in str(caught.value)


FAULTS = ["reset_at_once", "close_at_once", "reset_in_head", "reset_in_body", "cut_body", "status", "close_in_head"]


@pytest.mark.parametrize("kind", FAULTS)
def test_reading_gets_over_passing_faults(kind):
    fault = Fault(kind, "data.bin", 3, 503 if kind == "status" else None)
    with FaultServer(FakeS3({"data.bin": DATA}), [fault]) as server:
        there = place(server)
        [found] = there.list(["s3://bucket/**/*"]).found
        with there.open(found.path, found.etag, found.size) as raw:
            assert raw.read() == DATA
        assert server.hits[kind] == 3


def test_a_store_that_stays_away_is_a_passing_failure():
    fault = Fault("status", "data.bin", 1000, 503)
    with FaultServer(FakeS3({"data.bin": DATA}), [fault]) as server:
        there = place(server, retries=0)
        [found] = there.list(["s3://bucket/**/*"]).found
        with there.open(found.path, found.etag, found.size) as raw, pytest.raises(Transient, match="503") as caught:
            raw.read(10)
        assert SECRET not in str(caught.value)


def test_a_slow_store_is_given_up_after_the_time_allowed():
    fault = Fault("hang", "data.bin", 1000, 60)
    with FaultServer(FakeS3({"data.bin": DATA}), [fault]) as server:
        there = place(server, retries=0, timeout_s=1)
        [found] = there.list(["s3://bucket/**/*"]).found
        with there.open(found.path, found.etag, found.size) as raw, pytest.raises(Transient):
            raw.read(10)


def test_an_object_that_must_not_be_read_is_an_error_of_that_object():
    with FaultServer(FakeS3({"data.bin": DATA}), [Fault("status", "data.bin", 9, 403)]) as server:
        there = place(server)
        [found] = there.list(["s3://bucket/**/*"]).found
        with there.open(found.path, found.etag, found.size) as raw, pytest.raises(OSError, match="403"):
            raw.read(10)


def test_connections_cut_anywhere_lose_nothing():
    with moto() as store:
        store.put("data.bin", DATA)
        cuts = [0, 1, 200, 1_000, 500_000, 1_000_000, None]
        with Proxy(store.port, cuts) as proxy:
            there = place_for(["s3://bucket/*"], HERE, store.via(proxy.port) | {"retries": 5})
            [found] = there.list(["s3://bucket/*"]).found
            with there.open(found.path, found.etag, found.size) as raw:
                parts = iter(lambda: raw.read(100_000), b"")
                assert b"".join(parts) == DATA
            assert len(proxy.passed) >= 7


def test_an_etag_that_is_listed_without_its_quotes_is_the_same():  # as Azure does
    with FaultServer(FakeS3({"data.bin": DATA}, mark="")) as server:
        there = place(server)
        [found] = there.list(["s3://bucket/**/*"]).found
        assert there.look(found.path).etag == found.etag
        with there.open(found.path, found.etag, found.size) as raw:
            assert raw.read() == DATA


def test_an_object_that_is_replaced_is_not_read_on():
    with moto() as store:
        store.put("data.bin", DATA)
        there = place_for(["s3://bucket/*"], HERE, store.storage)
        [found] = there.list(["s3://bucket/*"]).found
        with there.open(found.path, found.etag, found.size) as raw:
            assert raw.read(1000) == DATA[:1000]
            store.put("data.bin", DATA[::-1])
            with pytest.raises(Replaced):
                raw.read()
        assert there.look(found.path).etag != found.etag
        store.client.delete_object(Bucket="bucket", Key="data.bin")
        with pytest.raises(FileNotFoundError):
            there.look(found.path)


# Names that object stores hold and that file systems and libraries trip over.
ODD = [
    "plain.txt",
    "new\nline.txt",
    "tab\t\x01\x7f.txt",
    "per%cent%2F.txt",
    "a b+c.txt",
    "é.txt",
    "é.txt",
    "dot/../up.txt",
    "dot/./here.txt",
    "two//slashes.txt",
    "/leading.txt",
    "trailing/",
    "#hash?query&amp;.txt",
    "back\\slash.txt",
    "*star[x].txt",
    "日本/語.txt",
    "n" * 512 + "/" + "m" * 511,
]


def test_keys_of_every_spelling_survive():
    objects = {key: key.encode() for key in ODD}

    def app(request):  # `..` and the like must come as they are, on the wire and signed
        assert request.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/")
        return FakeS3(objects)(request)

    with FaultServer(app) as server:
        globs = [
            "s3://bucket/**/*",
            "s3://bucket/dot/../*",
            "s3://bucket/dot/./*",
            "s3://bucket/trailing/",
            "s3://bucket/**/",
        ]
        there = place_for(globs, HERE, KEYS | {"endpoint": server.url})
        listing = there.list(globs)
        assert {one.unit for one in listing.found} == set(ODD)
        for one in listing.found:
            assert there.look(one.path)[::2] == (one.size, one.etag)
            with there.open(one.path, one.etag, one.size) as raw:
                assert raw.read() == one.unit.encode()
    assert [spellable(key) for key in ODD].count(False) == 7


def test_odd_keys_need_credentials_that_are_written_down(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with FaultServer(FakeS3({"a//b": b"x"})) as server:
        anonymous = {"endpoint": server.url, "region": "x", "skip_signature": True}
        assert [
            one.unit for one in place_for(["s3://bucket/**/*"], HERE, anonymous).list(["s3://bucket/**/*"]).found
        ] == ["a//b"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        there = place_for(["s3://bucket/**/*"], HERE, {"endpoint": server.url, "region": "x"})
        assert len(there.list(["s3://bucket/**/*"]).found) == 1
        assert "Credential=from-the-environment/" in server.requests[-1].headers["authorization"]


# --- files at web addresses --------------------------------------------------------------------------------------


class FakeWeb:
    """One file at /data.bin and elsewhere. ranges, etag: whether the server has them."""

    def __init__(
        self, data: bytes, *, ranges: bool = True, etag: bool = True, head: bool = True, length: bool = True
    ) -> None:
        self.data, self.ranges, self.etag, self.head, self.length = data, ranges, etag, head, length

    def __call__(self, request: Request) -> Reply:
        if request.path == "/away":
            return Reply(b"", 302, {"Location": "http://192.0.2.1/data.bin"})
        if request.path != "/data.bin":
            return Reply(b"no", 404)
        if request.method == "HEAD" and not self.head:
            return Reply(b"", 405)
        headers = {"ETag": f'"{abs(hash(self.data))}"'} if self.etag else {}
        headers["Last-Modified"] = formatdate(1e9 + len(self.data), usegmt=True)
        if self.ranges and (asked := request.headers.get("range")):
            start, end = (int(part) for part in asked.removeprefix("bytes=").split("-"))
            end = min(end, len(self.data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(self.data)}"
            return Reply(self.data[start : end + 1], 206, headers, label="part")
        return Reply(self.data, 200, headers, label="whole")


def web(server, path="/data.bin", **options):
    url = f"{server.url}{path}"
    return place_for([url], HERE, {"allow_hosts": ["127.0.0.1"]} | options), url


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_a_file_at_an_address_is_read(ranges, head):
    with FaultServer(FakeWeb(DATA, ranges=ranges, head=head)) as server:
        there, url = web(server)
        [found] = there.list([url]).found
        assert (found.unit, found.path, found.size) == ("data.bin", url, len(DATA))
        with there.open(found.path, found.etag, found.size) as raw:
            assert b"".join(iter(lambda: raw.read(70_000), b"")) == DATA
            raw.seek(1_234_567)
            assert raw.read(5) == DATA[1_234_567:1_234_572]


@pytest.mark.parametrize("kind", ["status", "reset_in_body", "cut_body"])
def test_a_web_server_may_fail_twice(kind):
    fault = Fault(kind, "whole", 2, 503 if kind == "status" else None)
    with FaultServer(FakeWeb(DATA), [fault]) as server:
        there, url = web(server)
        [found] = there.list([url]).found
        with there.open(found.path, found.etag, found.size) as raw:
            assert raw.read() == DATA
        assert server.hits[kind] == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_at_an_address_that_changes_is_not_read_on(ranges):
    app = FakeWeb(DATA, ranges=ranges)
    with FaultServer(app) as server:
        there, url = web(server)
        [found] = there.list([url]).found
        with there.open(found.path, found.etag, found.size) as raw:
            if ranges:
                assert raw.read(10) == DATA[:10]
            app.data = DATA[::-1]
            with pytest.raises(Replaced):
                raw.read()


def test_an_address_that_is_not_there_is_named_and_not_gone():
    with FaultServer(FakeWeb(DATA)) as server:
        urls = [f"{server.url}/data.bin?signature=hidden", f"{server.url}/data.bin", f"{server.url}/none"]
        there = place_for(urls, HERE, {"allow_hosts": "127.0.0.1", "token": "t"})
        listing = there.list(urls)
        assert [one.unit.partition("?")[0] for one in listing.found] == ["data.bin", "data.bin"]
        assert [unit for unit, _, _ in listing.failed] == ["none"]
        assert "hidden" not in repr(listing)
        with there.open(listing.found[1].path, listing.found[1].etag) as raw:
            assert raw.read(3) == DATA[:3]
        assert server.requests[-1].target == "/data.bin?signature=hidden"
        assert server.requests[-1].headers["authorization"] == "Bearer t"


def test_private_addresses_are_refused_unless_allowed_and_behind_redirects_too():
    with FaultServer(FakeWeb(DATA)) as server:
        for there, url in (web(server, allow_hosts=[]), web(server, "/away", retries=0)):
            with pytest.raises(SourceError, match=r"net\.blocked") as caught:
                there.list([url])
            assert not isinstance(caught.value, Transient)


def test_wildcards_are_quoted_as_they_are_sent():
    with FaultServer(FakeWeb(DATA)) as server:
        there, url = web(server, "/data.bin?x=" + quote("*"))
        assert len(there.list([url]).found) == 1


def test_a_store_that_goes_away_is_no_damage_of_the_file_being_read(tmp_path):
    buffer = io.BytesIO()
    pq.write_table(
        pa.table({"text": [random.Random(i).randbytes(200).hex() for i in range(20_000)]}), buffer, row_group_size=1000
    )
    data = buffer.getvalue()
    with FaultServer(FakeS3({"a.parquet": data})) as server:
        options = KEYS | {"endpoint": server.url, "retries": 0}
        source = Files(path="s3://bucket/*", storage=options)
        [split] = source.plan(None, PlanContext(tmp_path)).splits
        pages = source.read(split, ReadContext(folder=tmp_path, batch_bytes=1000))
        next(pages)
        server.spoil(Fault("status", "a.parquet", 1000, 503))
        with pytest.raises(Transient, match=r"s3://bucket/a\.parquet cannot be read now"):
            list(pages)
