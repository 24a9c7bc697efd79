"""SEC4: a config from anywhere costs a message and no more: bombs, tags, depth, aliases, size; references are no second language."""

import time
from pathlib import Path

import pytest
from tests import memory

from gristmill.core import yamlfile
from gristmill.core.errors import ConfigError
from gristmill.core.references import resolve

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
HOSTILE = {
    "a billion laughs": LAUGHS,
    "an alias": "a: &x 1\nb: *x\n",
    "a merge": "a: &x {b: 1}\nc: {<<: *x}\n",
    "python objects": "a: !!python/object/apply:os.system ['touch /nowhere/pwned']\n",
    "python names": "a: !!python/name:os.system\n",
    "a tag of its own": "%TAG ! tag:x,2000:\n---\na: !b 1\n",
    "binary": "a: !!binary aGVsbG8=\n",
    "sets": "a: !!set {b, c}\n",
    "depth in flow": "[" * 100_000,
    "depth in blocks": "".join(f"{' ' * n}a:\n" for n in range(900)),
    "depth of sequences": "- " * 20_000,
    "size": "a: " + "x" * (yamlfile.MAX_BYTES + 1),
    "a long number": "a: " + "9" * 10_000,
    "a long key": "? " + "k" * 300_000 + "\n: [\n",
    "many documents": "a: 1\n---\n" * 1000,
    "a version there is not": "%YAML 1.6\n---\na: 1\n",
    "comments without end": "#" * 900_000 + "\n- [",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_config_costs_a_message_and_no_more(text):
    began = time.process_time()
    with memory.grown() as most, pytest.raises(ConfigError) as refused:
        yamlfile.parse(text, "f.yml", Path("/nowhere"))
    assert str(refused.value).startswith("f.yml:")
    assert len(str(refused.value)) < 2000
    assert most.bytes < 200 << 20
    assert time.process_time() - began < 30


def test_references_are_resolved_once_in_string_leaves_alone(monkeypatch):
    """What a reference gives is text: it is not looked at again, is no YAML, no key, no path of another reference."""
    for name, value in {
        "ONE": "${env:TWO}",
        "TWO": "never",
        "YAML": "x\nsources: [evil]",
        "NUMBER": "12",
        "TAG": "!!python/name:os.system",
    }.items():
        monkeypatch.setenv(name, value)
    text = '"${env:TWO}": k\na: ${env:ONE}\nb: "${env:YAML}"\nc: "${env:NUMBER}"\nd: "$${env:TWO}"\ne: ["${env:TAG}", 5, true]\nf: "${env:ONE}${env:TWO}"\n'
    done, problems = resolve(yamlfile.parse(text, "f.yml", Path("/nowhere")))
    assert problems == []
    assert done.value == {
        "${env:TWO}": "k",
        "a": "${env:TWO}",
        "b": "x\nsources: [evil]",
        "c": "12",
        "d": "${env:TWO}",
        "e": ["!!python/name:os.system", 5, True],
        "f": "${env:TWO}never",
    }
    assert "never" not in str(done.raw)
