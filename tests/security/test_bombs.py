"""SEC14 and SEC3: what expands without end costs its file and no more; an archive's names lead nowhere."""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from backports import zstd
from tests import memory

from gristmill.core.errors import GristmillError
from gristmill.net import decode
from gristmill.sources.files import Files
from gristmill.testing.mill import Mill

ZEROS = b"\0" * (48 << 20)
PACKERS = {"gzip": gzip.compress, "zstd": zstd.compress, "bzip2": bz2.compress, "xz": lzma.compress}


def read(folder, name, data):
    """Read a file of these bytes; give the reads that ended badly, and by how much the process grew."""
    (folder / name).write_bytes(data)
    mill = Mill(Files(path="*"), folder)
    with memory.grown() as most:
        ran = mill.run()
    codes = {read.code for read in ran.reads if read.code} | {code for _, code, _ in ran.plan.failed}
    codes |= {reject.code for pages in ran.pages for page in pages for reject in page.rejects}
    return codes, most.bytes


@pytest.fixture(scope="module")
def bombs():
    return {name: pack(ZEROS) for name, pack in PACKERS.items()}


@pytest.mark.parametrize("codec", PACKERS)
def test_a_bomb_of_every_codec_is_refused_before_it_is_expanded(tmp_path, bombs, codec):
    codes, peak = read(tmp_path, "bomb.jsonl", bombs[codec])
    assert "size.cap" in codes or any(code.startswith("size.") for code in codes), codes
    assert peak < 64 << 20


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br"])
def test_a_bomb_in_an_answer_is_refused(bombs, encoding):
    import brotli

    data = brotli.compress(ZEROS, quality=3) if encoding == "br" else bombs[encoding]
    decoder = decode.Decoder(encoding, 8 << 20, 200)
    with memory.grown() as most, pytest.raises(decode.Oversize):  # while it is fed, or at its end
        (decoder.feed(data), decoder.finish())
    assert most.bytes < 64 << 20


# --- archives: whoever changes how they are read extends these -----------------------------------------------------

NAMES = [
    "../out.jsonl",
    "/out.jsonl",
    "a/../../out.jsonl",
    "C:\\out.jsonl",
    "..\\out.jsonl",
    "a\0.jsonl",
    "\u202egpj.jsonl",
    "a" * 400,
    ".",
]
LINE = b'{"text": "from an archive"}\n'


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in NAMES:
            archive.writestr(zipfile.ZipInfo(name), LINE)
    return buffer.getvalue()


def tarred():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in NAMES:
            member = tarfile.TarInfo(name)
            member.size = len(LINE)
            archive.addfile(member, io.BytesIO(LINE))
        for kind, name in (
            (tarfile.SYMTYPE, "link.jsonl"),
            (tarfile.LNKTYPE, "hard.jsonl"),
            (tarfile.CHRTYPE, "device"),
            (tarfile.FIFOTYPE, "pipe"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.zip", zipped()), ("a.tar", tarred()), ("a.tar.gz", gzip.compress(tarred()))],
    ids=["zip", "tar", "tar.gz"],
)
def test_no_member_of_an_archive_becomes_a_file_or_leads_to_one(tmp_path, name, data):
    inside = tmp_path / "deep" / "in"
    inside.mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    (inside / name).write_bytes(data)
    mill = Mill(Files(path="*"), inside)
    with contextlib.suppress(GristmillError):
        mill.run()
    after = set(tmp_path.rglob("*"))
    assert after - before == {inside / name}
    assert not any("root:" in text for text in mill.texts.values())
