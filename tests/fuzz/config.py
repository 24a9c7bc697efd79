"""The config: any text is a config, or a `ConfigError` with a place; and so is what its references come to."""

from pathlib import Path

from gristmill.core import references, yamlfile
from gristmill.core.errors import ConfigError

SEEDS = [
    b"version: 1\nsources:\n  - name: a\n    files: {path: 'x', n: 0x1F}\nsteps: [clean.text, {filter.length: {min_chars: 3}}]\n",
    b"a: &x [1, 2]\nb: *x\n",
    b"? [a]\n: !!python/object:os.system x\n",
    b"a: ${env:HOME}\nb: '${file:/none} $${x}'\nc: |\n  text\n  more\nd: >-\n  folded\n",
    b'- - - - {a: {b: {c: ["\\u00e9\\ud800"]}}}\n%YAML 1.2\n---\n...\n',
]


def one(data: bytes) -> None:
    """Parse it, and resolve what it refers to."""
    told: list[str] = []
    try:
        document = yamlfile.parse(data.decode("utf-8", "replace"), "f.yml", Path("/nowhere"))
        done, told = references.resolve(document)
        list(references.written_secrets(done.raw))
    except ConfigError as error:
        told = [*error.problems]
    assert all(problem.startswith("f.yml:") for problem in told), told
