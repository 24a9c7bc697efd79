"""PDF: the child does what it does, and this process gets an answer, always and in time.

What the child came through is done here once more, where the fuzzer sees the way it takes: it must say the same. A document
gets its marks if it has lost them, else nothing but the look at them would be tried.
"""

import atexit

from tests.extract import pdfs

from gristmill.extract import Extractor, pdf
from gristmill.extract.wire import Document, ExtractOptions

OPTIONS = ExtractOptions(cpu_s=2, wall_s=10, max_bytes=1 << 20, max_pages=200)
EXTRACTOR = Extractor(OPTIONS)
atexit.register(EXTRACTOR.close)
DIED = {"extract.timeout", "extract.crash", "extract.memory"}
FIELDS = b"/Title (A \\(title\\)) /Author <FEFF00410042> /CreationDate (D:20240102030405+01'00')"
SEEDS = [
    (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</Font<</F<</Type/Font/Subtype/Type1/"
        b"BaseFont/Courier>>>>>>>>endobj 4 0 obj<</Length 25>>stream\nBT/F 9 Tf(hello) Tj ET\nendstream endobj\n"
        b"trailer<</Root 1 0 R>>\n%%EOF"
    ),
    pdfs.plain(("One page of two lines", "and a broken wo\xad", "rd"), ("Another",), info=FIELDS),
    pdfs.build(pdfs.document(pdfs.flate(pdfs.show("what is drawn lies deflated")), pdfs.stream(pdfs.show("open")))),
    pdfs.scan(2),
    pdfs.locked(),
    pdfs.private_use(),
    pdfs.page_tree_loop(),
    pdfs.many_pages(3),
    pdfs.form_loop(),
    pdfs.reference_loop(),
    pdfs.deep_arrays(50),
]


def _marked(data: bytes) -> bytes:
    """Give it with the marks of a PDF at both ends."""
    begun = data if b"%PDF-" in data[:1024] else b"%PDF-1.7\n" + data
    return begun if b"%%EOF" in begun[-1024:] else begun + b"\n%%EOF"


def one(data: bytes) -> None:
    """Extract in the child, and here."""
    for made in dict.fromkeys((_marked(data), data)):
        found = EXTRACTOR.extract("pdf", made)
        assert not (found.code and found.text)
        found.text.encode("utf-8")
        if found.code not in DIED:
            here = pdf.extract(Document("pdf", made), OPTIONS)
            assert (here.code, here.text, here.title, here.meta) == (found.code, found.text, found.title, found.meta)
