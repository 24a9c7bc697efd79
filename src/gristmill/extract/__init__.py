"""Main text out of HTML and PDF, in a child process that can be killed.

Not here: what is read (`sources`), records and pages (`core.mapping`). `Extractor` is all that other rooms need:

    with Extractor(ExtractOptions()) as extractor:
        one = extractor.extract("html", data, charset="utf-8")
        for result in extractor.extract_many(Document("html", data) for data in pages): ...

Invariants: hostile bytes are parsed in the child only; whatever they do there costs that one document a code, never the
caller's process and never another document; the result depends on the document and the options alone.
"""

from gristmill.extract.extractor import Extractor as Extractor
from gristmill.extract.extractor import needs as needs
from gristmill.extract.wire import Document as Document
from gristmill.extract.wire import Extracted as Extracted
from gristmill.extract.wire import ExtractOptions as ExtractOptions
from gristmill.extract.wire import Kind as Kind
