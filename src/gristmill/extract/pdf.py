"""Text out of PDF by pdfium. Invariant: pages stand in order."""

from __future__ import annotations

from gristmill.extract.wire import Document, Extracted, ExtractOptions


def extract(document: Document, options: ExtractOptions) -> Extracted:
    """Extract."""
    import pypdfium2  # type: ignore[import-untyped]

    with pypdfium2.PdfDocument(document.data) as pdf:
        return Extracted("\n\n".join(page.get_textpage().get_text_bounded().replace("\r\n", "\n") for page in pdf))
