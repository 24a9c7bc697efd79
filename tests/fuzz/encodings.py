"""Declared encodings: lines, JSON and CSV in what the config says, every stored byte accounted for."""

from tests.fuzz.reading import read

from gristmill.core.files import codec_of
from gristmill.sources.files import Files
from gristmill.sources.formats.detect import HEAD_BYTES, container_of

ENCODINGS = [
    "utf-16",
    "utf-16-be",
    "utf-32",
    "utf-32-le",
    "latin-1",
    "windows-1252",
    "shift_jis",
    "gb18030",
    "euc-jp",
    "auto",
]
KINDS = {
    "f.txt": {"format": "text", "lines": True},
    "f.jsonl": {"format": "jsonl"},
    "f.json": {"format": "json"},
    "f.csv": {"format": "csv"},
}
SOURCES = [
    (name, Files(path="*", encoding=encoding, max_record_bytes=1 << 12, **kind))
    for encoding in ENCODINGS
    for name, kind in KINDS.items()
]
TEXT = '{"text": "Füße 水車"}\n{"text": "b"}\n'
SEEDS = [
    bytes([number]) + text.encode(encoding, "replace")
    for number, (text, encoding) in enumerate(
        [
            (text, encoding.replace("auto", "utf-16"))
            for encoding in ENCODINGS
            for text in (TEXT, TEXT, f"[{TEXT[:-1]}]", "text,n\nü,1\n")
        ]
    )
]


def one(data: bytes) -> None:
    """Read what follows the first byte, which says how."""
    name, source = SOURCES[data[0] % len(SOURCES)] if data else SOURCES[0]
    content = data[1:]
    packed = codec_of(content) or container_of(content[:HEAD_BYTES], name) or content.startswith((b"PAR1", b"%PDF-"))
    read(source, name, content, size=None if packed else -1)
