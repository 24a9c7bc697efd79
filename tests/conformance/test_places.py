"""Further formats, stores and databases: what is there is read once, and what changes is found."""

import pytest
from tests.conformance.worlds_places import HtmlFiles, HttpFiles, MariaDBByCursor, PdfFiles, S3Files
from tests.examples import SOAK
from tests.net import stores

from gristmill.testing import source_laws as laws
from gristmill.testing.conformance import check, name_of

BOTH = pytest.mark.parametrize("law", [laws.everything_is_read_once, laws.changes_are_found], ids=name_of)


@BOTH
@pytest.mark.parametrize("make", [HtmlFiles, PdfFiles, HttpFiles])
def test_files(make, law, tmp_path):
    check(law, make(), tmp_path)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """Give a bucket of moto's server; of SeaweedFS, which takes its time to stop, under GRISTMILL_SOAK=1."""
    with stores.seaweed(tmp_path_factory.mktemp("seaweed")) if SOAK else stores.moto() as store:
        yield store


@BOTH
def test_a_bucket(law, bucket, tmp_path):
    check(law, S3Files(bucket), tmp_path)


@BOTH
def test_mariadb(law, mariadb, tmp_path):
    check(law, MariaDBByCursor(mariadb), tmp_path)
