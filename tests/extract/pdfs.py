"""Small PDFs, written out object by object: good ones, and ones made to lock, cut, loop or swell."""

import zlib

Objects = dict[int, bytes]


def build(objects: Objects, trailer: bytes = b"") -> bytes:
    """Give a PDF of numbered objects, of which 1 is the catalog, with its cross-reference table."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    at = {}
    for number, body in objects.items():
        at[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    size = max(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        out += b"%010d 00000 %s \n" % (at.get(number, 0), b"n" if number in at else b"f")
    out += b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, start)
    return bytes(out)


def stream(data: bytes, extra: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), extra, data)


def flate(data: bytes) -> bytes:
    return stream(zlib.compress(data, 9), b"/Filter /FlateDecode")


def show(*lines: str) -> bytes:
    """Give a content stream that shows lines of Latin-1 text under each other."""
    shown = b"".join(b"(%s) Tj T* " % line.encode("latin-1").replace(b"(", b"\\(") for line in lines)
    return b"BT /F1 12 Tf 14 TL 72 720 Td %sET" % shown


FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


def document(*pages: bytes, font: bytes = FONT, info: bytes = b"", more: Objects | None = None) -> Objects:
    """Give the objects of a document: a page for each content stream object. Object 3 is the font; 4 the document's info."""
    objects: Objects = {1: b"<< /Type /Catalog /Pages 2 0 R >>", 3: font, 4: b"<< %s >>" % info}
    kids = []
    number = 10
    for content in pages:
        kids.append(b"%d 0 R" % number)
        resources = b"/Font << /F1 3 0 R >> /XObject << /X 5 0 R >>"
        objects[number] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << %s >> >>"
            % (number + 1, resources)
        )
        objects[number + 1] = content
        number += 2
    objects[2] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    return objects | (more or {})


def plain(*pages: tuple[str, ...], info: bytes = b"") -> bytes:
    return build(document(*(stream(show(*lines)) for lines in pages), info=info), b"/Info 4 0 R")


PICTURE = b"<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8"


def scan(pages: int) -> bytes:
    """Give pages that are a picture each."""
    image = PICTURE + b" /Length 1 >>\nstream\n\x80\nendstream"
    draw = stream(b"q 612 0 0 792 0 0 cm /X Do Q")
    return build(document(*[draw] * pages, more={5: image}))


def locked() -> bytes:
    """Give a document whose text only a password opens."""
    trailer = b"/Encrypt 6 0 R /ID [<%s> <%s>]" % (b"00" * 16, b"00" * 16)
    encrypt = b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (b"41" * 32, b"42" * 32)
    return build(document(stream(show("secret")), more={6: encrypt}), trailer)


def private_use() -> bytes:
    """Give a document whose font leads to the private use area of Unicode."""
    mapping = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def "
        b"1 begincodespacerange <00> <FF> endcodespacerange 1 beginbfrange <20> <7E> <E020> endbfrange "
        b"endcmap end end"
    )
    font = FONT.removesuffix(b">>") + b"/ToUnicode 7 0 R >>"
    return build(document(stream(show("nobody can read this")), font=font, more={7: stream(mapping)}))


def page_tree_loop() -> bytes:
    """Give a page tree that holds itself."""
    objects = document(stream(show("x")))
    objects[2] = b"<< /Type /Pages /Kids [2 0 R 2 0 R 10 0 R] /Count 3 >>"
    return build(objects)


def page_tree_bomb() -> bytes:
    """Give a page tree of 2^40 pages in 40 nodes."""
    objects = document(stream(show("x")))
    for level in range(40):
        below = 10 if level == 39 else 101 + level
        objects[100 + level] = b"<< /Type /Pages /Kids [%d 0 R %d 0 R] /Count %d >>" % (below, below, 2 ** (40 - level))
    objects[1] = b"<< /Type /Catalog /Pages 100 0 R >>"
    return build(objects)


def many_pages(count: int) -> bytes:
    """Give a document of many pages, all with the same content."""
    objects = document(stream(show("x")))
    objects[2] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b"10 0 R " * count, count)
    return build(objects)


def form_loop() -> bytes:
    """Give a form that draws itself twice."""
    form = stream(
        b"/X Do /X Do", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 5 0 R >> >>"
    )
    return build(document(stream(show("before") + b" /X Do"), more={5: form}))


def form_bomb() -> bytes:
    """Give 30 forms, each of which draws the next one ten times."""
    more = {}
    for level in range(30):
        number, below = (5 if level == 0 else 200 + level), 201 + level
        inner = b"/Resources << /XObject << /X %d 0 R >> /Font << /F1 3 0 R >> >>" % below
        more[number] = stream(b"/X Do " * 10, b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] " + inner)
    more[230] = stream(
        show("boom"), b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /Font << /F1 3 0 R >> >>"
    )
    return build(document(stream(show("before") + b" /X Do"), more=more))


def stream_bomb(megabytes: int) -> bytes:
    """Give a content stream that expands to so many megabytes of drawing."""
    piece = show("all work and no play") + b"\n"
    return build(document(flate(piece * (megabytes * 1_000_000 // len(piece)))))


def reference_loop() -> bytes:
    """Give a content whose length is itself, and a stream that is its own filter's parameter."""
    objects = document(b"<< /Length 11 0 R /Filter 11 0 R >>\nstream\nBT ET\nendstream")
    return build(objects)


def deep_arrays(depth: int) -> bytes:
    """Give a document with arrays nested in its info."""
    return build(document(stream(show("deep")), info=b"/Title " + b"[" * depth + b"]" * depth), b"/Info 4 0 R")
