"""Each cleaning kernel equals its plain Python on any Unicode, however the rows are cut, and cleaning twice is once."""

import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import orjson
import pyarrow as pa
import pytest
from backports import zstd
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.examples import examples, some
from tests.kernels import plain

from gristmill.core.batch import utf8_buffers, utf8_column
from gristmill.kernels import characters, choices, lowercase, normal, punctuation, remove, whitespace
from gristmill.kernels.rows import MAX_BYTES, check_bytes

BODY = r"\w\s.,!?-"


def kept_then_collapsed(t):
    return plain.collapse_whitespace(plain.keep_chars(t, BODY))


def collapsed_then_kept(t):
    return plain.keep_chars(plain.collapse_whitespace(t), BODY)


def collapsed_then_kept_without_space(t):
    return plain.keep_chars(plain.collapse_whitespace(t), r"\w.")


def choose(choice, data, offsets):
    return characters.choose(data, offsets, choice)


# name -> (kernel, plain Python, characters that matter to it)
OPS = {
    "nfc": (
        partial(normal.normalize, form="NFC"),
        partial(unicodedata.normalize, "NFC"),
        "a\né\u0301\u0323\u0344각ᄀ\u1161\u11a8ÅΩｱﾞ",
    ),
    "nfkc": (
        partial(normal.normalize, form="NFKC"),
        partial(unicodedata.normalize, "NFKC"),
        "a\nﬁ①ＡÅ\u0301\u0323각ᄀ\u1161ｱﾞ…\ufdfa",
    ),
    "strip_control": (
        remove.controls,
        plain.strip_control,
        "a \t\n\r\x00\x1f\x7f\x80\x9f\xa0\ufeff\ufdcf\ufdd0\ufdef\ufdf0\ufffd\uffff\U0001fffe\U0001fffd\U0010ffff",
    ),
    "tidy_whitespace": (whitespace.tidy, plain.tidy_whitespace, "ab \t\n\r\x0b\x85\xa0\u2028\u2029\u2027"),
    "collapse_whitespace": (
        partial(choose, choices.collapsed()),
        plain.collapse_whitespace,
        "ab \t\n\x1c\x1f\x85\xa0\u1680\u200b\u2003\u2028\u202f\u205f\u3000\u3001",
    ),
    "keep_chars": (
        partial(choose, choices.kept(BODY)),
        partial(plain.keep_chars, body=BODY),
        "aß_ \t\u3000.,-#@é\u0301漢🙂",
    ),
    "keep_collapse": (
        partial(choose, choices.kept_then_collapsed(BODY)),
        kept_then_collapsed,
        "ab  \t\n\u3000#@é漢🙂",
    ),
    "collapse_keep": (
        partial(choose, choices.collapsed_then_kept(BODY)),
        collapsed_then_kept,
        "ab  \t\n\u3000#@é漢🙂",
    ),
    "collapse_keep_no_space": (
        partial(choose, choices.collapsed_then_kept(r"\w.")),
        collapsed_then_kept_without_space,
        "ab  \t\n\u3000#@é漢🙂",
    ),
    "remove_urls": (remove.urls, plain.remove_urls, 'htpswfHTPSWF:/.ſ.,!?)]} \u3000_é<"'),
    "remove_emails": (remove.emails, plain.remove_emails, "ab@@.-_%+ é1"),
    "lowercase": (lowercase.lower, str.lower, "aZÀẞΣσςİIΑ.ȺǅἈ𐐀\u0307\xad"),
    "punctuation": (punctuation.shorten, plain.punctuation, "a!?.…！ "),
}
NAMES = sorted(OPS)


def run(kernel, texts):
    """Run on a column of its own, and on one where it is a slice in the middle: both must give the same."""
    alone = utf8_column(*kernel(*utf8_buffers(pa.array(texts, pa.string())))).to_pylist()
    around = pa.array(["x \r", *texts, "@y.z"], pa.string()).slice(1, len(texts))
    sliced = utf8_column(*own(*kernel(*utf8_buffers(around)))).to_pylist()
    assert sliced == alone
    return alone


def own(data, offsets):
    """Make offsets begin at 0, which those of a slice that did not change do not."""
    return data[offsets[0] : offsets[-1]].copy(), offsets - offsets[0]


@pytest.mark.parametrize("name", NAMES)
def test_equals_plain_python_on_any_text(name):
    """Hypothesis finds no text, of any characters or of those that matter, on which kernel and definition differ."""
    kernel, definition, alphabet = OPS[name]
    texts = st.lists(st.text() | st.text(st.sampled_from(alphabet), max_size=40), max_size=5)

    @settings(max_examples=examples(100), deadline=None, derandomize=True, database=None)
    @given(texts)
    def check(rows):
        assert run(kernel, rows) == [definition(t) for t in rows]

    check()


@pytest.mark.parametrize("name", NAMES)
def test_at_every_place_of_a_block_equals_plain_python(name):
    """What matters to a kernel, at each place of the blocks it reads at once, is seen as the definition sees it."""
    kernel, definition, alphabet = OPS[name]
    pairs = [a + b for a, b in zip(alphabet, alphabet[1:] + alphabet[0], strict=True)]
    rows = ["x" * at + piece + "Y " * 20 for piece in [*alphabet, *pairs] for at in range(40)]
    assert run(kernel, rows) == [definition(t) for t in rows]


PIECES = ["http://", "https://", "HTTPS://", "httpſ://", "ftp://", "www.", "a", "é", " ", ".", ")", "x@", "b.c", "/", '"', "_", "\u3000", "!?", "....", ":"]  # fmt: skip


@settings(max_examples=examples(240), deadline=None, derandomize=True, database=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=4))
@example(["http://www.", "xhttp://www.a.b", "www.www.a www.,;", "ahttp://a", "_www.a", "https://)", "http://a.www.b"])
def test_addresses_made_of_their_pieces(rows):
    """Texts built of prefixes, separators and tails lose the same addresses as by the regular expressions."""
    assert run(remove.urls, rows) == [plain.remove_urls(t) for t in rows]
    assert run(remove.emails, rows) == [plain.remove_emails(t) for t in rows]


# What stands around a removed address may make a new one, as with re.sub.
# Dropping what stands between two spaces leaves both.
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"remove_urls", "remove_emails", "collapse_keep"}))
def test_idempotent(name):
    """Cleaning a cleaned text changes nothing; the very buffers come back where Python was not asked."""
    kernel, _, alphabet = OPS[name]

    @settings(max_examples=examples(48), deadline=None, derandomize=True, database=None)
    @given(st.lists(st.text() | st.text(st.sampled_from(alphabet), max_size=40), max_size=5))
    def check(rows):
        once = kernel(*utf8_buffers(pa.array(rows, pa.string())))
        twice = kernel(*once)
        assert utf8_column(*twice).to_pylist() == utf8_column(*once).to_pylist()
        assert twice[0] is once[0] or name in {"nfc", "nfkc", "lowercase"}

    check()


@pytest.mark.slice
@pytest.mark.parametrize("name", some(NAMES, 4))
def test_every_code_point(name):
    """Kernel and definition agree on each code point alone, between letters, and after a space."""
    kernel, definition, _ = OPS[name]
    low = [chr(c) for c in range(0x30000) if not 0xD800 <= c < 0xE000]
    high = ["".join(map(chr, range(at, at + 0x400))) for at in range(0x30000, 0x110000, 0x400)]
    # The definition of keep_chars asks `re` for each character: a sample is enough, the table itself is from `re`.
    rows = [*low[:0x3100:3], *high[::40]] if "keep" in name else [*(f"a{c} {c}." for c in low), *high]
    got = utf8_column(*kernel(*utf8_buffers(pa.array(rows, pa.string())))).to_pylist()
    assert got == [definition(t) for t in rows]


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_and_empty_rows(name):
    """Columns without rows or without bytes come back as they are."""
    kernel = OPS[name][0]
    for rows in ([], [""], ["", "", ""]):
        data, offsets = utf8_buffers(pa.array(rows, pa.string()))
        assert kernel(data, offsets)[0] is data


@pytest.mark.parametrize("name", NAMES)
def test_null_rows_have_no_bytes(name):
    """A null is a row without bytes and stays one; its neighbours are cleaned."""
    kernel, definition, alphabet = OPS[name]
    rows = [None, f"a {alphabet}", None, "B  ", None]
    got = utf8_column(*own(*kernel(*utf8_buffers(pa.array(rows, pa.string()))))).to_pylist()
    assert got == [definition(t or "") for t in rows]


@pytest.mark.slice
@pytest.mark.parametrize("name", some(NAMES, 4))
def test_real_text(name, shared):
    """Kernel and definition agree on every text of a real corpus in many languages."""
    kernel, definition, _ = OPS[name]
    with zstd.open(shared / "corpus" / "part-0003.jsonl.zst") as lines:
        texts = [orjson.loads(line)["text"][:4000] for line in lines][:: 40 if "keep" in name else 12]
    got = utf8_column(*kernel(*utf8_buffers(pa.array(texts)))).to_pylist()
    assert got == [definition(t) for t in texts]


def test_nothing_to_change_copies_nothing():
    """Clean text comes back in the buffers it came in, also from the middle of a column."""
    data, offsets = utf8_buffers(pa.array(["skip", "a b.\n\nc: d, é漢", "e@f"]).slice(1, 2))
    for name in ("nfc", "strip_control", "tidy_whitespace", "remove_urls", "remove_emails", "punctuation", "lowercase"):
        changed, ends = OPS[name][0](data, offsets)
        assert changed is data, name
        assert ends is offsets, name


@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        (remove.emails, "a." * 3_000_000),
        (remove.emails, "a@" * 3_000_000),
        (remove.urls, "www." * 1_500_000),
        (remove.urls, "http://" + ")" * 3_000_000),
        (remove.urls, "http://" * 800_000),
        (whitespace.tidy, " " * 5_000_000 + "a" + "\n \t" * 1_500_000 + "b"),
        (whitespace.tidy, ("a" + " " * 1000) * 5000),
        (punctuation.shorten, "!" * 5_000_000),
    ],
)
def test_hostile_text_takes_linear_time(kernel, text):
    """Texts that make a backtracking matcher quadratic, and so take it hours, are done in a moment."""
    column = pa.array([text])
    started = time.process_time()
    kernel(*utf8_buffers(column))
    assert time.process_time() - started < 20


@pytest.mark.parametrize("body", ["", "]", "a]b", "\\", "z-a", "^", "[[a", "a\\"])
def test_bad_character_class_is_refused(body):
    """What is not the inside of one character class raises a ValueError."""
    with pytest.raises(ValueError, match=r"\w"):
        choices.kept(body)


@pytest.mark.parametrize("body", ["^a", r"\]\\", "^\\]", "a-z", r"\W", "-"])
def test_odd_character_classes_work(body):
    """Negated classes, escapes and bare hyphens mean what they mean to `re`."""
    rows = ["ab-]\\^é Z"]
    assert run(partial(choose, choices.kept(body)), rows) == [plain.keep_chars(rows[0], body)]


def test_normalisation_may_grow():
    """A ligature of 3 bytes that stands for 33 finds room, and the rows around it keep their bytes."""
    assert run(OPS["nfkc"][0], ["é", "\ufdfa" * 100, "z"]) == ["é", unicodedata.normalize("NFKC", "\ufdfa") * 100, "z"]


def test_normalisation_line_by_line():
    """Only the lines that need it go through Python; more than fit into the first array, in rows with empty ones."""
    rows = ["", "e\u0301\nclean\n" * 200, "", "\u0301\n\u0301", "clean", "\n", "a\ne\u0301"]
    assert run(OPS["nfc"][0], rows) == [unicodedata.normalize("NFC", t) for t in rows]


def test_marks_and_ellipsis_can_be_switched_off():
    """Each switch leaves its own kind of run alone."""
    data, offsets = utf8_buffers(pa.array(["a!!b....c"]))
    for marks, dots in ((True, False), (False, True), (False, False)):
        changed = punctuation.shorten(data, offsets, marks=marks, ellipsis=dots)
        assert utf8_column(*changed).to_pylist() == [plain.punctuation("a!!b....c", marks, dots)]


def test_too_many_bytes_are_refused():
    """A result that int32 offsets cannot hold raises instead of wrapping."""
    check_bytes(MAX_BYTES)
    with pytest.raises(OverflowError, match="smaller batches"):
        check_bytes(MAX_BYTES + 1)


def test_threads_share_kernels():
    """Eight threads at once get what one gets: kernels keep no state."""
    rows = [f"A{n}  b@c.de\r\nhttp://x.y {'é' * n}" for n in range(500)]
    data, offsets = utf8_buffers(pa.array(rows))
    with ThreadPoolExecutor(8) as pool:
        outs = list(pool.map(lambda _: characters.choose(*remove.urls(data, offsets), choices.collapsed()), range(32)))
    assert all(np.array_equal(out[0], outs[0][0]) for out in outs)
