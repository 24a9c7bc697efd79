"""Small batches for the tests of steps."""

from datetime import UTC, datetime

import pyarrow as pa

from gristmill.core.batch import RECORD_SCHEMA, Batch

TEXTS = [
    "Plain text. It stays as it is.",
    "  \n\n Indented\t \r\nlines\r\n\r\n\r\n\r\nand more  ",
    "SHOUT!!! Really?!?! Hmm......",
    "see https://example.org/a_(b), or write to jane.doe@example.org!",
    "e\u0301te\u0301 \x00\ufeffΟΔΥΣΣΕΥΣ İstanbul ﬁn",
    "漢字かな交じり文。\u3000全角",
    "",
    "🙂 one two three four five",
]


def batch_of(texts, **columns):
    """Give a batch of these texts; other columns are made up, or as given."""
    n = len(texts)
    made = {
        "id": [f"t/{i}" for i in range(n)],
        "text": texts,
        "source": ["t"] * n,
        "origin": [f"file{i}" for i in range(n)],
        "url": [f"http://x/{i}" if i % 2 else None for i in range(n)],
        "time": [datetime(2024, 1, 1 + i % 28, 12, tzinfo=UTC) if i % 3 else None for i in range(n)],
        "lang": ["en" if i % 2 else None for i in range(n)],
        "lang_score": [0.1 * (i % 10) if i % 2 else None for i in range(n)],
        "license": ["MIT" if i % 4 else None for i in range(n)],
        "meta": [f'{{"n": {i}, "big": 123456789012345678901234567890}}' if i % 2 else None for i in range(n)],
        "content_hash": [i.to_bytes(16, "big") for i in range(n)],
        "ord": list(range(n)),
        **columns,
    }
    arrays = [pa.array(made.get(field.name, [None] * n), field.type) for field in RECORD_SCHEMA]
    return Batch(pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA))
