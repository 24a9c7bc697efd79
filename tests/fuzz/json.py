"""JSON: one value a file, or a list of records."""

from tests.fuzz.reading import read

from gristmill.sources.files import Files

SOURCE = Files(path="*", format="json", id="id")
SEEDS = [
    b'[{"text": "a", "id": 1}, {"text": "b", "id": 2}]',
    b'{"text": "one", "more": {"deep": [[[[1]]]]}}',
    b'[{"text": "a"}, 3, null, {"text": "cut"',
    b'[{"text": "a", "a": 1e999, "b": -0, "c": 123456789012345678901234567890}]',
]


def one(data: bytes) -> None:
    """Read it."""
    read(SOURCE, "f.json", data)
