"""Malformed files, made from a seed: what is good in them is known, what was done to them too.

A case is made in four turns: records in a format, perhaps another encoding, perhaps compression or an archive, then damage. Some are attacks
that need no damage. Invariant: the same seed gives the same bytes.
"""

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import warnings
import zipfile
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core.files import zstd

SUFFIXES = [
    ".jsonl",
    ".json",
    ".csv",
    ".txt",
    ".parquet",
    ".gz",
    ".zst",
    ".zip",
    ".tar",
    ".html",
    ".tar.gz",
    "",
    ".bin",
]
WORDS = ["grist", "mill", "Füße", "日本語", "😀", "a\u2028b", '"', "\\", ",", "\n", "{", "]", "\t", "<p>", "é", "0"]


class Case(NamedTuple):
    """A file and how it is read. texts: what was put in, in order. is_whole: nothing is wrong with it, all of that must come out.

    is_checked: it has checksums over all of its content: whatever was done to it, nothing else may come out.
    inside: bytes that come out of it, where that is known; -1 where not.
    """

    seed: int
    what: str
    name: str
    data: bytes
    parameters: dict[str, Any]
    texts: list[str]
    is_whole: bool
    is_checked: bool
    inside: int


class Packed(NamedTuple):
    """Content as it is stored."""

    name: str
    data: bytes
    is_checked: bool
    inside: int


def make(seed: int) -> Case:
    """Make the case of a seed."""
    rng = random.Random(seed)
    if rng.random() < 0.15:
        return _attack(rng, seed)
    texts = [_text(rng, seed, i) for i in range(rng.choice([0, 1, 1, 3, 20, 200]))]
    kind = rng.choice(["jsonl", "jsonl", "json", "csv", "lines", "parquet"])
    parameters: dict[str, Any] = {"lines": True, "format": "text"} if kind == "lines" else {"format": kind}
    content = _content(rng, kind, texts, parameters)
    packed = _pack(rng, f"a.{'txt' if kind == 'lines' else kind}", content)
    damage, data = _damage(rng, packed.data, seed)
    if damage == "none" and rng.random() < 0.2:
        damage, packed = "wrong name", packed._replace(name=f"a{rng.choice(SUFFIXES)}")
    is_whole = damage in {"none", "wrong name"} or data == packed.data
    if "tar" in damage or packed.name.endswith(("tar", "tar.gz")):
        is_whole = is_whole and damage == "none"  # a tar is told by its name where its header is old
    if is_whole and damage == "wrong name" and kind == "csv":
        parameters["delimiter"] = ","  # a tab, if it is called .tsv
    inside = packed.inside if is_whole else len(data) if packed.inside == len(packed.data) else -1
    what = f"{kind} {parameters.get('encoding', '')} {packed.name} {damage}"
    is_checked = packed.is_checked and data[:4] == packed.data[:4]  # else it is no longer what it was
    if kind == "csv" and damage in {"cut", "delete"} and b"\n" not in data.rstrip():
        texts = []  # the header may be all that is left
    return Case(seed, what, packed.name, data, parameters, texts, is_whole, is_checked, inside)


def _text(rng: random.Random, seed: int, i: int) -> str:
    words = [rng.choice(WORDS) for _ in range(rng.randrange(12))]
    return f"r{seed}-{i} " + " ".join(words) + " end"


def _content(rng: random.Random, kind: str, texts: list[str], parameters: dict[str, Any]) -> bytes:
    if kind == "lines":
        texts[:] = [text.replace("\n", " ") for text in texts]
        text = "".join(f"{text}\n" for text in texts)
    elif kind == "jsonl":
        text = "".join(
            json.dumps({"text": t, "n": [1, {"a": None}]}, ensure_ascii=rng.random() < 0.3) + "\n" for t in texts
        )
    elif kind == "json":
        text = json.dumps([{"text": t} for t in texts], indent=rng.choice([None, 1]), ensure_ascii=False)
    elif kind == "csv":
        text = "text,n\n" + "".join('"{}",{}\n'.format(t.replace('"', '""'), i) for i, t in enumerate(texts))
    else:
        out = io.BytesIO()
        table = pa.table({"text": pa.array(texts, pa.string()), "n": pa.array(range(len(texts)), pa.int64())})
        codec = rng.choice(["none", "zstd", "snappy", "gzip"])
        pq.write_table(
            table, out, compression=codec, row_group_size=rng.choice([7, 100]), write_page_checksum=rng.random() < 0.7
        )
        return out.getvalue()
    if rng.random() < 0.25:
        parameters["encoding"] = rng.choice(["utf-16", "utf-16-be", "utf-32-le", "gb18030", "auto"])
        return text.encode({"auto": "utf-16"}.get(parameters["encoding"], parameters["encoding"]))
    return text.encode()


def _pack(rng: random.Random, name: str, content: bytes) -> Packed:
    if rng.random() < 0.3:
        return Packed(name, content, False, len(content))
    inside = len(content)
    is_checked = False
    if rng.random() < 0.5:
        neighbours = [(f"n{i}.txt", b"") for i in range(rng.randrange(3))]
        members = [*neighbours, (f"d/{name}", content)]
        if rng.random() < 0.5:
            name, content, is_checked = "a.zip", zipped(members, rng.choice([0, 8, 12])), True
        else:
            name, content = "a.tar", tarred(members, rng.choice([0, 1, 2]))
    if is_checked or (name != "a.tar" and rng.random() < 0.1):
        return Packed(name, content, is_checked, inside)
    parts = [content]
    if rng.random() < 0.3:
        middle = rng.randrange(len(content) + 1)
        parts = [content[:middle], content[middle:]]
    ending, pack = rng.choice(
        [
            ("gz", lambda data: gzip.compress(data, mtime=0)),
            ("zst", lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})),
            ("bz2", bz2.compress),
            ("xz", lambda data: lzma.compress(data, preset=0)),
        ]
    )
    return Packed(f"{name}.{ending}", b"".join(map(pack, parts)), True, inside)


def zipped(members: list[tuple[Any, bytes]], method: int = 8) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as pack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in members:
            pack.writestr(name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def tarred(members: list[tuple[Any, bytes]], form: int = 2) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as pack:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            pack.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _damage(rng: random.Random, data: bytes, seed: int) -> tuple[str, bytes]:
    if not data or rng.random() < 0.2:
        return "none", data
    what = rng.choice(
        [
            "cut",
            "flip",
            "flips",
            "overwrite",
            "delete",
            "double",
            "append",
            "prepend",
            "splice",
            "zeros",
            "nul",
            "mixed",
        ]
    )
    at = rng.randrange(len(data))
    size = min(rng.choice([1, 4, 64, 4096]), len(data) - at)
    if what == "cut":
        return what, data[:at]
    if what in {"flip", "flips"}:
        out = bytearray(data)
        for _ in range(1 if what == "flip" else rng.randrange(2, 40)):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        return what, bytes(out)
    middle = {
        "overwrite": rng.randbytes(size),
        "delete": b"",
        "double": data[at : at + size] * 2,
        "zeros": bytes(size),
        "nul": b"\0",
        "mixed": rng.choice([b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", "ä".encode("utf-16"), b"\x1f\x8b\x08", b"PK\3\4"]),
    }
    if what in middle:
        return what, data[:at] + middle[what] + data[at + (0 if what in {"nul", "mixed"} else size) :]
    if what == "splice":
        other = make(seed ^ 0x5EED0000).data[:5000] if seed < 0x5EED0000 else b"spliced"
        return what, data[:at] + other + data[at:]
    junk = rng.choice([b"junk", bytes(512), b"\n\n{", rng.randbytes(30), b"PK\5\6" + bytes(18), b"\x1f\x8b", b"PAR1"])
    return what, data + junk if what == "append" else junk + data


def _attack(rng: random.Random, seed: int) -> Case:
    good = json.dumps({"text": f"r{seed}-good"}).encode() + b"\n"
    name, data = rng.choice(ATTACKS)(rng, good)
    what = f"attack {name}"
    parameters = {"max_record_bytes": 1 << 20}
    return Case(seed, what, name, data, parameters, [f"r{seed}-good"], False, True, -1)


def _names(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    odd = rng.choice(
        ["../x.jsonl", "/etc/x", "C:\\x", "a/../../x", "..\\x", "x" * 5000, "a\nb.jsonl", "ü.jsonl", "good.jsonl"]
    )
    pack, name = rng.choice([(zipped, "a.zip"), (tarred, "a.tar")])
    return name, pack([(odd, good), ("good.jsonl", good)])


def _kinds(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    infos = []
    for n in range(rng.randrange(1, 5)):
        info = tarfile.TarInfo(f"x{n}")
        info.type = rng.choice(
            [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"V", b"M", b"Z", b"g", b"x", b"L", b"K"]
        )
        info.linkname = rng.choice(["/etc/passwd", "..", "good.jsonl", ""])
        infos.append((info, rng.choice([b"", good, b"9 a=b\n"])))
    return "a.tar", tarred([*infos, ("good.jsonl", good)])


def _bomb(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    zeros = bytes(12 << 20)
    pack = rng.choice([gzip.compress, bz2.compress, lambda d: lzma.compress(d, preset=0), zstd.compress])
    inner = pack(zeros)
    return rng.choice(
        [
            ("a.jsonl.gz", inner),
            ("a.zip", zipped([("bomb.txt", zeros), ("good.jsonl", good)])),
            ("a.zip", zipped([("bomb.txt.gz", inner), ("good.jsonl", good)])),
            ("a.tar", tarred([("bomb.txt.gz", inner), ("good.jsonl", good)])),
            ("a.tar.gz", gzip.compress(tarred([("bomb.txt", zeros), ("good.jsonl", good)]))),
            ("a.zip", zipped([(f"{n}.txt", bytes(3 << 20)) for n in range(4)])),
        ]
    )


def _lies(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    """A zip whose headers say something else than what is there."""
    data = bytearray(zipped([("a.jsonl", good * 20), ("good.jsonl", good)]))
    entry = data.rindex(b"PK\1\2", 0, data.rindex(b"good.jsonl"))
    first = data.index(b"PK\1\2")
    for _ in range(rng.randrange(1, 4)):
        base = rng.choice([0, first, entry, len(data) - 22])
        struct.pack_into(
            "<H", data, base + 4 + rng.randrange(9) * 2, rng.choice([0, 1, 8, 99, 0xFFFF, rng.randrange(1 << 16)])
        )
    return "a.zip", bytes(data)


def _nested(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    data, name = good, "a.jsonl"
    for _ in range(rng.randrange(2, 6)):
        pack, ending = rng.choice([(gzip.compress, ".gz"), (zstd.compress, ".zst"), (None, ".zip"), (None, ".tar")])
        data = pack(data) if pack else (zipped if ending == ".zip" else tarred)([(name, data)])
        name += ending
    return name, data


def _deep(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    depth = rng.choice([100, 254, 255, 300, 1023, 1024, 1025, 100_000])
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}"), (b"[", b"")])
    inner = opening * depth + (b"1" if closing else b"") + closing * depth
    line = b'{"text": "deep", "a": ' + inner + b"}\n"
    return "a.jsonl", good + line + good


def _odd_json(rng: random.Random, good: bytes) -> tuple[str, bytes]:
    odd = [
        b'{"text": "\\ud800"}', b'{"text": NaN}', b'{"text": "a", "n": 1e999}', b'{"text": "a", "n": ' + b"9" * 5000 + b"}",
        b'{"text": "a", "text": "b"}', b'{"text": "\0"}', b'{"text": "\\u0000"}', b"\xef\xbb\xbf{}", b"[1,2]", b'"', b"{", b"tru",
        b'{"text": ' + b'"x' * 30 + b"}", b'{"text": "' + b"x" * (2 << 20) + b'"}', b'{"text": "\xff"}', b"{}{}", b",", b"\r\r\r", b"",
    ]  # fmt: skip
    lines = [rng.choice(odd) for _ in range(rng.randrange(1, 30))]
    end = rng.choice([b"\n", b"\r\n", b"\n\n"])
    return rng.choice(["a.jsonl", "a.json", "a.ndjson", "a.txt", "a.csv"]), end.join([*lines, good])


ATTACKS = [_names, _kinds, _bomb, _lies, _lies, _nested, _deep, _odd_json, _odd_json]
