"""References to secrets, and secrets spelled out."""

import pytest

from gristmill.core import references
from gristmill.core.references import masked, resolve
from gristmill.core.yamlfile import parse


def test_references(tmp_path, monkeypatch):
    monkeypatch.setenv("GM_ONE", "one ${env:GM_TWO}")
    monkeypatch.setenv("GM_TWO", "two")
    (tmp_path / "key.txt").write_text("k3y\n")
    text = (
        "a: ${env:GM_ONE}\nb: 'x-${file:key.txt}-${env:GM_TWO}'\nc: $${env:GM_TWO} a$ {2} ${2}\n"
        "${env:GM_TWO}: [1, '${env:GM_TWO}']\n"
    )
    document, problems = resolve(parse(text, "f.yml", tmp_path))
    assert problems == []
    assert document.value == {
        "a": "one ${env:GM_TWO}",  # one pass: what comes out is not looked at again
        "b": "x-k3y-two",
        "c": "${env:GM_TWO} a$ {2} ${2}",
        "${env:GM_TWO}": [1, "two"],  # keys are left alone
    }
    assert document.raw["b"] == "x-${file:key.txt}-${env:GM_TWO}"
    assert set(document.references) == {("a",), ("b",), ("${env:GM_TWO}", 1)}
    assert document.secrets["k3y"] == "${file:key.txt}"
    assert "two" not in repr(document)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("${env:GM_NOT_SET}", "the environment variable 'GM_NOT_SET' of ${env:GM_NOT_SET} is not set"),
        ("${file:none.txt}", "cannot be read: No such file"),
        ("${file:bin}", "is not UTF-8 text"),
        ("${file:big}", "is larger than"),
        ("${GM_TOKEN}", "did you mean '${env:GM_TOKEN}'?"),
        ("${env:}", "is no reference"),
        ("${env}", "is no reference"),
        ("${vault:x}", "write ${env:NAME}, ${file:PATH}"),
    ],
)
def test_bad_references(text, phrase, tmp_path):
    (tmp_path / "bin").write_bytes(b"\xff\xfe")
    (tmp_path / "big").write_bytes(b"x" * (references.MAX_SECRET_BYTES + 1))
    document, problems = resolve(parse(f"a:\n  b: {text}\n", "f.yml", tmp_path))
    assert len(problems) == 1
    assert problems[0].startswith("f.yml:2:6: ")
    assert phrase in problems[0]
    assert document.unresolved == {("a", "b")}


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ({"password": "x"}, [("password",)]),
        ({"a": [{"db_password": 5}]}, [("a", 0, "db_password")]),
        ({"API_KEY": "x"}, [("API_KEY",)]),
        ({"auth": {"secret": "a"}}, [("auth", "secret")]),
        ({"dsn": "postgresql://me:hunter2@host/db"}, [("dsn",)]),
        ({"dsn": "postgresql://me:hunter2@${env:HOST}/db"}, [("dsn",)]),
        ({"dsn": "postgresql://me:${env:PW}@host/db"}, []),
        ({"dsn": "${env:DSN}", "password": "${file:pw}", "token_count": 5}, []),
        ({"password": None, "secret": "", "max_tokens": 5, "eos_token": "</s>"}, []),
        ({"url": "https://host:80/a@b", "mail": "a:b@c"}, []),
        ({"url": "https://h/?a=1&SIG=x"}, [("url",)]),
        ({"url": "https://h/?api-key=x&b=${env:B}"}, [("url",)]),
        ({"url": "https://h/?sig=${env:SIG}&key={id}&page_token=5&token=&sigma=1"}, []),
        ({"url": "https://h/?s%69g=x"}, [("url",)]),
        ({"url": "https://h/?url=https%3A%2F%2Fk%2F%3Ftoken%3Dx"}, [("url",)]),
        ({"path": "s3://b/part-?/key=5/x"}, []),
        ({"dsn": "postgresql://u@h/d?sslmode=require&require_auth=scram-sha-256&passfile=/p"}, []),
        (
            {"params": {"key": "x", "page": 5}, "headers": {"X-Vault-Token": "x"}},
            [("params", "key"), ("headers", "X-Vault-Token")],
        ),
        ({"params": {"key": "${env:KEY}"}, "auth": {"key": {"query": "api_key"}}, "key": "id"}, []),
        ({"web": {"urls": ["https://h/?key=page"], "feeds": ["https://h/?key=x"]}}, [("web", "feeds", 0)]),
    ],
)
def test_written_secrets(tree, found):
    assert list(references.written_secrets(tree)) == found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dsn 'mysqlx://me:c%40nary@db.example.org/x' is none", "dsn '${env:DSN}' is none"),
        ("there is no host DB.EXAMPLE.ORG", "there is no host ${env:DSN}"),
        ("password 'c@nary' is weak", "password '${env:DSN}' is weak"),
        ("port 5 is taken; give 'table' a name", "port 5 is taken; give 'table' a name"),
        ("word 'zq' is none", "word '${file:w}' is none"),
    ],
)
def test_what_a_check_says_is_shown_without_what_it_quotes_of_a_secret(text, shown):
    secrets = {"mysqlx://me:c%40nary@db.example.org/x": "${env:DSN}", "zq": "${file:w}", "": "${env:EMPTY}"}
    assert masked(text, secrets) == shown
