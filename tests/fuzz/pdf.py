"""PDF: the child does what it does, and this process gets an answer, always and in time."""

import atexit

from tests.extract import pdfs

from gristmill.extract import Extractor
from gristmill.extract.wire import ExtractOptions

EXTRACTOR = Extractor(ExtractOptions(cpu_s=2, wall_s=10, max_bytes=1 << 20))
atexit.register(EXTRACTOR.close)
SEEDS = [make() for make in (getattr(pdfs, "small", None), getattr(pdfs, "hello", None)) if make is not None] or [
    (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</Font<</F<</Type/Font/Subtype/Type1/"
        b"BaseFont/Courier>>>>>>>>endobj 4 0 obj<</Length 25>>stream\nBT/F 9 Tf(hello) Tj ET\nendstream endobj\n"
        b"trailer<</Root 1 0 R>>\n%%EOF"
    )
]


def one(data: bytes) -> None:
    """Extract in the child."""
    found = EXTRACTOR.extract("pdf", data)
    assert not (found.code and found.text)
    found.text.encode("utf-8")
