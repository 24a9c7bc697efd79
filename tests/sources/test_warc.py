"""Web archives: every good record comes out once, every damage is named and costs no other record."""

import base64
import bz2
import gzip
import hashlib
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

import brotli
import msgspec
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples, some
from tests.sources.warcs import INFO, PACKED, PROSE, damage_trial, framed, html, http, page, read, record, sha1, wet

from gristmill.core.errors import UnitFailed
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.warc import Warc

TEXTS = {"records": ["conversion"]}


def put(folder, data, name="a.warc"):
    (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("name", PACKED)
def test_pages_come_out_the_same_however_the_file_is_compressed(tmp_path, name):
    records = [INFO, *(page(i) for i in range(5)), wet(5), record("request", b"GET / HTTP/1.0\r\n\r\n", 6)]
    out = read(put(tmp_path, PACKED[name](records), name))
    assert [row["key"] for row in out.rows] == [f"urn:uuid:00000000-0000-4000-8000-{i:012d}" for i in range(6)]
    assert all(row["text"].startswith(f"Page {i}. The harbour") for i, row in enumerate(out.rows[:5]))
    assert out.rows[5]["text"] == f"Text 5. {PROSE}"
    assert (out.rejects, out.failed) == ([], {})
    assert out.warnings == {"warc.warcinfo": 1, "warc.request": 1}
    assert out.bytes_in == sum(map(len, records))
    assert len({row["origin"] for row in out.rows}) == 6


def test_a_row_holds_what_the_crawler_said_of_the_page(tmp_path):
    headers = {"X_Robots_Tag": "noai", "TDM_Reservation": "1", "Content_Language": "en"}
    data = record(
        "response",
        http(html(PROSE), **headers),
        7,
        WARC_Target_URI="<http://site.example/a b>",
        WARC_Truncated="length",
        WARC_Identified_Payload_Type="text/html",
    )
    [row] = read(put(tmp_path, data)).rows
    assert row["url"] == "http://site.example/a b"
    assert row["time"] == row["fetched_at"] == datetime(2024, 5, 1, 12, tzinfo=UTC)
    meta = json.loads(row["meta"])
    assert meta.pop("extractor").startswith(("resiliparse ", "trafilatura "))
    assert meta == {
        "title": "A page",
        "status": 200,
        "mime": "text/html",
        "digest": "ok",
        "truncated": "length",
        "http_charset": "utf-8",
        "charset": "utf-8",
        "x_robots_tag": "noai",
        "tdm_reservation": "1",
        "content_language": "en",
    }


# What each untouched sample of the web-archive projects gives: pages, rejects by code, warnings, failure.
SAMPLES = {
    "commoncrawl/CC-MAIN-2024-22.warc.paths.gz": (0, {}, {}, "type.mismatch"),
    "commoncrawl/whirlwind.warc": (1, {}, {"warc.warcinfo": 1, "warc.request": 1, "warc.metadata": 1}, None),
    "commoncrawl/whirlwind.warc.gz": (1, {}, {"warc.warcinfo": 1, "warc.request": 1, "warc.metadata": 1}, None),
    "commoncrawl/whirlwind.warc.wat": (0, {}, {"warc.warcinfo": 1, "warc.metadata": 1}, None),
    "commoncrawl/whirlwind.warc.wat.gz": (0, {}, {"warc.warcinfo": 1, "warc.metadata": 1}, None),
    "commoncrawl/whirlwind.warc.wet": (1, {}, {"warc.warcinfo": 1}, None),
    "commoncrawl/whirlwind.warc.wet.gz": (1, {}, {"warc.warcinfo": 1}, None),
    # edited by hand, so that their digests are of other bytes
    "ipwb/1memento.warc": (0, {"warc.digest": 3}, {"warc.warcinfo": 1}, None),
    "ipwb/1memento_noContentType.warc": (0, {"warc.digest": 1}, {"warc.warcinfo": 1}, None),
    "ipwb/2mementos.warc": (0, {"warc.digest": 4}, {"warc.warcinfo": 1}, None),
    "ipwb/5mementosAndFroggie.warc": (0, {"warc.digest": 7}, {"warc.warcinfo": 1, "warc.not_http": 1}, None),
    "ipwb/HTTP204.warc": (0, {"warc.length": 2, "warc.digest": 1}, {}, None),
    "ipwb/IAH-20080430204825-00000-blackbook.warc.gz": (
        94,
        {},
        {
            "warc.warcinfo": 1,
            "warc.not_http": 38,
            "warc.mime": 120,
            "warc.request": 261,
            "warc.metadata": 261,
            "warc.status": 47,
        },
        None,
    ),
    "ipwb/baconIpsum.warc.gz": (
        1,
        {},
        {"warc.warcinfo": 1, "warc.request": 1, "warc.metadata": 1, "warc.resource": 2},
        None,
    ),
    # chunked afterwards, with the digests of before
    "ipwb/baconIpsum_chunked.warc": (
        0,
        {"warc.digest": 1},
        {"warc.warcinfo": 1, "warc.request": 1, "warc.metadata": 1, "warc.resource": 2},
        None,
    ),
    "ipwb/broken.warc": (
        1,
        {"warc.length": 1},
        {"warc.warcinfo": 1, "warc.request": 2, "warc.metadata": 1},
        None,
    ),
    "ipwb/frogTest.warc": (
        1,
        {},
        {"warc.warcinfo": 1, "warc.request": 2, "warc.metadata": 1, "warc.mime": 1},
        None,
    ),
    "ipwb/mkelly1.warc": (
        1,
        {},
        {"warc.warcinfo": 1, "warc.not_http": 1, "warc.mime": 1, "warc.request": 2, "warc.metadata": 1},
        None,
    ),
    "ipwb/redirect.warc": (0, {}, {}, "file.truncated"),
    "ipwb/variableSizedDates.warc": (0, {"warc.digest": 4}, {"warc.warcinfo": 1}, None),
    "warcio/bad.arc": (0, {}, {}, "file.unsupported"),
    # called broken for its ending in .bad, and because warcio does not read all records in one member
    "warcio/example-bad.warc.gz.bad": (
        1,
        {},
        {"file.extension": 1, "warc.warcinfo": 1, "warc.request": 2, "warc.revisit": 1, "warc.status": 1},
        None,
    ),
    "warcio/example-iana.org-chunked.warc": (1, {}, {"warc.warcinfo": 1, "warc.request": 1}, None),
    "warcio/example-space-in-target-uri.warc.gz": (0, {}, {"warc.warcinfo": 1, "warc.resource": 1}, None),
    "warcio/example-trunc.warc": (0, {"warc.length": 1}, {"warc.warcinfo": 2, "warc.request": 1}, None),
    "warcio/example-wget-bad-target-uri.warc.gz": (
        1,
        {},
        {"warc.warcinfo": 1, "warc.request": 1, "warc.metadata": 1, "warc.resource": 2},
        None,
    ),
    "warcio/example.arc.gz": (0, {}, {}, "file.unsupported"),
    "warcio/example.warc": (1, {}, {"warc.warcinfo": 2, "warc.request": 2, "warc.revisit": 1}, None),
    "warcio/example.warc.gz": (1, {}, {"warc.warcinfo": 2, "warc.request": 2, "warc.revisit": 1}, None),
    "warcio/post-test.warc.gz": (0, {}, {"warc.mime": 3, "warc.request": 3}, None),
}


def test_each_sample_gives_the_documented_result(shared):
    folder = shared / "warc"
    assert {str(path.relative_to(folder)) for path in folder.glob("*/*")} == SAMPLES.keys()
    found = {}
    for name in [name for name, wanted in SAMPLES.items() if wanted[3]]:
        out = read(folder, path=name, format="text")
        found[name] = (len(out.rows), dict(out.codes), dict(out.warnings), out.failed.popitem()[1])
    source = Warc(path=[name for name in SAMPLES if name not in found], format="text")
    [split] = source.plan(None, PlanContext(folder)).splits
    for one in source.read(split, ReadContext(folder=folder)):
        # Charsets and main text are the extractor's matter: here a page is a page.
        codes = Counter(reject.code for reject in one.rejects)
        pages = one.rows.num_rows + codes.pop("text.encoding", 0)
        warnings = {code: n for code, n in one.warnings.items() if code.startswith(("warc.", "file."))}
        found[one.unit] = (pages, dict(codes), warnings, None)
        data = (folder / one.unit).read_bytes()
        assert one.bytes_in == len(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)
    assert found == SAMPLES


def test_samples_with_wrong_digests_can_be_read_all_the_same(shared):
    folder = shared / "warc" / "ipwb"
    names = ["1memento.warc", "2mementos.warc", "5mementosAndFroggie.warc", "baconIpsum_chunked.warc"]
    found = {name: read(folder, path=name, verify_digests=False) for name in names}
    assert not any("warc.digest" in out.codes for out in found.values())
    assert len(found["1memento.warc"].rows) == 3
    assert found["baconIpsum_chunked.warc"].rows[0]["text"].startswith("Bacon ipsum dolor")
    # other than year, month and day
    dates = read(folder, path="variableSizedDates.warc", verify_digests=False, statuses=[200, 302])
    assert [str(row["time"])[:19] for row in dates.rows if row["time"]]


def test_texts_of_wat_files_are_read_on_request(shared):
    [row] = read(shared / "warc" / "commoncrawl", path="whirlwind.warc.wat.gz", records=["metadata"]).rows
    assert json.loads(row["text"])["Envelope"]["Format"] == "WARC/1.0"


def test_real_pages_lose_nothing(shared):
    out = read(shared / "warc", path="pages.warc.gz", extract={"extractor": "resiliparse"})
    assert len(out.rows) + len(out.rejects) == 230
    assert len(out.rejects) <= 5  # pages that are shells of scripts
    assert out.codes.keys() <= {"web.shell", "web.login", "web.not_found", "html.no_text"}
    assert out.bytes_in == 25_368_250
    assert len({row["key"] for row in out.rows}) == len(out.rows)


@pytest.mark.parametrize("seed", range(24))
def test_k_damaged_members_cost_k_records(tmp_path, seed):
    damage_trial(tmp_path, seed)


@pytest.mark.slice
@pytest.mark.parametrize("name", some(["plain.warc", "members.warc.gz", "frames.warc.zst"], 1))
def test_a_file_that_is_cut_anywhere_is_noticed(tmp_path, name):
    records = [wet(i, f"text {i}") for i in range(3)]
    whole = PACKED[name](records)
    one = PACKED[name](records[:1])
    two = PACKED[name](records[:2])
    # A plain record is whole from its last byte on, whatever follows it of the two line ends.
    enders = {len(data) - back for data in (one, two, whole) for back in (range(5) if name == "plain.warc" else (0,))}
    for end in range(len(one) // 2, len(whole) + 1):
        put(tmp_path, whole[:end], name)
        complete = sum(end >= len(data) - (4 if name == "plain.warc" else 0) for data in (one, two, whole))
        kept = read(tmp_path, **TEXTS, incomplete="keep")
        assert [row["text"] for row in kept.rows] == [f"text {i}" for i in range(complete)], end
        strict = read(tmp_path, **TEXTS)
        if end in enders:
            assert (strict.failed, kept.rejects, len(strict.rows)) == ({}, [], complete), end
        else:
            assert strict.failed == {name: "file.truncated"}, end
            if complete:
                assert kept.codes == {"file.truncated": 1}, end


@pytest.mark.parametrize("wrong", ["0", "7", "400", "5000", "99999999", "-1", "x", None, "9" * 30])
def test_a_wrong_length_costs_that_record(tmp_path, wrong):
    bad = page(1).replace(
        f"Content-Length: {len(http(html(f'Page 1. {PROSE}')))}".encode(),
        b"%s" % (b"" if wrong is None else f"Content-Length: {wrong}".encode()),
        1,
    )
    assert bad != page(1)
    out = read(put(tmp_path, page(0) + bad + page(2) + page(3)), verify_digests=False)
    assert [row["url"][-1] for row in out.rows] == ["0", "2", "3"]
    assert sum(out.codes.values()) == 1
    assert out.codes.keys() <= {"warc.length", "warc.header"}
    assert out.bytes_in == len(page(0) + bad + page(2) + page(3))


def test_a_page_about_warc_is_not_taken_for_records(tmp_path):
    text = f"A file begins with\nWARC/1.0\nWARC-Type: response\nContent-Length: 5\n\nabcde and goes on. {PROSE}"
    out = read(put(tmp_path, wet(0, text) + wet(1)))
    assert [row["text"] for row in out.rows] == [text, f"Text 1. {PROSE}"]


def test_junk_between_and_after_members_is_named(tmp_path):
    members = [gzip.compress(wet(i), mtime=0) for i in range(3)]
    junk = b"\x1f\x8b\x08 not a member " * 5
    out = read(put(tmp_path, members[0] + junk + members[1] + bytes(100) + members[2] + b"tail", "a.gz"), **TEXTS)
    assert [row["text"][:6] for row in out.rows] == ["Text 0", "Text 1", "Text 2"]
    assert [code for code, _ in out.rejects] == ["file.corrupt", "file.trailing"]


def test_a_large_member_that_is_damaged_fails_the_file_unless_told_otherwise(tmp_path):
    whole = bytearray(gzip.compress(b"".join(wet(i, f"{i} " * 500) for i in range(200)), 0, mtime=0))
    whole[len(whole) // 2] ^= 1
    put(tmp_path, whole, "a.gz")
    limits = {"max_record_bytes": 20_000, **TEXTS}
    strict = read(tmp_path, **limits)
    assert strict.failed == {"a.gz": "file.corrupt"}
    kept = read(tmp_path, **limits, incomplete="keep")
    assert kept.codes["file.corrupt"] == 1
    assert 50 < len(kept.rows) < 200


@pytest.mark.parametrize(
    ("digest", "codes"),
    [
        ("good", {}),
        ("sha1:" + "A" * 32, {"warc.digest": 1}),
        ("sha1:" + hashlib.sha1(b"other").hexdigest(), {"warc.digest": 1}),
        ("sha1 hex", {}),
        ("sha256 base64", {}),
        ("md5 hex", {}),
        ("blake3:0123", {}),
        ("", {}),
        ("sha1:!", {}),
    ],
)
@pytest.mark.parametrize("name", ["WARC_Block_Digest", "WARC_Payload_Digest"])
def test_digests_are_checked_in_every_spelling(tmp_path, digest, codes, name):
    block = http(html(PROSE))
    data = block if name == "WARC_Block_Digest" else html(PROSE)
    made = {
        "good": sha1(data).lower(),
        "sha1 hex": "sha1:" + hashlib.sha1(data).hexdigest().upper(),
        "sha256 base64": "sha-256:" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("="),
        "md5 hex": "md5:" + hashlib.md5(data).hexdigest(),
    }.get(digest, digest)
    fields = {"WARC_Block_Digest": None, "WARC_Payload_Digest": None} | {name: made}
    out = read(put(tmp_path, record("response", block, 1, **fields)))
    assert out.codes == codes
    if not codes:
        state = "ok" if digest in {"good", "sha1 hex", "sha256 base64", "md5 hex"} else "unchecked"
        assert json.loads(out.rows[0]["meta"])["digest"] == state
    assert out.warnings == ({"warc.digest_unknown": 1} if digest in {"blake3:0123", "sha1:!"} else {})


def chunked(data, size=100):
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: x\r\n\r\n"


BODIES = {
    "chunked": (chunked(html(PROSE)), {"Transfer_Encoding": "chunked"}),
    "gzip": (gzip.compress(html(PROSE)), {"Content_Encoding": "gzip"}),
    "brotli": (brotli.compress(html(PROSE)), {"Content_Encoding": "br"}),
    "zstd": (framed(html(PROSE)), {"Content_Encoding": "zstd"}),
    "both": (chunked(gzip.compress(html(PROSE))), {"Content_Encoding": "gzip", "Transfer_Encoding": "Chunked"}),
}


@pytest.mark.parametrize("name", BODIES)
def test_stored_bodies_are_decoded(tmp_path, name):
    body, headers = BODIES[name]
    out = read(put(tmp_path, record("response", http(body, **headers), 1)))
    assert (len(out.rows), out.rejects, out.warnings) == (1, [], {})
    assert "counted them" in out.rows[0]["text"]


@pytest.mark.parametrize("name", BODIES)
def test_cut_bodies_are_refused(tmp_path, name):
    body, headers = BODIES[name]
    out = read(put(tmp_path, record("response", http(body[:-20], **headers), 1) + page(2)))
    assert (out.codes, len(out.rows)) == ({"warc.encoding": 1}, 1)


def test_bodies_that_are_not_what_their_headers_say_are_read_with_a_warning(tmp_path):
    data = record("response", http(html(PROSE), Transfer_Encoding="chunked"), 1)
    data += record("response", http(html(PROSE), Content_Encoding="gzip"), 2)
    out = read(put(tmp_path, data))
    assert (len(out.rows), out.warnings) == (2, {"warc.not_chunked": 1, "warc.not_encoded": 1})


@pytest.mark.slice
@pytest.mark.parametrize("pack", some([gzip.compress, bz2.compress, framed], 1))
def test_bombs_are_refused(tmp_path, pack):
    inside = record("response", http(gzip.compress(bytes(100 << 20)), Content_Encoding="gzip"), 1)
    out = read(put(tmp_path, inside + wet(2)))
    assert (out.codes, len(out.rows)) == ({"size.cap": 1}, 1)
    first, bomb = pack(wet(1)), pack(bytes(200 << 20))
    out = read(put(tmp_path, first + bomb + first, "a.warc"), **TEXTS)
    assert out.codes == {"size.cap": 1}
    assert len(out.rows) == 2


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: data])
def test_what_comes_out_of_a_file_is_capped_besides_its_records(tmp_path, pack):
    data = b"".join(wet(n) for n in range(20))
    put(tmp_path, pack(data))
    assert len(read(tmp_path, max_file_bytes=len(data), **TEXTS).rows) == 20
    out = read(tmp_path, max_file_bytes=len(data) - 1, **TEXTS)
    assert (len(out.rows), list(out.failed.values())) == (0, ["size.cap"])


HUGE = """
import resource, sys
from pathlib import Path
from tests.sources.warcs import read
read(Path(sys.argv[1]), path="small.warc.gz", records=["conversion"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = read(Path(sys.argv[1]), path="huge.warc.gz", records=["conversion"], max_ratio=100000)
print([len(out.rows), dict(out.codes), out.bytes_in, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10])
"""


def test_a_record_of_a_gigabyte_goes_by_in_little_memory(tmp_path):
    size = 1 << 30
    head = record("conversion", b"", 1, Content_Length=str(size), WARC_Block_Digest=None).removesuffix(b"\r\n\r\n")
    with gzip.open(tmp_path / "huge.warc.gz", "wb", 1) as file:
        file.write(wet(0) + head)
        for _ in range(64):
            file.write(bytes(size // 64))
        file.write(b"\r\n\r\n" + wet(2))
    put(tmp_path, gzip.compress(wet(0)), "small.warc.gz")
    done = subprocess.run(
        [sys.executable, "-c", HUGE, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    rows, codes, bytes_in, grown_mib = eval(done.stdout)
    assert (rows, codes, bytes_in) == (2, {"size.cap": 1}, len(wet(0) + head) + size + 4 + len(wet(2)))
    assert grown_mib < 300


def test_a_member_whose_window_is_larger_than_allowed_is_not_called_damaged(tmp_path):
    wide = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=wide)
    data = framed(page(0)) + packer.compress(page(1)) + packer.flush() + framed(page(2))
    out = read(put(tmp_path, data, "a.warc.zst"))
    assert [row["text"].split(".")[0] for row in out.rows] == ["Page 0", "Page 2"]
    assert [code for code, _ in out.rejects] == ["file.unsupported"]
    out = read(put(tmp_path, packer.compress(page(1)) + packer.flush(), "a.warc.zst"))
    assert out.failed == {"a.warc.zst": "file.unsupported"}


def test_what_is_not_asked_for_is_counted(tmp_path):
    data = b"".join(
        [
            record("response", http(b"gone", 404), 1),
            record("response", http(b"\x89PNG", kind="image/png"), 2),
            record("response", b"10.0.0.1", 3, Content_Type="text/dns"),
            record("revisit", http(b""), 4),
            record("metadata", b"a: b", 5),
            record("strange", b"", 6),
            record("response", b"no HTTP at all", 7),
            record("response", http(html(PROSE), kind=""), 8, WARC_Identified_Payload_Type="application/xhtml+xml"),
            record("response", http(html(PROSE), kind=""), 9),
            record("response", http(html(PROSE)), 10, WARC_Segment_Number="1"),
        ]
    )
    out = read(put(tmp_path, data))
    names = ["warc.status", "warc.mime", "warc.not_http", "warc.revisit", "warc.metadata", "warc.other_type"]
    assert out.warnings == dict.fromkeys(names, 1)
    assert out.codes == {"warc.http": 1, "warc.segment": 1}
    assert [row["url"][-1] for row in out.rows] == ["8", "9"]
    wider = read(tmp_path, statuses=[200, 404], mime=["text/html", "image/png"], format="text")
    assert [row["text"] for row in wider.rows][:1] == ["gone"]
    assert wider.codes["text.encoding"] == 1


def test_the_id_can_be_the_record_the_address_or_the_place(tmp_path):
    first = page(1, WARC_Target_URI="http://a.example/")
    again = page(2, WARC_Target_URI="http://a.example/", WARC_Date="2024-06-01T00:00:00Z")
    nameless = page(3, WARC_Record_ID=None, WARC_Target_URI=None, WARC_Date="not a date")
    put(tmp_path, first + again + nameless)
    out = read(tmp_path)
    assert [row["key"] and row["key"][-1] for row in out.rows] == ["1", "2", None]
    assert out.warnings == {"warc.no_record": 1, "time.unparsed": 1}
    urls = read(tmp_path, id="url")
    assert [row["key"] for row in urls.rows] == ["http://a.example/", "http://a.example/", None]
    assert [row["time"] for row in urls.rows] == [None, None, None]
    places = read(tmp_path, id="origin")
    assert [row["key"] for row in places.rows] == [None, None, None]
    assert json.loads(places.rows[0]["meta"])["record_id"].startswith("urn:uuid:")
    source = Warc(path="*", id="url")
    [split] = source.plan(None, PlanContext(tmp_path)).splits
    assert all(one.versioned for one in source.read(split, ReadContext(folder=tmp_path)))


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("2017", (2017, 1, 1)),
        ("2017-03", (2017, 3, 1)),
        ("2017-03-06", (2017, 3, 6)),
        ("2017-03-06T04:02:06.5Z", (2017, 3, 6, 4, 2, 6, 500000)),
    ],
)
def test_dates_of_every_precision_are_read(tmp_path, date, moment):
    [row] = read(put(tmp_path, page(1, WARC_Date=date))).rows
    assert row["time"] == datetime(*moment, tzinfo=UTC)


def test_the_raw_page_is_kept_on_request(tmp_path):
    [row] = read(put(tmp_path, page(1)), keep_raw=True).rows
    assert base64.b64decode(json.loads(row["meta"])["raw"]) == html(f"Page 1. {PROSE}")


def test_order_and_rows_do_not_depend_on_the_size_of_pages(tmp_path):
    records = [INFO]
    for i in range(60):
        records.append(page(i) if i % 3 else wet(i))
        if i % 7 == 0:
            records.append(
                record("response", http(b"", kind="text/html"), 100 + i, WARC_Block_Digest="sha1:" + "A" * 32)
            )
    put(tmp_path, PACKED["members.warc.gz"](records), "a.warc.gz")
    whole, paged = read(tmp_path), read(tmp_path, batch_bytes=1)
    assert whole == paged
    assert [int(row["url"].rpartition("/")[2]) for row in whole.rows] == list(range(60))


def test_only_what_changed_is_read_again(tmp_path):
    put(tmp_path, page(1), "a.warc")
    put(tmp_path, b"", "b.warc")
    out = read(tmp_path)
    assert out.warnings == {"file.empty": 1}
    source = Warc(path="*", allow_empty=True)
    first = source.plan(None, PlanContext(tmp_path))
    assert [split.units for split in first.splits] == [["a.warc", "b.warc"]]
    state = source.fold(None, first, [], 1)
    assert state.units.num_rows == 0
    [split] = first.splits
    put(tmp_path, page(2), "a.warc")
    with pytest.raises(UnitFailed, match=r"a\.warc: file\.changed"):
        list(source.read(split, ReadContext(folder=tmp_path)))


def test_a_name_that_lies_about_compression_is_a_warning(tmp_path):
    assert read(put(tmp_path, page(1), "a.warc.gz")).warnings == {"file.extension": 1}


@pytest.mark.parametrize(
    "config",
    [
        {"path": ""},
        {"path": "a", "records": []},
        {"path": "a", "records": ["request"]},
        {"path": "a", "mime": ["Text/HTML; charset=x"]},
        {"path": "a", "max_ratio": 0},
        {"path": "a", "extract": {"no": 1}},
    ],
)
def test_impossible_parameters_are_refused_when_read(config):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(config, Warc)


PIECES = st.sampled_from(
    [
        wet(1, "a"),
        page(2, "b"),
        b"WARC/1.0\r\n",
        b"\r\n\r\n",
        b"WARC-Type: response\r\n",
        b"Content-Length: 9\r\n\r\n",
        b"\x1f\x8b\x08",
    ]
)


@settings(max_examples=examples(60), deadline=None)
@given(
    parts=st.lists(PIECES | st.binary(max_size=30), max_size=8),
    pack=st.sampled_from([b"".join, *PACKED.values()]),
    flips=st.lists(st.integers(0), max_size=3),
)
def test_any_bytes_are_rows_rejects_or_a_failure(tmp_path_factory, parts, pack, flips):
    folder = tmp_path_factory.mktemp("any")
    data = bytearray(pack(parts) if parts else b"")
    for flip in flips if data else ():
        data[flip % len(data)] ^= 1 << flip % 8
    put(folder, data)
    out = read(folder, incomplete="keep", format="text", mime=["text/html", "text/plain"])
    if not out.failed and pack is b"".join:
        assert out.bytes_in == len(data)
    assert Counter(code.partition(".")[0] for code in out.failed.values()).keys() <= {"file", "type", "warc"}
