"""Text files, whole and by line, in any encoding that is told."""

from tests.fuzz.reading import read

from gristmill.sources.files import Files

SOURCES = [Files(path="*", format="text"), Files(path="*", format="text", lines=True)]
SEEDS = [
    b"a\nb\r\n\r\nc",
    "Straße\n水車\u2028x\n".encode(),
    "\ufeffabc\n".encode("utf-16"),
    b"\xff\xfe\n\0",
    b"\xed\xa0\x80\n\0\n",
]


def one(data: bytes) -> None:
    """Read it both ways."""
    for source in SOURCES:
        read(source, "f.txt", data, size=None if data.startswith((b"\xff\xfe", b"\xfe\xff")) else -1)
