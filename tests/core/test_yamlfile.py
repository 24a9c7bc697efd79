"""The YAML reader: values, places, refusals."""

import math
import time

import pytest

from gristmill.core import yamlfile
from gristmill.core.errors import ConfigError
from gristmill.core.references import resolve
from gristmill.core.yamlfile import MAX_DEPTH, parse, read


def tree(text):
    return parse(text, "f.yml", None).raw


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-17", -17),
        ("+3", 3),
        ("10_000", 10_000),
        ("0o17", 15),
        ("0x1F", 31),
        ("017", 17),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("12:30:45", "12:30:45"),
        ("1__0", "1__0"),
        ("1.2.3", "1.2.3"),
        ("-", [None]),
        (".", "."),
        ("|\n a\n b\n", "a\nb\n"),
        (">\n a\n b\n", "a b\n"),
        ("[]", []),
        ("{}", {}),
        ("a:\n  - b: 1\n    c: [x, {d: 2}]\n", {"a": [{"b": 1, "c": ["x", {"d": 2}]}]}),
        ("1: a\ntrue: b\nnull: c\n", {"1": "a", "true": "b", "null": "c"}),
        ("%YAML 1.2\n---\na: 1\n", {"a": 1}),
        ("'<<': 1", {"<<": 1}),
    ],
)
def test_scalars_are_yaml_1_2(text, value):
    assert tree(text) == value
    assert type(tree(text)) is type(value)


def test_nan():
    assert math.isnan(tree(".nan"))


def test_places():
    document = parse("a:\n  - b: 1\n    cc: [x,\n         {d: 2}]\n'e' : |\n  text\n", "f.yml", None)
    assert document.keys[("a",)] == (1, 1)
    assert document.values[("a",)] == (2, 3)
    assert document.keys[("a", 0, "cc")] == (3, 5)
    assert document.values[("a", 0, "cc", 0)] == (3, 10)
    assert document.values[("a", 0, "cc", 1, "d")] == (4, 14)
    assert document.at(("a", 0, "cc", 1, "d")) == "f.yml:4:14"
    assert document.at(("a", 0, "cc", 1, "d"), key=True) == "f.yml:4:11"
    assert document.at(("a", 0, "nowhere", 5)) == "f.yml:2:5"
    assert document.at(("e",)) == "f.yml:5:7"
    assert document.at(("zz",)) == "f.yml:1:1"


def test_replaced_names_the_label_and_forgets_the_old_places():
    document = parse("a: {b: {c: 1}}\nd: [1, 2]\n", "f.yml", None)
    changed = document.replaced(("a", "b"), {"c": 2}, "--set a.b").replaced(("d", 1), 7, "--set d.1")
    changed = changed.replaced(("new", "key"), 1, "--set new.key")
    assert changed.raw == {"a": {"b": {"c": 2}}, "d": [1, 7], "new": {"key": 1}}
    assert changed.at(("a", "b", "c")) == "--set a.b"
    assert changed.at(("d", 1)) == "--set d.1"
    assert changed.at(("d", 0)) == "f.yml:2:5"
    assert document.raw["a"]["b"]["c"] == 1


@pytest.mark.parametrize(
    ("text", "place", "phrase"),
    [
        ("", "1:1", "the file is empty"),
        ("# only a comment\n", "1:1", "the file is empty"),
        ("a: &x 1\n", "1:4", "the anchor &x is not supported"),
        ("a: *x\n", "1:4", "the alias *x is not supported"),
        ('a: "\\uD800"\n', "1:4", "half a surrogate pair"),
        ('"\\uDFFF": 1\n', "1:1", "half a surrogate pair"),
        ("a: &x {b: 1}\nc: *x\n", "1:4", "anchor"),
        ("<<: {a: 1}\n", "1:1", "merge key"),
        ("a: !!python/object:os.system x\n", "1:4", "the tag"),
        ("a: !!str 1\n", "1:4", "the tag"),
        ("a: !mine [1]\n", "1:4", "the tag !mine"),
        ("a:\n  x: 1\n  y: 2\n  x: 3\n", "4:3", "key 'x' is here a second time; the first is at line 2, column 3"),
        ("a: 1\n---\nb: 2\n", "2:1", "a second document"),
        ("%YAML 1.1\n---\na: yes\n", "1:1", "YAML 1.2"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "1:1", "directives"),
        ("? [a, b]\n: 1\n", "1:3", "a key must be plain text"),
        ("? {a: b}\n: 1\n", "1:3", "a key must be plain text"),
        ("a: [1\nb: 2\n", "2:2", "not valid YAML"),
        ("a: b: c\n", "1:5", 'put a text that holds ": " in quotes'),
        ("a:\n\t- b\n", "2:1", "spaces, not tabs"),
        ("a: {b: ${env:X}}\n", "1:9", "must stand in quotes"),
        ("a: 'b\n", None, "not valid YAML"),
        ("a: \x01\n", "1:4", "a control character"),
        ("ok: 1\nb: x\x00\n", "2:5", "a control character"),
        ("a: " + "9" * 101, "1:4", "100 digits"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"1:{MAX_DEPTH + 1}", "nested deeper"),
        ("a: " + "{a: " * 5000, None, "nested deeper"),
        ("- " * 5000, None, "nested deeper"),
        ('a: "\\ud800"\n', None, ""),
        ("@a: 1", "1:1", "not valid YAML"),
        ("a\nb: 1\n", None, "not valid YAML"),
    ],
)
def test_refused(text, place, phrase):
    try:
        parse(text, "f.yml", None)
    except ConfigError as error:
        message = str(error)
    else:
        assert phrase == ""
        return
    assert message.startswith(f"f.yml:{place}: " if place else "f.yml:")
    assert phrase in message
    assert "\n" not in message
    assert "Traceback" not in message


def test_a_billion_laughs_costs_a_message():
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    start = time.perf_counter()
    with pytest.raises(ConfigError, match="anchor"):
        parse(bomb, "f.yml", None)
    assert time.perf_counter() - start < 2


def test_caps(tmp_path, monkeypatch):
    monkeypatch.setattr(yamlfile, "MAX_NODES", 500)
    with pytest.raises(ConfigError, match=r"f.yml:500:3: more than 500 values"):
        parse("- a\n" * 600, "f.yml", None)
    (tmp_path / "big.yml").write_bytes(b"#" * (yamlfile.MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read(tmp_path / "big.yml", "big.yml")
    with pytest.raises(ConfigError, match="larger than"):
        parse("#" * (yamlfile.MAX_BYTES + 1), "f.yml", None)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yml: cannot be read: No such file"):
        read(tmp_path / "none.yml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(tmp_path)
    (tmp_path / "latin.yml").write_bytes("a: 1\nb: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yml:2:7: this byte is not UTF-8"):
        read(tmp_path / "latin.yml")
    (tmp_path / "bom.yml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read(tmp_path / "bom.yml").raw == {"a": 1, "b": 2}


def test_random_bytes_never_give_a_traceback(tmp_path):
    import random

    chance = random.Random(7)
    alphabet = "ab:{}[]-,&*!|>'\"%@#?\n \t$\\\u2028\x85"
    for _ in range(600):
        text = "".join(chance.choices(alphabet, k=chance.randrange(1, 40)))
        message = "f.yml:"
        try:
            resolve(parse(text, "f.yml", tmp_path))
        except ConfigError as error:
            message = str(error)
        assert message.startswith("f.yml:")
