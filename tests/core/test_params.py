"""Building structs from mappings, and what is said when that fails."""

import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from gristmill.core.errors import ConfigError
from gristmill.core.params import Where, build, components, field_docs, words
from gristmill.core.references import resolve
from gristmill.core.yamlfile import parse


class Colour(enum.Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule. word: what it looks for. weight: how much it counts."""

    word: str
    weight: Annotated[float, msgspec.Meta(ge=0, lt=10)] = 1.0

    def __post_init__(self):
        if self.word == "bad":
            raise ValueError(f"word must not be {self.word!r}")


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """Base. path: where it is."""

    path: str


class Part(Base, frozen=True, kw_only=True):
    """A part.

    min_words: the least, or: none at all. mode: strict or loose (both
    fine).
    """

    min_words: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    max_words: int | None = None
    mode: Literal["strict", "loose"] = "strict"
    colour: Colour = Colour.RED
    lower: bool = False
    langs: list[str] = []
    rules: list[Rule] = []
    by_name: dict[str, Rule] = {}
    main: Rule | None = None
    paths: str | list[str] = "x"
    code: Annotated[str, msgspec.Meta(pattern="^[a-z]+$", min_length=2, max_length=3)] = "de"
    pair: tuple[int, str] = (1, "a")
    tags: set[str] = set()
    later: int | msgspec.UnsetType | None = msgspec.UNSET
    from_: int = msgspec.field(default=0, name="from")
    anything: Any = None

    def __post_init__(self):
        if self.max_words is not None and self.max_words < self.min_words:
            raise ValueError(f"max_words ({self.max_words}) must be >= min_words ({self.min_words})")
        if self.path.startswith("oops"):
            raise ConfigError(f"path {self.path!r} is no good")


def told(text):
    """Build a Part from the mapping below `part:`; gives it or the problems."""
    document, problems = resolve(parse(text, "g.yml", None))
    try:
        return build(Part, document.value["part"], Where(document, ("part",), "my.part"))
    except ConfigError as error:
        return [*problems, *error.problems]


def test_good():
    part = told(
        "part:\n  path: a\n  rules: [{word: x}]\n  by_name: {k: {word: y, weight: 2}}\n  main:\n  colour: blue\n"
        "  from: 3\n  paths: [a, b]\n  tags: [q]\n  pair: [1, x]\n  anything: {deep: [1]}\n  later: 5\n"
    )
    assert part == Part(
        path="a",
        rules=[Rule(word="x")],
        by_name={"k": Rule(word="y", weight=2)},
        colour=Colour.BLUE,
        from_=3,
        paths=["a", "b"],
        tags={"q"},
        pair=(1, "x"),
        anything={"deep": [1]},
        later=5,
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "min_wrods: 3",
            "2:3: unknown key 'min_wrods' in my.part; did you mean 'min_words'? allowed: path, min_words, ",
        ),
        ("MIN-WORDS: 3", "2:3: unknown key 'MIN-WORDS' in my.part; did you mean 'min_words'?"),
        ("zzz: 3", "2:3: unknown key 'zzz' in my.part; allowed: path, "),
        ("form: 3", "2:3: unknown key 'form' in my.part; did you mean 'from'?"),
        ("min_words: abc", "2:14: 'min_words' in my.part: expected int >= 1 and <= 100, got str 'abc'"),
        (
            "min_words: '5'",
            "2:14: 'min_words' in my.part: expected int >= 1 and <= 100, got str '5'; remove the quotes",
        ),
        ("min_words: 0", "2:14: 'min_words' in my.part: expected int >= 1 and <= 100, got int 0"),
        ("min_words: 101", "2:14: 'min_words' in my.part: expected int >= 1 and <= 100, got int 101"),
        ("min_words: 1.5", "got float 1.5"),
        ("min_words: true", "got bool true"),
        ("min_words: null", "got null"),
        ("min_words: [1]", "got a list"),
        ("min_words: {a: 1}", "got a mapping"),
        ("max_words: none", "expected int or null, got str 'none'"),
        ("later: none", "expected int or null, got str 'none'"),
        (
            "mode: strct",
            "2:9: 'mode' in my.part: expected one of 'strict', 'loose', got str 'strct'; did you mean 'strict'?",
        ),
        ("mode: 3", "expected one of 'strict', 'loose', got int 3"),
        ("colour: bleu", "expected one of 'red', 'blue', got str 'bleu'; did you mean 'blue'?"),
        ("lower: yes", "2:10: 'lower' in my.part: expected bool, got str 'yes'; write true or false"),
        ("lower: 1", "expected bool, got int 1"),
        ("langs: en", "expected a list of str, got str 'en'; write a list: [...]"),
        ("langs: [en, 5]", "2:15: 'langs[1]' in my.part: expected str, got int 5; put it in quotes"),
        (
            "rules: [{wrod: x}]",
            "2:12: unknown key 'wrod' in my.part.rules[0]; did you mean 'word'? allowed: word, weight",
        ),
        ("rules: [{}]", "2:11: 'word' is missing in my.part.rules[0]; it takes str"),
        ("rules: [{word: a}, {word: bad}]", "2:22: my.part.rules[1]: word must not be 'bad'"),
        (
            "rules: [{word: a, weight: 10}]",
            "2:29: 'weight' in my.part.rules[0]: expected float >= 0 and < 10, got int 10",
        ),
        ("rules: [x]", "2:11: 'rules[0]' in my.part: expected a mapping with word, weight, got str 'x'"),
        ("by_name: {k: {word: 5}}", "2:23: 'word' in my.part.by_name.k: expected str, got int 5; put it in quotes"),
        ("by_name: [1]", "expected a mapping of a mapping with word, weight, got a list"),
        ("main: {word: x, wieght: 2}", "2:19: unknown key 'wieght' in my.part.main; did you mean 'weight'?"),
        ("main: 5", "expected a mapping with word, weight or null, got int 5"),
        ("paths: 5", "expected str or a list of str, got int 5"),
        ("paths: [1]", "'paths[0]' in my.part: expected str, got int 1"),
        ("code: X", "expected str matching ^[a-z]+$ and of length >= 2 and of length <= 3, got str 'X'"),
        ("pair: [1]", "2:9: 'pair' in my.part: expected a list of int, str, got a list"),
        ("pair: [a, b]", "2:10: 'pair[0]' in my.part: Expected int, got str"),
        ("tags: [1]", "2:10: 'tags[0]' in my.part: expected str, got int 1"),
        ("path: 5", "2:9: 'path' in my.part: expected str, got int 5; put it in quotes"),
        ("max_words: 2", "1:1: my.part: max_words (2) must be >= min_words (5)"),
        ("path: oops", "1:1: my.part: path 'oops' is no good"),
        ("mode: " + "x" * 50, "got str '" + "x" * 39 + "…'"),
        ("pat: x", "2:3: unknown key 'pat' in my.part; did you mean 'path'?"),
    ],
)
def test_one_problem(line, expected):
    text = f"part:\n  {line}\n" + ("" if line.startswith("pat") and "paths" not in line else "  path: p\n")
    problems = told(text)
    assert len(problems) == 1
    assert problems[0].startswith("g.yml:")
    assert expected in problems[0]


def test_all_problems_at_once():
    problems = told("part:\n  min_words: x\n  mode: y\n  langs: [1, a, 2]\n  rules: [{word: 1}, {wrd: 2}]\n  zzz: 1\n")
    assert len(problems) == 8
    assert "g.yml:1:1: 'path' is missing in my.part; it takes str" in problems


@pytest.mark.parametrize("value", ["5", "text", "[a]", "true"])
def test_no_mapping(value):
    assert told(f"part: {value}\n")[0].startswith("g.yml:1:7: my.part takes a mapping of parameters, got ")


def test_null_is_an_empty_mapping():
    assert told("part:\n") == ["g.yml:1:1: 'path' is missing in my.part; it takes str"]


@pytest.mark.parametrize("key", [field.encode_name for field in msgspec.structs.fields(Part)])
def test_a_secret_is_never_shown(key, monkeypatch):
    monkeypatch.setenv("GM_CANARY", "oops-canary-7f3a")
    path = "" if key == "path" else "  path: p\n"
    for value in (
        "'${env:GM_CANARY}'",
        "['${env:GM_CANARY}']",
        "{word: '${env:GM_CANARY}'}",
        "{'k': {'a': '${env:GM_CANARY}'}}",
    ):
        problems = told(f"part:\n  {key}: {value}\n{path}")
        if isinstance(problems, list):
            assert "canary-7f3a" not in "".join(problems)


def test_what_a_part_says_is_shown_unless_it_may_quote_a_secret(monkeypatch):
    monkeypatch.setenv("GM_CANARY", "oops-canary-7f3a")
    monkeypatch.setenv("GM_FINE", "fine")
    shown = told("part:\n  path: ${env:GM_FINE}\n  max_words: 2\n")
    assert shown == ["g.yml:1:1: my.part: max_words (2) must be >= min_words (5)"]
    hidden = told("part:\n  path: ${env:GM_CANARY}\n")
    assert hidden == ["g.yml:1:1: my.part: path '${env:GM_CANARY}' is no good"]
    number = told("part:\n  path: x\n  min_words: ${env:GM_CANARY}\n")
    assert "got str through a reference; what a reference gives is always text" in number[0]
    word = told("part:\n  path: x\n  main: {word: 5, weight: '${env:GM_CANARY}'}\n")
    assert len(word) == 2


def test_an_unresolved_leaf_is_told_once():
    problems = told("part:\n  path: x\n  min_words: ${env:GM_NOT_THERE}\n")
    assert len(problems) == 1
    assert "is not set" in problems[0]
    problems = told("part:\n  path: x\n  langs: ['${env:GM_NOT_THERE}', 5]\n  main: {word: '${env:GM_NOT_THERE}'}\n")
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (int, "int"),
        (int | None, "int or null"),
        (Literal["a"], "'a'"),
        (dict[str, int], "a mapping of int"),
        (dict[str, Any], "a mapping"),
        (tuple[int, ...], "a list of int, ..."),
        (Annotated[int, msgspec.Meta(gt=1, multiple_of=2)], "int > 1 and divisible by 2"),
    ],
)
def test_words(annotation, said):
    assert words(annotation) == said


def test_docs_come_from_docstrings():
    docs = field_docs(Part)
    assert docs["path"] == "where it is."
    assert docs["min_words"] == "the least, or: none at all."
    assert docs["mode"] == "strict or loose (both fine)."
    references, definitions = components([Part])
    assert references == [{"$ref": "#/$defs/Part"}]
    assert definitions["Part"]["properties"]["min_words"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 5,
        "description": "the least, or: none at all.",
    }
    assert definitions["Rule"]["properties"]["weight"]["description"] == "how much it counts."
    assert definitions["Rule"]["additionalProperties"] is False
