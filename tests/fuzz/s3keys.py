"""S3 listings: an answer of any bytes is a page of keys, or a refusal."""

from gristmill.core.errors import GristmillError
from gristmill.net import s3keys

SEEDS = [
    (
        b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents><Key>a%2Fb+c</Key>"
        b"<LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;x&quot;</ETag><Size>3</Size></Contents></ListBucketResult>"
    ),
    b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>",
    b"<Contents><Key>x</Key><Size>-1</Size><LastModified>never</LastModified></Contents>",
]


class Canned(s3keys.S3Keys):
    """A bucket that gives one answer."""

    def __init__(self, body: bytes) -> None:
        super().__init__("b", {"region": "r", "endpoint": "http://127.0.0.1:9"})
        self._body = body

    def _asked(self, method: str, key: str, query: dict[str, str], headers: dict[str, str], cap: int) -> s3keys.Answer:
        return s3keys.Answer(200, {}, self._body)


def one(data: bytes) -> None:
    """List it."""
    try:
        for key, _ in Canned(data).list("p"):
            s3keys.spellable(key)
    except (GristmillError, s3keys.Refused, OSError):
        pass
