"""References to secrets, `${env:NAME}` and `${file:PATH}`, and secrets that are spelled out.

Not here: parsing (`core.yamlfile`). Invariants: a reference is resolved once, in string leaves only, and what comes out
is not looked at again; its value never enters a message; the text as written is kept for fingerprints.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from gristmill.core.errors import ConfigError
from gristmill.core.yamlfile import Document, Keys

MAX_SECRET_BYTES = 64 << 10
_PIECE = 4  # characters of a secret that tell something of it

# `$${` is the text `${`. `${NAME}` is almost always a forgotten `env:`, so it is refused rather than passed on.
_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_.-]*)(?::([^}]*))?\}")


def resolve(document: Document, spare: Collection[str] = ()) -> tuple[Document, list[str]]:
    """Give the document with every `${env:NAME}` and `${file:PATH}` in its string leaves replaced, and the problems.

    spare: keys at the top below which nothing is asked for: what cannot be resolved there is no problem, and stands in `spared`.
    """
    found = _Found()
    value = _resolved(document.raw, (), document.folder, found)
    spared = frozenset(path for path, _ in found.problems if path[:1] and path[0] in spare)
    found.problems = [each for each in found.problems if each[0] not in spared]
    problems = [f"{document.at(path)}: {what}" for path, what in found.problems]
    done = msgspec.structs.replace(
        document,
        value=value,
        references=found.references,
        unresolved=frozenset(path for path, _ in found.problems),
        spared=spared,
        secrets=found.secrets,
    )
    return done, problems


class _Found:
    """What resolving a tree came across."""

    def __init__(self) -> None:
        self.references: dict[Keys, str] = {}
        self.secrets: dict[str, str] = {}
        self.problems: list[tuple[Keys, str]] = []


def _resolved(node: Any, path: Keys, folder: Path, found: _Found) -> Any:
    if isinstance(node, dict):
        return {key: _resolved(item, (*path, key), folder, found) for key, item in node.items()}
    if isinstance(node, list):
        return [_resolved(item, (*path, at), folder, found) for at, item in enumerate(node)]
    if not isinstance(node, str) or "${" not in node:
        return node
    pieces: list[str] = []
    end = 0
    for match in _REFERENCE.finditer(node):
        pieces.append(node[end : match.start()])
        end = match.end()
        if match[0] == "$${":
            pieces.append("${")
            continue
        found.references[path] = node
        try:
            secret = _looked_up(match[1], match[2], folder)
        except ConfigError as error:
            found.problems.append((path, str(error)))
            return node
        pieces.append(secret)
        if secret:
            found.secrets[secret] = match[0]
    return "".join([*pieces, node[end:]])


def _looked_up(scheme: str, name: str | None, folder: Path) -> str:
    written = "${" + scheme + ("" if name is None else f":{name}") + "}"
    if scheme == "env" and name:
        if name not in os.environ:
            raise ConfigError(f"the environment variable {name!r} of {written} is not set; set it before the run")
        return os.environ[name]
    if scheme == "file" and name:
        path = folder / name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_SECRET_BYTES + 1)
            text = data.decode("utf-8")
        except OSError as error:
            raise ConfigError(f"the file {str(path)!r} of {written} cannot be read: {error.strerror}") from None
        except ValueError:
            raise ConfigError(f"the file {str(path)!r} of {written} is not UTF-8 text") from None
        if len(data) > MAX_SECRET_BYTES:
            raise ConfigError(f"the file {str(path)!r} of {written} is larger than {MAX_SECRET_BYTES} bytes")
        return text.removesuffix("\n").removesuffix("\r")
    meant = f"; did you mean '${{env:{scheme}}}'?" if name is None and scheme not in {"env", "file"} else ""
    raise ConfigError(
        f"{written} is no reference{meant}; write ${{env:NAME}}, ${{file:PATH}}, or $${{ for the text ${{ itself"
    )


def resolve_tree(tree: Any, folder: Path) -> tuple[Any, dict[Keys, str], dict[str, str]]:
    """Give a tree of plain values that comes from Python resolved, its references, and its secrets.

    Raises:
        ConfigError: a reference cannot be resolved.
    """
    found = _Found()
    value = _resolved(tree, (), folder, found)
    if found.problems:
        raise ConfigError(*(what for _, what in found.problems))
    return value, found.references, found.secrets


def masked(text: str, secrets: Mapping[str, str]) -> str:
    """Give a text from a part's own check with all that it quotes of secrets, in whole or in pieces, replaced by their references.

    A piece is any run of `_PIECE` characters that stands in the secret too, in any case, as written or unquoted: a check may name the host
    of an address alone. So a word may be replaced that the text has by chance; never is one left that it has of the secret.
    """
    shown: list[str] = list(text)
    for value, reference in secrets.items():
        pieces: set[str] = set()
        n = min(_PIECE, len(value))
        for spelled in {value, unquote(value), repr(value)[1:-1]}:
            pieces.update(spelled[at : at + n].lower() for at in range(len(spelled) - n + 1))
        hit = [False] * len(text)
        for at in range(len(text) - n + 1):
            if n and text[at : at + n].lower() in pieces:
                hit[at : at + n] = [True] * n
        for at, is_hit in enumerate(hit):
            if is_hit:
                shown[at] = "" if at and hit[at - 1] else reference
    return "".join(shown)


# A user and a literal password in a URL; the password may be a reference.
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@?#]*:(?!\$\{)[^/\s@]+@")
_SECRET_KEYS = re.compile(
    r"(?:.*_)?(?:password|passwd|passphrase|secret|secret_key|secret_access_key|api_key|apikey|account_key|private_key)"
    r"|(?:.*_)?(?:access|auth|api|sas|session|security|refresh)_token|token|bearer"
)
# Parameters of addresses and headers that let somebody in, in lower case and without signs: those of presigned addresses of S3, Google,
# Azure and CloudFront, of libpq, the MySQL drivers and ODBC, and of APIs. A token that only says where a listing goes on is none.
_SECRET_PARAMETERS = re.compile(
    r".*(?:password|passwd|passphrase|secret|signature|credentialsbase64)"
    r"|.*(?<!page)(?<!next)(?<!continuation)(?<!resumption)(?<!start)(?<!sync)token"
    r"|.*(?:api|access|secret|private|account|shared|subscription|functions|auth)key"
    r"|key|sig|sas|pwd|pw|pass|auth|authorization|proxyauthorization|bearer|jwt|cookie"
)
_QUERY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s?#]*\?([^\s#]+)")
_PARAMETER = re.compile(r"(?:^|(?<=[?&;]))([^=&;?/]+)=(?=([^&;]+))")  # values may lie in each other
# What nobody types: in the address of a hook it is what lets one in (Slack, Discord, Teams and others have no other secret).
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16,}"  # of all three kinds
    r"|(?=[a-fA-F]*[0-9])(?=[0-9]*[a-fA-F])[0-9a-fA-F]{24,}(?![A-Za-z0-9])"
    r"|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"
)
_HOOKS = re.compile(
    r"https://(?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks)/.", re.IGNORECASE
)
# Of these what stands before the path is a host; of other services of Apprise it is a token, too.
_HOOK = re.compile(r"(?:(?:https?|jsons?|xmls?|forms?|mailtos?)://[^/?#]*|[a-z][a-z0-9+.-]*://)([^?#]*)", re.IGNORECASE)
_SIGNS = re.compile(r"[^a-z0-9]")
_PAGES = "urls"  # of `web`: what a page is known by, and published with; no place for a secret


def is_secret(path: Keys, value: Any) -> bool:
    """Tell whether a value stands under a key that holds a secret, or is an address with a secret in it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        return False
    return _is_named(path) or (isinstance(value, str) and _spells(path, value))


def secrets_of(query: str) -> list[str]:
    """Give the values in a query that let somebody in, as they stand there and unquoted."""
    found = [
        text
        for written in (query, unquote(query))  # odbc_connect, an address in an address
        for name, text in _PARAMETER.findall(written)
        if _SECRET_PARAMETERS.fullmatch(_bare(unquote(name)))
    ]
    return list(dict.fromkeys([*found, *map(unquote, found)]))


def written_secrets(tree: Any, path: Keys = ()) -> Iterator[Keys]:
    """Yield the place of every leaf of an unresolved tree that spells a secret out."""
    if isinstance(tree, dict):
        for key, item in tree.items():
            yield from written_secrets(item, (*path, key))
    elif isinstance(tree, list):
        for at, item in enumerate(tree):
            yield from written_secrets(item, (*path, at))
    elif is_secret(path, tree) and not (isinstance(tree, str) and _refers(path, tree)):
        yield path


def _is_named(path: Keys) -> bool:
    """Tell whether one of the keys says that a secret is below it."""
    if any(isinstance(key, str) and _SECRET_KEYS.fullmatch(key.lower()) for key in path):
        return True
    sent = len(path) > 1 and path[-2] in {"params", "headers"} and isinstance(path[-1], str)
    return sent and _SECRET_PARAMETERS.fullmatch(_bare(str(path[-1]))) is not None


def _spells(path: Keys, text: str) -> bool:
    """Tell whether an address has a secret in it that is no reference."""
    return _has_userinfo(text) or _has_parameter(path, text) or _has_token(path, text)


def _has_userinfo(text: str) -> bool:
    return _USERINFO.search(text) is not None


def _has_parameter(path: Keys, text: str) -> bool:
    """Tell whether a query in a text has a secret that is neither a reference nor a field of another record (`{id}`)."""
    if _PAGES in path:
        return False
    found = (value for query in _QUERY.findall(text) for value in secrets_of(query))
    return any(not value.startswith(("${", "{")) for value in found)


def _has_token(path: Keys, text: str) -> bool:
    """Tell whether the address of a hook, or of a service behind Apprise, spells out what lets one in. One with a reference has it there."""
    here = path[path.index("alerts") + 2 :] if "alerts" in path else ()
    if not here or here[0] not in {"webhook", "apprise"} or any(match[1] for match in _REFERENCE.finditer(text)):
        return False
    return _HOOKS.match(text) is not None or any(_TOKEN.search(place) for place in _HOOK.findall(text))


def _bare(name: str) -> str:
    return _SIGNS.sub("", name.lower())


def _refers(path: Keys, text: str) -> bool:
    referring = any(match[1] for match in _REFERENCE.finditer(text))
    return referring and not _spells(path, text)
