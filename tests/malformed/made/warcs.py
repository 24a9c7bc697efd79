"""Web archives, each in every way in which they are compressed."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.malformed.made.outcome import NONE, Counts, Made
from tests.sources.warcs import INFO, PROSE, framed, http, record, wet

TEXT = {"format": "text", "mime": ["text/plain"]}
WARCS: dict[str, Callable[[list[bytes]], bytes]] = {
    "plain": b"".join,
    "gz": lambda records: b"".join(gzip.compress(each, mtime=0) for each in records),
    "gz_whole": lambda records: gzip.compress(b"".join(records), mtime=0),
    "zst": lambda records: b"".join(map(framed, records)),
    "bz2": lambda records: bz2.compress(b"".join(records)),
    "xz": lambda records: lzma.compress(b"".join(records), preset=0),
}


class Odd(NamedTuple):
    """A record between two good ones. rows: that come out of it."""

    fault: str
    data: bytes
    code: str = ""
    warnings: Counts = NONE
    rows: int = 0
    params: Mapping[str, Any] = MappingProxyType({})


def _plain(body: bytes = PROSE.encode(), status: int = 200, **headers: str) -> bytes:
    return http(body, status, "text/plain; charset=utf-8", **headers)


def _response(fault: str, block: bytes, code: str = "", warnings: Counts = NONE, rows: int = 0, **fields: Any) -> Odd:
    return Odd(fault, record("response", block, 7, **fields), code, warnings, rows, TEXT)


def _odd() -> Iterator[Odd]:
    good = wet(7)
    yield Odd("good", good, rows=1)
    yield Odd("warcinfo", INFO, warnings={"warc.warcinfo": 1})
    for kind in ("request", "metadata", "revisit", "continuation"):
        yield Odd(kind, record(kind, b"a: b\r\n", 7), warnings={f"warc.{kind}": 1})
    yield Odd("other_type", record("screenshot", b"...", 7), warnings={"warc.other_type": 1})
    yield Odd("empty", record("conversion", b"", 7), warnings={"warc.empty": 1})
    yield Odd("bad_utf8", record("conversion", b"\xff\xfe\xfd" * 99, 7), "text.encoding")
    yield Odd("digest", record("conversion", PROSE.encode(), 7, WARC_Block_Digest="sha1:" + "A" * 32), "warc.digest")
    yield Odd("no_digest", record("conversion", PROSE.encode(), 7, WARC_Block_Digest=None), rows=1)
    yield Odd(
        "no_record_id", record("conversion", PROSE.encode(), 7, WARC_Record_ID=None), "", {"warc.no_record": 1}, 1
    )
    yield Odd("segment", record("conversion", PROSE.encode(), 7, WARC_Segment_Number="1"), "warc.segment")
    yield Odd("over_cap", record("conversion", b"x" * 5000, 7), "size.cap", params={"max_record_bytes": 2000})
    yield _response("response", _plain(), rows=1)
    yield _response("status", _plain(status=404), "", {"warc.status": 1})
    yield _response("mime", http(b"\xff\xd8\xff", 200, "image/jpeg"), "", {"warc.mime": 1})
    yield _response("truncated", _plain(), "", {"warc.truncated": 1}, 1, WARC_Truncated="length")
    yield _response("no_http", b"no response at all\r\n", "warc.http")
    yield _response(
        "no_end_of_headers", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + PROSE.encode(), "warc.http"
    )
    chunks = b"%x\r\n%s\r\n" % (len(PROSE), PROSE.encode())
    yield _response("chunked", _plain(chunks + b"0\r\n\r\n", Transfer_Encoding="chunked"), rows=1)
    yield _response("cut_chunks", _plain(chunks[:-60], Transfer_Encoding="chunked"), "warc.encoding")
    yield _response("not_chunked", _plain(Transfer_Encoding="chunked"), "", {"warc.not_chunked": 1}, 1)
    packed = gzip.compress(PROSE.encode(), mtime=0)
    yield _response("encoded", _plain(packed, Content_Encoding="gzip"), rows=1)
    yield _response("cut_encoded", _plain(packed[:-9], Content_Encoding="gzip"), "warc.encoding")
    yield _response("not_encoded", _plain(Content_Encoding="gzip"), "", {"warc.not_encoded": 1}, 1)


def made() -> Iterator[Made]:
    """Give all of them."""
    around = [wet(1), wet(2)]
    for odd in _odd():
        records = [around[0], odd.data, around[1]]
        codes = {odd.code: 1} if odd.code else NONE
        for how, pack in WARCS.items():
            inside = sum(map(len, records))
            yield _made(odd.fault, how, pack(records), 2 + odd.rows, codes, odd.warnings, odd.params, inside)
    for how, pack in WARCS.items():
        yield from _whole(how, pack)
    yield from _members()


def _made(fault: str, how: str, data: bytes, rows: int, codes: Counts = NONE, warnings: Counts = NONE, params: Mapping[str, Any] | None = None, inside: int = -1) -> Made:  # fmt: skip
    ending = "" if how == "plain" else "." + how.partition("_")[0]
    return Made(f"warc/{fault}/{how}/a.warc{ending}", data, rows, codes, warnings, params or {}, inside, "warc")


def _whole(how: str, pack: Callable[[list[bytes]], bytes]) -> Iterator[Made]:
    """Archives that are bad as a whole."""
    records = [wet(1), wet(2), wet(3)]
    data = pack(records)
    yield _made("cut_in_the_last", how, data[:-40], 0, {"file.truncated": 1})
    yield _made("no_archive", how, pack([b"plain words\n" * 9]), 0, {"type.mismatch": 1})
    yield _made("arc", how, pack([b"filedesc://a.arc 0.0.0.0 20010101000000 text/plain 9\n1 0 x\n\nURL\n"]), 0, {"file.unsupported": 1})  # fmt: skip
    if how in {"plain", "gz", "zst"}:
        cut = len(data) - len(pack(records[2:])) + 60
        yield _made("cut_and_kept", how, data[:cut], 2, {"file.truncated": 1}, NONE, {"incomplete": "keep"})


def _members() -> Iterator[Made]:
    """Damage between records and in a single member."""
    yield _made("no_bytes", "plain", b"", 0, NONE, {"file.empty": 1}, None, 0)
    for how in ("gz", "zst"):
        members = [bytearray(WARCS[how]([wet(number)])) for number in range(4)]
        members[1][-5 if how == "gz" else -2] ^= 1  # of the checksum
        yield _made("flipped_checksum", how, b"".join(members), 3, {"file.corrupt": 1})
        members[2][-5 if how == "gz" else -2] ^= 1
        yield _made("two_flipped_checksums", how, b"".join(members), 2, {"file.corrupt": 2})
        good = WARCS[how]([wet(1)])
        yield _made("junk_between", how, good + b"junk of no kind" + WARCS[how]([wet(2)]), 2, {"file.trailing": 1})
        yield _made("junk_behind", how, good + b"junk of no kind", 1, {"file.trailing": 1})
    short = wet(2).replace(b"Content-Length: ", b"Content-Length: 1", 1)
    for how in ("gz", "zst"):
        yield _made("longer_length", how, WARCS[how]([wet(1), short, wet(3)]), 2, {"warc.length": 1})
        bare = b"WARC/1.0\r\nWARC-Record-ID: <urn:uuid:1>\r\nContent-Length: 3\r\n\r\nabc\r\n\r\n"
        yield _made("no_type", how, WARCS[how]([wet(1), bare, wet(3)]), 2, {"warc.header": 1})
        no_length = wet(2).replace(b"Content-Length", b"Content-Lengthy")
        yield _made("no_length", how, WARCS[how]([wet(1), no_length, wet(3)]), 2, {"warc.header": 1})
