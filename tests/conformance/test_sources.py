"""Every source is held to the laws of the conformance kit, in every world it has. Two more on PostgreSQL: GRISTMILL_SOAK=1."""

import pytest
from tests.conformance.worlds_dlt import IncrementalDlt, PointedDlt, WholeDlt
from tests.conformance.worlds_http import HtmlSite, RestSince, RestWhole, WebSite
from tests.conformance.worlds_sql import (
    PostgresByCursor,
    PostgresByHorizon,
    PostgresWhole,
    SqliteByCursor,
    SqliteWhole,
)
from tests.conformance.worlds_warc import WarcFiles
from tests.examples import SOAK, some

from gristmill.testing import source_laws as laws
from gristmill.testing.conformance import LAWS, applies, check, name_of
from gristmill.testing.worlds import FilesWorld

WORLDS = [
    FilesWorld,
    WarcFiles,
    IncrementalDlt,
    PointedDlt,
    WholeDlt,
    SqliteByCursor,
    SqliteWhole,
    RestSince,
    RestWhole,
    WebSite,
]
HTML = [laws.everything_is_read_once, laws.changes_are_found]  # a child is started for every split that is read
ON_POSTGRES = [PostgresByCursor, PostgresByHorizon, PostgresWhole] if SOAK else [PostgresByHorizon]


def _cases(worlds, n=None):
    found = [(make, law) for make in worlds for law in LAWS if applies(law, make.can)]
    found = some(found, n) if n else found
    return {"argvalues": found, "ids": [f"{make.__name__}-{name_of(law)}" for make, law in found]}


@pytest.mark.parametrize(("make", "law"), **_cases(WORLDS))
def test_law(make, law, tmp_path):
    check(law, make(), tmp_path)


@pytest.mark.slice
@pytest.mark.parametrize(("make", "law"), **_cases(ON_POSTGRES, 6))
def test_law_on_postgres(make, law, postgres, tmp_path):
    check(law, make(postgres), tmp_path)


@pytest.mark.parametrize("law", HTML, ids=name_of)
def test_law_with_text_taken_out_of_pages(law, tmp_path):
    check(law, HtmlSite(), tmp_path)
