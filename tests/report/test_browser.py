"""The page in a real browser: two hundred payloads in every place data can stand; nothing runs, nothing is asked for, nothing is added."""

import json
from html import unescape

import pytest
from tests.report import browser, hostile, worlds
from tests.report.browser import Tab, browse
from tests.report.payloads import LEAK, payloads, storable

from gristmill.core.visible import visible
from gristmill.report import page
from gristmill.store.layout import Layout

pytestmark = pytest.mark.skipif(
    not browser.available(), reason="no Chromium on this machine: `make debian` installs it"
)


@pytest.fixture(scope="module", name="lab")
def _lab():
    return worlds.shared(hostile.dataset)


def pages(lab, folder):
    """Give addresses of pages that together show every payload wherever a report can hold a word."""
    layout = Layout(lab.dataset)
    report = json.loads(layout.report(1).read_bytes())
    yield layout.page(1).as_uri()
    for number, words in enumerate(hostile.chunks(payloads()), 100):
        layout.run(number).mkdir()
        for seq in (number, 1):
            layout.distributions(seq).write_text(json.dumps(hostile.poisoned_distributions(words)))
        poisoned = hostile.poisoned(report, words) | {"run": number, "parent": 1}
        made = folder / f"{number}.html"
        text = page.make(layout, poisoned)
        read = unescape(text.replace("<wbr />", ""))
        assert [word for word in words if visible(word) not in read] == []
        made.write_text(text, "utf-8")
        yield made.as_uri()


def test_two_hundred_payloads_are_words_on_the_page(lab, tmp_path):
    assert len(payloads()) > 200
    addresses = list(pages(lab, tmp_path))
    found: list[str] = []

    async def visit(tab: Tab) -> None:
        for address in addresses:
            await tab.goto(address)
            found.extend(f"{address}: {told}" for told in [*tab.acts(), *await tab.evaluate(hostile.STRANGERS)])
            if tab.requests() != [address]:
                found.append(f"{address} asked for {tab.requests()}")
        shown = await tab.evaluate("document.body.innerText")
        assert "onerror=window.acted" in shown

    browse(visit)
    assert found == []


PLAIN = (
    "<img",
    "<svg onload",
    "<script>",
    "<link rel=stylesheet",
    "<video",
    "<details",
    "<audio",
    "<object data='http",
)


def test_the_browser_would_see_it(tmp_path):
    """Some of the same payloads as markup, without a policy: the counting above is worth something."""
    some = [each for each in storable() if each.startswith(PLAIN)]
    made = tmp_path / "raw.html"
    made.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{'<hr>'.join(some)}", "utf-8")

    async def visit(tab: Tab) -> None:
        await tab.goto(made.as_uri(), 0.5)
        assert sum(told.startswith("Page.javascriptDialogOpening") for told in tab.acts()) > 3
        assert len([url for url in tab.requests() if url.startswith(LEAK)]) > 3
        assert "acted" in await tab.evaluate(hostile.STRANGERS)

    browse(visit)
