"""S3 objects whose keys obstore cannot spell: empty, `.` and `..` parts, a slash at the end, control characters.

obstore ends the whole listing at the first such key and cannot ask for it either (0.12, tried); buckets have them: a path joined
with one slash too many is enough. So this is a small client of its own for the three requests that are needed, signed with
AWS Signature Version 4, used only where such a key was met. Not here: any other key (`objects`), credentials that must be
fetched (roles, metadata services): they are taken from `storage` or AWS_ACCESS_KEY_ID and its kin. Invariants: a listing
goes to its last page or raises; no error holds a header that was sent or a body that came.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import http.client
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote, unquote_plus, urlsplit

from gristmill.core.errors import SourceError
from gristmill.core.places import Looked, Options, Replaced

_EMPTY = hashlib.sha256(b"").hexdigest()
_ENTRY = re.compile(r"<Contents>(.*?)</Contents>", re.DOTALL)
_MAX_PAGE_BYTES = 32 << 20  # 1000 keys of 1024 bytes, percent-encoded, with all that stands beside them


class Answer(NamedTuple):
    """What came back. headers: by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes


class Refused(Exception):
    """An answer that is none of those expected; the message is `status code: N <Code>word</Code>`."""


def spellable(key: str) -> bool:
    """Tell if obstore can ask for a key."""
    return all(
        part not in {"", ".", ".."} and not any(char < " " or char == "\x7f" for char in part)
        for part in key.split("/")
    )


class S3Keys:
    """One bucket."""

    def __init__(self, bucket: str, options: Options) -> None:
        def told(name: str, *environment: str) -> str:
            given = options.get(name, options.get(f"aws_{name}"))
            return str(given) if given else next((os.environ[n] for n in environment if os.environ.get(n)), "")

        self._bucket = bucket
        self._region = told("region", "AWS_REGION", "AWS_DEFAULT_REGION") or told("default_region") or "us-east-1"
        endpoint = told("endpoint", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
        self._endpoint = urlsplit(endpoint or f"https://s3.{self._region}.amazonaws.com")
        self._key_id = told("access_key_id", "AWS_ACCESS_KEY_ID")
        self._secret = told("secret_access_key", "AWS_SECRET_ACCESS_KEY")
        self._token = told("session_token", "AWS_SESSION_TOKEN") or told("token")
        self._anonymous = told("skip_signature", "AWS_SKIP_SIGNATURE").lower() == "true"
        self._timeout_s = float(str(options.get("timeout_s", 120)))

    def list(self, prefix: str) -> Iterator[tuple[str, Looked]]:
        """Give all keys that begin so, with what they are. Raises OSError, SourceError, Refused."""
        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url", "max-keys": "1000"}
        while True:
            page = self._asked("GET", "", query, {}, _MAX_PAGE_BYTES).body.decode("utf-8", "replace")
            encoded = "<EncodingType>url<" in page
            for entry in _ENTRY.findall(page):
                key = html.unescape(_element(entry, "Key"))
                etag = html.unescape(_element(entry, "ETag"))
                try:
                    moment = datetime.fromisoformat(_element(entry, "LastModified"))
                    looked = Looked(int(_element(entry, "Size")), int(moment.timestamp() * 1e6) * 1000, etag)
                except (ValueError, OverflowError):
                    raise SourceError(
                        f"s3://{self._bucket}/{prefix}: the listing names an object without a size or a time; is this an S3 store?"
                    ) from None
                yield unquote_plus(key) if encoded else key, looked
            token = html.unescape(_element(page, "NextContinuationToken"))
            if _element(page, "IsTruncated") != "true":
                return
            if not token or query.get("continuation-token") == token:
                raise SourceError(
                    f"s3://{self._bucket}/{prefix}: the listing does not go on after a page that is not the last"
                )
            query["continuation-token"] = token

    def look(self, key: str) -> Looked:
        """Say what an object is now. Raises OSError, SourceError, Refused."""
        headers = self._asked("HEAD", key, {}, {}, 0).headers
        moment = parsedate_to_datetime(headers["last-modified"])
        return Looked(int(headers["content-length"]), int(moment.timestamp()) * 10**9, headers.get("etag", ""))

    def get(self, key: str, start: int, end: int, etag: str) -> bytes:
        """Give the bytes [start, end) of the version `etag` ("" any). Raises OSError, SourceError, Refused; Replaced."""
        pin = {"If-Match": etag} if etag else {}
        answer = self._asked("GET", key, {}, {"Range": f"bytes={start}-{end - 1}"} | pin, end - start)
        if etag and answer.headers.get("etag") != etag:
            raise Replaced(key)
        if answer.status == 200:  # a server that does not know ranges
            return answer.body[start:end]
        return answer.body

    def _asked(self, method: str, key: str, query: dict[str, str], headers: dict[str, str], cap: int) -> Answer:
        told = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(query.items()))
        path = f"{self._endpoint.path.rstrip('/')}/{self._bucket}" + (f"/{quote(key, safe='-_.~/')}" if key else "")
        signed = self._signed(method, path, told) | headers
        # As "%2E" they are not taken for steps in a path on the way; the signature is of what that stands for.
        wire = "/".join(part.replace(".", "%2E") if part in {".", ".."} else part for part in path.split("/"))
        kind = http.client.HTTPSConnection if self._endpoint.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._endpoint.netloc, timeout=self._timeout_s)
        try:
            connection.request(method, wire + (f"?{told}" if told else ""), headers=signed)
            response = connection.getresponse()
            body = response.read(cap + 1 if cap else 64 << 10)
            whole = not response.length
        except http.client.HTTPException as error:
            raise ConnectionError(f"no answer, or one that was cut ({type(error).__name__})") from None
        finally:
            connection.close()
        if response.status == 404:
            raise FileNotFoundError(key)
        if response.status == 412:
            raise Replaced(key)
        if response.status not in {200, 206}:
            code = re.search(rb"<Code>(\w{1,60})</Code>", body)
            raise Refused(f"status code: {response.status} " + (code[0].decode() if code else ""))
        if not whole and method != "HEAD" and len(body) <= cap:
            raise ConnectionError("the answer was cut")
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def _signed(self, method: str, path: str, query: str) -> dict[str, str]:
        """Give the headers of a request, signed (AWS Signature Version 4, of a request without a body)."""
        headers = {"host": self._endpoint.netloc, "x-amz-content-sha256": _EMPTY}
        if self._anonymous:
            return headers
        if not (self._key_id and self._secret):
            raise SourceError(
                f"s3://{self._bucket}/ holds keys with empty, . or .. parts or control characters: to read them give "
                "access_key_id and secret_access_key in storage, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers["x-amz-date"] = moment
        if self._token:
            headers["x-amz-security-token"] = self._token
        names = ";".join(sorted(headers))
        listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join([method, path, query, listed, names, _EMPTY])
        scope = f"{moment[:8]}/{self._region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
        secret = f"AWS4{self._secret}".encode()
        for part in (moment[:8], self._region, "s3", "aws4_request"):
            secret = hmac.digest(secret, part.encode(), "sha256")
        signature = hmac.new(secret, text.encode(), "sha256").hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _element(xml: str, name: str) -> str:
    """Give the text of the first element of a name; a list of objects needs no more of XML."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", xml)
    return found[1] if found else ""
