"""Makes WARC files for the tests: records, whole files in every compression, and damage."""

import base64
import bz2
import gzip
import hashlib
import lzma
import random
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from backports import zstd

from gristmill.core.errors import UnitFailed
from gristmill.core.source import PAGE_SCHEMA, PlanContext, ReadContext
from gristmill.sources.warc import Warc

PROSE = " ".join(["The harbour was full of boats and nobody knew whose they were, so the children counted them."] * 3)


def sha1(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def record(kind: str, block: bytes, number: int = 0, **fields: str | None) -> bytes:
    """Give a record; `fields` are added to its header, `_` for `-`; None leaves one away."""
    header: dict[str, str | None] = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:00000000-0000-4000-8000-{number:012d}>",
        "WARC-Date": "2024-05-01T12:00:00Z",
        "WARC-Target-URI": f"http://site.example/{number}",
        "WARC-Block-Digest": sha1(block),
        "Content-Type": "application/http; msgtype=response" if kind == "response" else "text/plain",
        "Content-Length": str(len(block)),
    }
    header |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in header.items() if value is not None]
    return ("WARC/1.0\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + block + b"\r\n\r\n"


def http(body: bytes, status: int = 200, kind: str = "text/html; charset=utf-8", **headers: str) -> bytes:
    lines = [f"Content-Type: {kind}"] if kind else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return (f"HTTP/1.1 {status} OK\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode() + body


def html(text: str) -> bytes:
    return f"<html><head><title>A page</title></head><body><article><p>{text}</p></article></body></html>".encode()


def page(number: int, text: str | None = None, **fields: str | None) -> bytes:
    """Give a response record with a page whose text names its number."""
    return record("response", http(html(text or f"Page {number}. {PROSE}")), number, **fields)


def wet(number: int, text: str | None = None) -> bytes:
    return record("conversion", (text or f"Text {number}. {PROSE}").encode(), number)


INFO = record("warcinfo", b"software: test\r\n", 999_999, WARC_Target_URI=None)


def framed(data: bytes, dictionary: Any = None) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}, zstd_dict=dictionary)


def with_dictionary(records: list[bytes]) -> bytes:
    """Give a zstd WARC whose frames need the dictionary in its first, skippable frame."""
    dictionary = zstd.train_dict([*records, *(page(1000 + i) for i in range(200))], 4096)
    content = dictionary.dict_content
    head = b"\x5d\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content
    return head + b"".join(framed(one, dictionary) for one in records)


PACKED = {
    "plain.warc": b"".join,
    "members.warc.gz": lambda records: b"".join(gzip.compress(one, mtime=0) for one in records),
    "whole.warc.gz": lambda records: gzip.compress(b"".join(records), mtime=0),
    "pairs.warc.gz": lambda records: b"".join(
        gzip.compress(b"".join(records[i : i + 2]), mtime=0) for i in range(0, len(records), 2)
    ),
    "frames.warc.zst": lambda records: b"".join(map(framed, records)),
    "dictionary.warc.zst": with_dictionary,
    "whole.warc.bz2": lambda records: bz2.compress(b"".join(records)),
    "whole.warc.xz": lambda records: lzma.compress(b"".join(records)),
}


class Everything(NamedTuple):
    """What came out of all splits, in order."""

    rows: list[dict[str, Any]]
    rejects: list[tuple[str, str]]  # (code, locator)
    warnings: Counter[str]
    bytes_in: int
    failed: dict[str, str]  # unit -> code

    @property
    def codes(self) -> Counter[str]:
        return Counter(code for code, _ in self.rejects)


def read(folder: Path, batch_bytes: int = 8 << 20, **parameters: Any) -> Everything:
    """Plan a first run and read all of it, again without each unit that fails."""
    # What is looked at here is archives: the extractor that is there soonest will do, but where a test names another.
    source = msgspec.convert({"path": "*", "extract": {"extractor": "resiliparse"}} | parameters, Warc)
    plan = source.plan(None, PlanContext(folder))
    out = Everything([], [], Counter(), 0, {unit: code for unit, code, _ in plan.failed})
    bytes_in = 0
    for split in plan.splits:
        while True:
            pages = []
            try:
                context = ReadContext(folder=folder, batch_bytes=batch_bytes, skip=frozenset(out.failed))
                pages.extend(source.read(split, context))
                break
            except UnitFailed as error:
                out.failed[error.unit] = error.code
        for one in pages:
            assert one.rows.schema == PAGE_SCHEMA
            one.rows.validate(full=True)
            out.rows.extend(one.rows.to_pylist())
            out.rejects.extend((reject.code, reject.origin.rpartition("#")[2]) for reject in one.rejects)
            out.warnings.update(one.warnings)
            bytes_in += one.bytes_in
    return out._replace(bytes_in=bytes_in)


def same_after_all(member: bytes, data: bytes) -> bool:
    """Tell if flipped bits were of those that mean nothing."""
    try:
        return (gzip.decompress if member.startswith(b"\x1f\x8b") else zstd.decompress)(member) == data
    except (OSError, EOFError, zlib.error, zstd.ZstdError):
        return False


def damage_trial(folder: Path, seed: int) -> None:
    """Damage K members of a WARC of one member a record, and see that the other records come out and K are reported."""
    rng = random.Random(seed)
    n = rng.randrange(3, 30)
    texts = [f"Text {i}. {rng.randbytes(rng.randrange(40, 3000)).hex()}" for i in range(n)]
    pack = framed if seed % 3 == 0 else lambda data: gzip.compress(data, mtime=0)
    members = [bytearray(pack(wet(i, text))) for i, text in enumerate(texts)]
    bad = sorted(rng.sample(range(n), rng.randrange(1, 1 + n // 2)))
    for at in bad:
        member = members[at]
        for _ in range(rng.choice([1, 1, 1, 5, 50])):
            member[rng.randrange(12, len(member) - (4 if seed % 3 else 0))] ^= 1 << rng.randrange(8)
    bad = [at for at in bad if not same_after_all(bytes(members[at]), wet(at, texts[at]))]
    data = b"".join(members)
    (folder / "a.warc").write_bytes(data)
    out = read(folder, records=["conversion"], incomplete="keep")
    assert [row["text"] for row in out.rows] == [text for i, text in enumerate(texts) if i not in bad], (
        seed,
        bad,
        out.rejects,
    )
    assert len(out.rejects) == len(bad), (seed, bad, out.rejects)
    assert not out.failed, seed
    starts = [sum(map(len, members[:at])) for at in bad]
    assert [int(locator) for _, locator in out.rejects] == starts, seed
