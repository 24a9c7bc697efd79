"""The ui in a real browser, over a dataset of which every text, id, URL, title, file name and reason is a payload."""

import re
from urllib.parse import quote

import pytest
from tests.report import browser, hostile, worlds
from tests.report.browser import Tab, browse
from tests.report.payloads import storable
from tests.ui.server import serving

from gristmill.dataset import Dataset

pytestmark = pytest.mark.skipif(
    not browser.available(), reason="no Chromium on this machine: `make debian` installs it"
)
WIDE_ENOUGH = 400


@pytest.fixture(scope="module", name="lab")
def _lab():
    return worlds.shared(hostile.dataset)


def addresses(lab, served):
    """Give pages that together show every payload, as text, id, URL, reason and place."""
    data: Dataset = lab.open()
    for page in ("", "runs", "run?seq=1", "run?seq=2", "snapshots", "diff", "drift", "snapshot?seq=2"):
        yield served.url + page
    for kind, most in (("kept", 420), ("dropped", 180), ("quarantined", 400)):
        for after in range(0, most, 25):
            yield f"{served.url}browse?run=1&kind={kind}&after={after}&texts=yes"
    for query in ("script", "<", "onerror", "\\u202e", "javascript:"):
        for by in ("text", "url", "id"):
            yield f"{served.url}records?by={by}&q={quote(query)}"
    for word in storable()[::16]:
        yield f"{served.url}records?by=text&q={quote(word)}"
        yield f"{served.url}browse?run=1&kind=dropped&step={quote(word)}&reason={quote(word)}"
    for row in [*data.inspect("kept", n=12, seq=1), *data.inspect("dropped", n=12, seq=1)]:
        yield f"{served.url}record?id={quote(row['id'])}"
    yield f"{served.url}record?id={quote('<script>alert(1)</script>')}"
    yield f"{served.url}{quote('<script>alert(1)</script>')}"


def test_two_hundred_payloads_are_words_in_the_ui(lab):
    found: list[str] = []
    with serving(lab.folder) as served:
        every = list(addresses(lab, served))
        assert len(every) > 80

        async def visit(tab: Tab) -> None:
            await tab.goto(f"{served.url}?token={served.token}")
            assert await tab.evaluate("location.href") == served.url  # the token has left the address
            for address in every:
                await tab.goto(address, 0)
                told = [*tab.acts(), *await tab.evaluate(hostile.STRANGERS)]
                found.extend(f"{address}: {each}" for each in told)
                if tab.requests() != [address]:
                    found.append(f"{address} asked for {tab.requests()}")
                if not re.match("2|404", str(tab.status)):
                    found.append(f"{address} is {tab.status}")

        browse(visit)
    assert found == []


def test_a_stranger_s_page_gets_nothing_out_of_the_ui(served, tmp_path):
    """A page of another origin in the same browser, with the cookie in its jar: no frame, no image, no form, no fetch."""
    evil = tmp_path / "evil.html"
    evil.write_text(
        f"<!DOCTYPE html><iframe src='{served.url}'></iframe><img src='{served.url}runs'><script>"
        f"window.got=[];for (const m of ['cors','no-cors']) fetch('{served.url}runs',{{mode:m,credentials:'include'}})"
        ".then(r=>window.got.push(r.type+' '+r.status)).catch(e=>window.got.push('refused'))</script>"
    )

    async def visit(tab: Tab) -> None:
        await tab.goto(f"{served.url}?token={served.token}")
        assert "set" in await tab.evaluate("document.title")
        await tab.goto(evil.as_uri(), 0.5)
        assert set(await tab.evaluate("window.got")) <= {"refused", "opaque 0"}
        answers = {
            p["response"]["status"]
            for name, p in tab.events
            if name == "Network.responseReceived" and p["response"]["url"].startswith("http")
        }
        assert answers <= {403}

    browse(visit)


def test_links_and_forms_lead_on(served):
    """A browser says where a request comes from: its own pages may ask, with GET only."""

    async def visit(tab: Tab) -> None:
        await tab.goto(f"{served.url}?token={served.token}")
        for act, there in (
            ("document.querySelector('a[href$=\"/runs\"]').click()", "/runs"),
            ("document.querySelector('td a').click()", "/run?seq="),
            ("document.querySelector('nav.top a[href$=\"/records\"]').click()", "/records"),
            (
                "document.querySelector('input[name=q]').value = 'crawl/'; document.querySelector('form').submit()",
                "/records?by=id&q=crawl%2F",
            ),
            ("document.querySelector('h3 a').click()", "/record?id=crawl"),
        ):
            await tab.then(act)
            assert there in await tab.evaluate("location.href")
            assert tab.status == 200

    browse(visit)


def test_the_ui_fits_a_narrow_window(served, world):
    dropped = world.open().inspect("dropped", n=1, seq=2)[0]["id"]

    async def visit(tab: Tab) -> None:
        await tab.goto(f"{served.url}?token={served.token}")
        for page in (
            "",
            "runs",
            "run?seq=2",
            "snapshots",
            "snapshot",
            "diff?a=1&b=2",
            "records?by=text&q=grain",
            "browse?texts=yes",
            "browse?kind=quarantined",
            "drift",
            f"record?id={dropped}",
        ):
            await tab.goto(served.url + page, 0)
            await tab.look(WIDE_ENOUGH)
            assert await tab.evaluate("document.documentElement.scrollWidth") <= WIDE_ENOUGH, page

    browse(visit)
