"""Main text out of HTML. Invariant: the text follows from the bytes and the options."""

from __future__ import annotations

from gristmill.extract.wire import Document, Extracted, ExtractOptions


def extract(document: Document, options: ExtractOptions) -> Extracted:
    """Extract."""
    from resiliparse.extract.html2text import extract_plain_text

    return Extracted(extract_plain_text(document.data.decode("utf-8", "replace"), main_content=True))
