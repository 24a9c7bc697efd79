"""Credentials at work: what goes with a request, and tokens that are asked for, kept and renewed.

Not here: what the config says (`auth.py`). Invariants: a secret goes to the origin of the source's endpoint (a client's
secret: to its token endpoint) and nowhere else, and into no message; a token is renewed before it runs out, and once for
an answer of 401; nothing is asked twice with credentials that were refused.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from urllib.parse import quote_plus, urlencode

import orjson

from gristmill.core.errors import SourceError
from gristmill.net.auth import TOKEN, Auth, OAuth2
from gristmill.net.fetch import FetchFailed, Response, origin, shown
from gristmill.net.retry import Retrier

_LEEWAY_S = 60.0  # renew this long before the end, or at 9/10 of a short life
_ERROR_WORD = re.compile(r"[a-z_]{1,40}")  # RFC 6749, 5.2: the words a token endpoint answers with


class Credentials:
    """The credentials of one read. `apply` gives what to add to a request, `renewed` tries for a new token after a 401."""

    def __init__(self, auth: Auth | None, endpoint: str, retrier: Retrier) -> None:
        self._auth, self._home, self._retrier = auth, origin(endpoint), retrier
        self._token = ""
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    def belongs(self, url: str) -> bool:
        """Tell whether `url` is of the endpoint's origin, and may see the credentials."""
        return origin(url) == self._home

    async def headers(self, url: str) -> dict[str, str]:
        """Give the headers that go with a request to `url`.

        Raises:
            SourceError: the token endpoint refuses.
            Transient: it does not answer.
        """
        auth = self._auth
        if auth is None or not self.belongs(url):
            return {}
        if auth.key is not None:
            return {auth.key.header: auth.key.secret} if auth.key.header else {}
        if auth.basic is not None:
            return {"Authorization": _basic(auth.basic.user, auth.basic.password)}
        if auth.oauth2 is not None:
            async with self._lock:
                if time.monotonic() >= self._renew_at:
                    await self._renew(auth.oauth2)
                return {"Authorization": f"Bearer {self._token}"}
        return {"Authorization": f"Bearer {auth.bearer}"}

    def query(self, url: str) -> dict[str, str]:
        """Give the URL parameters that go with a request to `url`."""
        key = self._auth.key if self._auth is not None else None
        return {key.query: key.secret} if key is not None and key.query and self.belongs(url) else {}

    async def renewed(self, refused: dict[str, str]) -> bool:
        """After a 401: tell whether there is another token than that of the refused headers; asks for one if it must."""
        if self._auth is None or self._auth.oauth2 is None or not refused:
            return False
        async with self._lock:
            if refused.get("Authorization") == f"Bearer {self._token}":
                await self._renew(self._auth.oauth2)
        return True

    async def _renew(self, oauth2: OAuth2) -> None:
        form = {
            "grant_type": "client_credentials",
            **({"scope": oauth2.scope} if oauth2.scope else {}),
            **oauth2.params,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        credentials = {}
        if oauth2.client_in == "header":  # RFC 6749, 2.3.1: both are form-encoded first
            credentials["Authorization"] = _basic(quote_plus(oauth2.client_id), quote_plus(oauth2.client_secret))
        else:
            form |= {"client_id": oauth2.client_id, "client_secret": oauth2.client_secret}
        asked = time.monotonic()
        response = await self._retrier.fetch(
            "POST", oauth2.token_url, headers=headers, credentials=credentials, body=urlencode(form).encode()
        )
        answer = _json(response)
        if response.status != 200:
            word = answer.get("error")
            named = f" ({word})" if isinstance(word, str) and _ERROR_WORD.fullmatch(word) else ""
            raise SourceError(
                f"{shown(oauth2.token_url)}: auth.refused: the token endpoint answered {response.status}{named}; "
                "check client_id, client_secret and scope"
            )
        token, life_s = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise FetchFailed("auth.token", oauth2.token_url, "the token endpoint's answer has no access_token")
        self._token = token
        if isinstance(life_s, str) and life_s.isdecimal():
            life_s = int(life_s)
        self._renew_at = float("inf")
        if isinstance(life_s, int | float) and life_s > 0:
            self._renew_at = asked + max(life_s - _LEEWAY_S, life_s * 0.9)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _json(response: Response) -> dict[str, object]:
    try:
        answer = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
