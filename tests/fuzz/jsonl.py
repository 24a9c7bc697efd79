"""JSON lines: `files` with every column mapped."""

from tests.fuzz.reading import read

from gristmill.sources.files import Files

SOURCE = Files(path="*", format="jsonl", id="id", url="url", time="at", lang="lang", license="meta.license")
SEEDS = [
    b'{"text": "a", "id": 1}\n{"text": "b\\ud83d\\ude00", "id": "x", "at": "2024-01-01T00:00:00Z", "n": [1.5, null, {"k": 1e9}]}\n',
    b'{"text": 1}\n\n{"text": "cut',
    b'\xef\xbb\xbf{"text":"\\u0000","url":"http://h/","lang":"de","meta":{"license":"x"}}\r\n{"text":"a","text":"b"}',
    b'{"text": "n", "v": 18446744073709551616}\n[1]\nnull\n"s"\n{"text": "\xff"}\n{"id": {}, "text": "t", "at": 1e400}\n',
]


def one(data: bytes) -> None:
    """Read it."""
    read(SOURCE, "f.jsonl", data)
