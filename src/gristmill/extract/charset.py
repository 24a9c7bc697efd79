"""Which characters the bytes of a web page are, and decoding them strictly.

Not here: what the characters mean (`html`). Candidates in order: byte order mark, UTF-16 told by its first character, the
HTTP header, `<meta>` in the first kilobytes, resiliparse's detector, charset-normalizer (neither detector alone is enough:
one is wrong on EUC-KR, the other on short Latin-1). The first that decodes without an error is taken; names are read as
browsers read them (WHATWG: "iso-8859-1" is windows-1252). Invariants: no byte is dropped in silence: what no candidate can
decode is replaced, counted, and refused over `MAX_REPLACED`; a page that is whole, well-formed UTF-8 beyond doubt is read as
that even when it declares a single-byte charset, in which every byte sequence is valid.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_REPLACED = 0.01
_META_BYTES = 4096  # browsers look at 1,024; real pages go beyond
_DETECT_BYTES = 128 << 10
_BOMS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
# Browsers read these labels as the larger set that their makers' software wrote under that name (WHATWG Encoding).
_LARGER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
}
# By Python's names. charset-normalizer knows others too (hp-roman8, code pages of DOS), and sees them in a few bad bytes.
_OF_BROWSERS = frozenset(
    [
        "utf-8",
        "utf-16-le",
        "utf-16-be",
        "cp866",
        "koi8-r",
        "koi8-u",
        "mac-roman",
        "mac-cyrillic",
        "gb18030",
        "big5hkscs",
    ]
    + ["euc_jp", "iso2022_jp", "cp932", "cp949", "cp874", *(f"cp{n}" for n in range(1250, 1259))]
    + [f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)]
)
_META = re.compile(rb"""<meta\s[^>]{0,500}?charset\s{0,9}=\s{0,9}["']?\s{0,9}([\w.:-]{1,40})""", re.IGNORECASE)
_XML = re.compile(rb"""<\?xml\s[^>]{0,200}?encoding\s{0,9}=\s{0,9}["']([\w.:-]{1,40})["']""", re.IGNORECASE)
_HEADER = re.compile(r"""(?:.*charset\s*=)?\s*["']?([\w.:-]+)["']?""", re.IGNORECASE | re.DOTALL)
_MULTIBYTE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]{1,3}")


class Decoded(NamedTuple):
    """The text, the charset it was read as, the share of its characters that are replacements of bad bytes, warnings."""

    text: str
    charset: str
    replaced: float
    warnings: list[str]


def decode(data: bytes, header: str | None = None) -> Decoded:
    """Decode a page. header: what the HTTP header says: a charset, or the whole Content-Type."""
    declared = _declared(data, header)
    mended: Decoded | None = None
    for name in _candidates(data, declared):
        try:
            text = data.decode(name)
        except UnicodeDecodeError as error:
            cut = name == "utf-8" and error.reason == "unexpected end of data" and _shows_utf8(data, declared)
            mended = mended or _mended(data, name, sure=cut)
            if mended is not None and mended.replaced <= MAX_REPLACED:
                return mended
            continue
        warnings = ["charset.lied"] if declared and name not in declared else []
        return Decoded(text.removeprefix("\ufeff"), name, 0.0, warnings)
    return mended or _mended(data, declared[0] if declared else "utf-8", sure=True)  # type: ignore[return-value]


def _shows_utf8(data: bytes, declared: list[str]) -> bool:
    """Tell if data that ends inside a character of UTF-8 (crawlers cut long pages) is UTF-8 all the same."""
    return declared[:1] == ["utf-8"] or _MULTIBYTE.search(data, 0, len(data) - 3) is not None


def _mended(data: bytes, name: str, *, sure: bool) -> Decoded | None:
    """Decode with bad bytes replaced; unless `sure`, only if enough others are well-formed beyond ASCII.

    As many are enough for UTF-8, which chance hardly ever makes; of other charsets five times as many.
    """
    text = data.decode(name, "replace").removeprefix("\ufeff")
    replaced = text.count("\ufffd")
    others = len(text) - len(text.encode("ascii", "ignore")) - replaced
    if not sure and others < (1 if name == "utf-8" else 5) * replaced:
        return None
    return Decoded(text, name, replaced / max(len(text), 1), ["charset.replaced"])


def _declared(data: bytes, header: str | None) -> list[str]:
    """Give what the byte order mark, the HTTP header and the page say, best first."""
    names = [name for bom, name in _BOMS if data.startswith(bom)][:1]
    named = [_python_name(_HEADER.match(header)) if header else None]
    named += [_python_name(pattern.search(data[:_META_BYTES])) for pattern in (_META, _XML)]
    # A page whose `<meta>` can be read as ASCII is no UTF-16, whatever it says.
    return names + [name for name in named if name and not name.startswith("utf-16")]


def _candidates(data: bytes, declared: list[str]) -> Iterator[str]:
    """Give charsets to try, best first."""
    marked = any(data.startswith(bom) for bom, _ in _BOMS)
    if data[:2] in {b"<\0", b"\0<"} and not marked:
        yield "utf-16-le" if data[:1] == b"<" else "utf-16-be"
    single_byte = bool(declared) and not marked and declared[0].startswith(("cp125", "iso8859"))
    if single_byte and len(_MULTIBYTE.findall(data)) > 1:  # chance does not make two well-formed sequences and no other
        yield "utf-8"
    yield from declared
    yield "utf-8"
    yield from (name for name in _detected(data) if name)


def _detected(data: bytes) -> Iterator[str | None]:
    from resiliparse.parse.encoding import detect_encoding

    yield _known(detect_encoding(data, max_len=_DETECT_BYTES))
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_DETECT_BYTES]).best()
    found = _known(best.encoding) if best is not None else None
    yield found if found in _OF_BROWSERS else None


def _python_name(found: re.Match[str] | re.Match[bytes] | None) -> str | None:
    """Give Python's name for a charset label as browsers read it; None for one that is not known."""
    if found is None:
        return None
    from resiliparse.parse.encoding import map_encoding_to_html5

    label = found[1] if isinstance(found[1], str) else found[1].decode("ascii", "replace")
    return _known(map_encoding_to_html5(label, fallback_utf8=False))


def _known(label: str | None) -> str | None:
    try:
        name = codecs.lookup(label).name if label else ""
    except LookupError:
        return None
    return _LARGER.get(name, name) or None
