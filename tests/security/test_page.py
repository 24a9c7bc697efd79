"""SECURITY.md is true: what it names is there, and no rule of the checklist is passed over in silence."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")


def test_links_and_modules_are_there():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []
    places = {
        place
        for row in TEXT.splitlines()
        if row.startswith("| SEC")
        for place in re.findall(r"`([\w/]+(?:\.\w+)?/?)`", row.split("|")[3])
    }
    roots = [ROOT, ROOT / "src" / "gristmill"]
    assert [place for place in sorted(places) if not any((root / place).exists() for root in roots)] == []


def test_no_rule_is_passed_over():
    told = {int(number) for number in re.findall(r"SEC(\d+)", TEXT)}
    assert set(range(1, 25)) - told == set(), "each rule stands in a table, or under what is not defended"


def test_it_is_led_to():
    for page in ("README.md", "docs/index.md"):
        assert "SECURITY.md" in (ROOT / page).read_text("utf-8"), page
