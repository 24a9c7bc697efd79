"""Charsets: bytes of any kind become text, and it is told how surely."""

from gristmill.extract import charset

LABELS = [
    None,
    "utf-8",
    "utf-16le",
    "iso-8859-1",
    "shift_jis",
    "x-user-defined",
    "utf-7",
    "idna",
    "rot13",
    "unicode_escape",
]
SEEDS = [
    "Straße".encode("cp1252"),
    "水車".encode("shift_jis"),
    "\ufeffx".encode("utf-16"),
    b"<meta charset=koi8-r>\xc1",
    b"\x1b$B\x22\x1b(B",
]


def one(data: bytes) -> None:
    """Decode, whatever the header says."""
    label = LABELS[data[0] % len(LABELS)] if data else None
    found = charset.decode(data, label)
    found.text.encode("utf-8")
    assert 0 <= found.replaced <= 1
