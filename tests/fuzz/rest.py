"""REST: an answer of any bytes, its records, and what an address in it becomes."""

from gristmill.core.errors import GristmillError
from gristmill.core.mapping import Mapping, Rows
from gristmill.core.mend import fault_of, mend
from gristmill.net import urls
from gristmill.sources.formats.api_records import Records

SEEDS = [
    b'{"items": [{"id": 1, "text": "a", "deleted": true}, {"id": "b", "text": 2.5}], "next": "http://h/?page=2"}',
    b'[{"text": "\\ud800"}, {"id": {}, "text": null}, 3, [], {"id": 1, "text": "x", "deleted": "maybe"}]',
    b"HTTP://User@Ex\xc3\xa4mple.org:080/a/../%7e?q=%zz#f",
]
MAPPING = Mapping(id="id")


def one(data: bytes) -> None:
    """Take its records up, as a page."""
    try:
        first = urls.normal(data.decode("utf-8", "replace"), "http://base/x/")
        assert urls.normal(first) == first
    except ValueError:
        pass
    try:
        mended = mend(data)
        value = mended.value
    except ValueError:
        return
    records = value if isinstance(value, list) else value.get("items", [value]) if isinstance(value, dict) else [value]
    if not isinstance(records, list):
        return
    records = [fault_of(record, is_utf8=mended.is_utf8) or record for record in records]
    try:
        making = Records(
            Rows("u", MAPPING, 1 << 20),
            MAPPING,
            lambda record: record["deleted"] is True if "deleted" in record else False,
            None,
            0,
            1 << 30,
        )
        pages = [*making.answer(records, len(data)), making.take()]
    except GristmillError:
        return
    assert sum(page.bytes_in for page in pages) == len(data)
    assert sum(page.rows.num_rows + len(page.rejects) for page in pages) <= len(records)
    for page in pages:
        page.rows.validate(full=True)
