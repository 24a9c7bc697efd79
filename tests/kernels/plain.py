r"""The plain Python that each kernel must equal: its specification."""

import re
import struct

CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
    + "]"
)
URL = re.compile(r"""(?i)(?<!\w)(?:https?://|ftp://|www\.)[^\s<>"]*[^\s<>".,;:!?'")\]}]""")
EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")


def strip_control(t):
    return CONTROL.sub("", t)


def tidy_whitespace(t):
    t = re.sub("\r\n|[\r\x85\u2028]", "\n", t).replace("\u2029", "\n\n")
    t = re.sub("[ \t]+\n", "\n", t)
    t = re.sub("\n{3,}", "\n\n", t)
    return re.sub(r"\A\n+", "", t).rstrip()


def collapse_whitespace(t):
    return re.sub(r"\s+", " ", t).strip()


def remove_urls(t):
    return URL.sub("", t)


def remove_emails(t):
    return EMAIL.sub("", t)


def keep_chars(t, body):
    return "".join(c for c in t if re.fullmatch(f"[{body}]", c))


def punctuation(t, marks=True, ellipsis=True):
    t = re.sub(r"([!?])[!?]+", r"\1", t) if marks else t
    return re.sub(r"\.{4,}", "...", t) if ellipsis else t


U64 = (1 << 64) - 1


def murmur3(data, h1=0, h2=0):
    """MurmurHash3_x64_128, with a seed for each half."""

    def rotl(x, r):
        return (x << r | x >> 64 - r) & U64

    def mix1(k):
        return rotl(k * 0x87C37B91114253D5 & U64, 31) * 0x4CF5AD432745937F & U64

    def mix2(k):
        return rotl(k * 0x4CF5AD432745937F & U64, 33) * 0x87C37B91114253D5 & U64

    def final(x):
        x = (x ^ x >> 33) * 0xFF51AFD7ED558CCD & U64
        x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53 & U64
        return x ^ x >> 33

    whole = len(data) // 16 * 16
    for k1, k2 in struct.iter_unpack("<QQ", data[:whole]):
        h1 = ((rotl(h1 ^ mix1(k1), 27) + h2) * 5 + 0x52DCE729) & U64
        h2 = ((rotl(h2 ^ mix2(k2), 31) + h1) * 5 + 0x38495AB5) & U64
    k1, k2 = struct.unpack("<QQ", data[whole:].ljust(16, b"\0"))
    h1, h2 = h1 ^ mix1(k1) ^ len(data), h2 ^ mix2(k2) ^ len(data)
    h1 = (h1 + h2) & U64
    h2 = (h2 + h1) & U64
    h1, h2 = final(h1), final(h2)
    h1 = (h1 + h2) & U64
    return h1, (h2 + h1) & U64


def murmur3_columns(values):
    h1 = h2 = 0
    for value in values:
        h1, h2 = murmur3(b"", h1 ^ U64, h2) if value is None else murmur3(value.encode(), h1, h2)
    return h1, h2
