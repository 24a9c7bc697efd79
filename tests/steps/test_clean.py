"""The cleaning steps: what they do to a text, and what they say about parameters that make no sense."""

import unicodedata

import msgspec
import pyarrow as pa
import pytest
from tests.kernels import plain
from tests.steps.batches import TEXTS, batch_of

from gristmill.steps.clean.lowercase import Lowercase
from gristmill.steps.clean.punctuation import Punctuation
from gristmill.steps.clean.text import Text

PLAIN = {
    "nfc": lambda t: unicodedata.normalize("NFC", t),
    "nfkc": lambda t: unicodedata.normalize("NFKC", t),
    "strip_control": plain.strip_control,
    "tidy_whitespace": plain.tidy_whitespace,
    "collapse_whitespace": plain.collapse_whitespace,
    "remove_urls": plain.remove_urls,
    "remove_emails": plain.remove_emails,
}
BODY = r"\w\s.,"


def in_order(ops, text):
    for op in ops:
        text = plain.keep_chars(text, op["keep_chars"]) if isinstance(op, dict) else PLAIN[op](text)
    return text


@pytest.mark.parametrize(
    "ops",
    [
        *[[op] for op in PLAIN],
        ["nfc", "strip_control", "tidy_whitespace"],
        [{"keep_chars": BODY}],
        [{"keep_chars": BODY}, "collapse_whitespace"],
        ["collapse_whitespace", {"keep_chars": BODY}],
        ["remove_urls", "remove_emails", {"keep_chars": BODY}, "collapse_whitespace", "nfkc"],
        [{"keep_chars": "a-z "}, {"keep_chars": "^e"}, "collapse_whitespace", "collapse_whitespace"],
    ],
    ids=str,
)
def test_operations_run_in_order(ops):
    """A list of operations equals their definitions one after the other, fused or not."""
    assert Text(ops=ops).apply(batch_of(TEXTS)).text.to_pylist() == [in_order(ops, t) for t in TEXTS]


def test_default_operations():
    """Without parameters: nfc, strip_control, tidy_whitespace."""
    assert Text().ops == ["nfc", "strip_control", "tidy_whitespace"]


def test_clean_text_is_the_same_batch():
    """Where nothing changes the batch itself comes back, signals and all."""
    batch = batch_of(["clean already", "and so is this"])
    assert Text().apply(batch) is batch
    assert Lowercase().apply(batch) is batch
    assert Punctuation().apply(batch) is batch


@pytest.mark.parametrize(
    ("ops", "words"),
    [
        ([], "ops is empty; give at least one of nfc"),
        (["nfcc"], r"ops\[0\]: 'nfcc' is no operation; did you mean 'nfc'\? allowed: nfc, nfkc"),
        (["nfc", "remove_url"], r"ops\[1\]: .*did you mean 'remove_urls'\?"),
        ([{"keep_char": "a"}], "did you mean 'keep_chars'"),
        (
            [{"keep_chars": "z-a"}],
            "ops.0.: keep_chars 'z-a' is not the inside of a character class: bad character range",
        ),
        ([{"keep_chars": "a]"}], "not the inside of a character class"),
        ([{"keep_chars": ""}], "not the inside"),
        ([{"keep_chars": "a", "nfc": "b"}], "is no operation"),
        (["keep_chars"], "is no operation; allowed: nfc"),
        ([7], "7 is no operation"),
    ],
)
def test_bad_operations_are_refused(ops, words):
    """The message says what was found, what was probably meant, and what is allowed."""
    with pytest.raises(ValueError, match=words):
        Text(ops=ops)


def test_parameters_from_a_config():
    """The struct is made from plain values, gives them back, and refuses what it does not know."""
    made = msgspec.convert({"ops": ["nfkc", {"keep_chars": "a-z"}]}, Text)
    assert msgspec.to_builtins(made) == {"ops": ["nfkc", {"keep_chars": "a-z"}]}
    for wrong in ({"ops": ["nope"]}, {"opps": []}, {"ops": []}, {"ops": [{"keep_chars": "z-a"}]}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Text)


def test_lowercase():
    """Every text is what `str.lower` gives."""
    assert Lowercase().apply(batch_of(TEXTS)).text.to_pylist() == [t.lower() for t in TEXTS]


def test_punctuation():
    """Runs of marks and dots are shortened, each by its own switch."""
    for marks in (True, False):
        for ellipsis in (True, False):
            step = Punctuation(marks=marks, ellipsis=ellipsis)
            assert step.apply(batch_of(TEXTS)).text.to_pylist() == [
                plain.punctuation(t, marks, ellipsis) for t in TEXTS
            ]


def test_changed_text_forgets_signals():
    """Signals measured on the old text are not on the batch any more."""
    batch = batch_of(["A"])
    batch.signal("chars", lambda _: {"chars": pa.array([1]).to_numpy()})
    assert Lowercase().apply(batch).signals == {}
