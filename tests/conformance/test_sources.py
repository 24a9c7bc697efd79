"""Every source is held to the laws of the conformance kit, in every world it has."""

import pytest
from tests.conformance.worlds_dlt import IncrementalDlt, PointedDlt, WholeDlt

from gristmill.testing.conformance import LAWS, applies, check, name_of
from gristmill.testing.worlds import FilesWorld

WORLDS = [FilesWorld, IncrementalDlt, PointedDlt, WholeDlt]
CASES = [(make, law) for make in WORLDS for law in LAWS if applies(law, make.can)]


@pytest.mark.parametrize(("make", "law"), CASES, ids=[f"{make.__name__}-{name_of(law)}" for make, law in CASES])
def test_law(make, law, tmp_path):
    check(law, make(), tmp_path)
