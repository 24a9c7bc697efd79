"""How a source makes itself known, as its config says: a bearer token, a key, a user and password, OAuth2.

Not here: where secrets come from (`core.references`), what is sent (`credentials.py`). Invariants: the config is read
without the libraries for HTTP; what no header can carry is refused here, and no message quotes it.
"""

from __future__ import annotations

import re

import msgspec

TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """secret: the key. header: the header it goes into. query: or the URL parameter it goes into."""

    secret: str
    header: str = ""
    query: str = ""

    def __post_init__(self) -> None:
        """Refuse a key that goes nowhere, or to two places."""
        if bool(self.header) == bool(self.query):
            raise ValueError("auth.key: say where the key goes: header: X-API-Key, or query: api_key")


class Basic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """user, password: of HTTP basic authentication."""

    user: str
    password: str


class OAuth2(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Client credentials (RFC 6749, 4.4).

    token_url: where tokens are given out. client_id, client_secret: who asks. scope: what for, words separated by spaces.
    params: further fields of the request, such as audience. client_in: `header` (basic) or `body`.
    """

    token_url: str
    client_id: str
    client_secret: str
    scope: str = ""
    params: dict[str, str] = {}
    client_in: str = "header"

    def __post_init__(self) -> None:
        """Refuse what no token endpoint could be asked with."""
        if self.client_in not in {"header", "body"}:
            raise ValueError(f'auth.oauth2: client_in is "{self.client_in}"; it is header or body')
        if not self.token_url.startswith(("https://", "http://")):
            raise ValueError("auth.oauth2: token_url must begin with https:// (or http:// inside)")


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a source makes itself known, one of: bearer (a token), key, basic, oauth2."""

    bearer: str | None = None
    key: Key | None = None
    basic: Basic | None = None
    oauth2: OAuth2 | None = None

    def __post_init__(self) -> None:
        """Refuse none and two at a time."""
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"auth: give one of bearer, key, basic, oauth2; found {', '.join(given) or 'none'}")
        for text in (self.bearer, self.key.secret if self.key is not None else None):
            if text is not None and not TOKEN.fullmatch(text):
                raise ValueError("auth: the token or key is empty, or has a character that no header can carry")
