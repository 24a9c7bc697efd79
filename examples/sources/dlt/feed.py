"""A dlt resource: the posts of a folder of JSON files, in the order of their changes."""

import json
from pathlib import Path

import dlt


@dlt.resource
def posts(folder, at=dlt.sources.incremental("updated_at", initial_value="1970-01-01T00:00:00Z", row_order="asc")):  # noqa: B008
    found = [json.loads(path.read_text("utf-8")) for path in (Path(__file__).parent / folder).glob("*.json")]
    fresh = sorted(
        (post for post in found if post["updated_at"] >= at.start_value), key=lambda post: post["updated_at"]
    )
    for start in range(0, len(fresh), 100):
        yield fresh[start : start + 100]
