"""The `warc` source keeps the laws of sources, alone and in whole pipelines' terms."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from tests.sources.warcs import record

from gristmill.testing.conformance import LAWS, applies, check, name_of
from gristmill.testing.worlds import FilesWorld


class WarcWorld(FilesWorld):
    """A folder of WARC files, a few texts each, one gzip member a record; a changed record's file is written anew."""

    def config(self) -> dict[str, Any]:
        return {"warc": {"path": "data/*.warc.gz", "records": ["conversion"]}}

    def rows(self) -> dict[str, str]:
        return {f"urn:x:{key}": text for key, text in super().rows().items()}

    def update(self, key: str, text: str) -> None:
        super().update(key.removeprefix("urn:x:"), text)

    def delete(self, key: str) -> None:
        super().delete(key.removeprefix("urn:x:"))

    def spoil(self, mark: str) -> list[str]:
        self.bad.append(mark)
        self._write(0)
        return ["warc.digest"]

    def _path(self, at: int) -> Path:
        return self.folder / f"part-{at:03d}.warc.gz"

    def _write(self, at: int) -> None:
        members = [
            record("conversion", text.encode(), WARC_Record_ID=f"<urn:x:{key}>") for key, text in self.files[at].items()
        ]
        if at == 0:
            members += [record("conversion", mark.encode(), WARC_Block_Digest="sha1:" + "A" * 32) for mark in self.bad]
        self._path(at).write_bytes(b"".join(gzip.compress(member, mtime=0) for member in members))
        self.clock_ns += 1_000_000_000
        os.utime(self._path(at), ns=(self.clock_ns, self.clock_ns))


@pytest.mark.parametrize("law", [law for law in LAWS if applies(law, WarcWorld.can)], ids=name_of)
def test_law(law, tmp_path):
    check(law, WarcWorld(), tmp_path)
