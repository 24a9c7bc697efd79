"""What comes out of a page: its text, what it says of itself, or the code of why there is none."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.extract import Document, ExtractOptions, blocks, html, page, sniff
from gristmill.extract.main_text import main_text
from gristmill.extract.wire import Extracted

LONG = "A paragraph of the article, with enough words in it to be taken for text and nothing else by anybody. " * 3
ARTICLE = f"""<!doctype html><html lang="en-GB"><head><title>A &amp; B</title>
<meta name=description content="What it is about">
<meta property="article:published_time" content="2024-05-06T07:08:09Z">
<meta name="robots" content="noai, noimageai"><meta name="tdm-reservation" content="1">
<meta name="tdm-policy" content="https://example.org/policy.json"><meta name=author content='Ann "A" Author'>
<link rel="canonical" href="https://example.org/a?x=1&amp;y=2"><link rel="license" href="https://creativecommons.org/licenses/by/4.0/">
</head><body><nav><a href=/>Home</a> <a href=/b>Other</a></nav><main><h1>A heading</h1><p>{LONG}</p><ul><li>First of all</li>
<li>Second to none.</li></ul><pre>def f():
    return 1 &lt; 2  # kept as it is, spaces and all</pre><p>{LONG}</p>
<p><a href=/1>Read this too</a> <a href=/2>And this</a></p></main><footer>Imprint</footer></body></html>"""


def extract(text: str | bytes, *, url: str | None = None, charset: str | None = None, **options) -> Extracted:
    data = text.encode() if isinstance(text, str) else text
    return html.extract(Document("html", data, charset, url), ExtractOptions(**options))


@pytest.mark.parametrize("extractor", ["default", "resiliparse", "trafilatura"])
def test_article_gives_its_text_and_what_it_says_of_itself(extractor):
    found = extract(ARTICLE, extractor=extractor)
    assert (found.code, found.warnings) == ("", [])
    assert found.text.count(LONG.strip()) == 2
    assert "Imprint" not in found.text
    assert "Home" not in found.text
    assert (found.title, found.lang, found.time) == ("A & B", "en-GB", "2024-05-06T07:08:09Z")
    assert found.meta.pop("extractor").startswith("resiliparse 2" if extractor != "trafilatura" else "trafilatura 2")
    assert found.meta == {
        "description": "What it is about",
        "robots": "noai, noimageai",
        "tdm_reservation": "1",
        "tdm_policy": "https://example.org/policy.json",
        "author": 'Ann "A" Author',
        "canonical": "https://example.org/a?x=1&y=2",
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "charset": "utf-8",
    }


def test_default_keeps_lists_and_code_and_drops_link_lists():
    text = extract(ARTICLE).text
    assert text.startswith("A heading\n\n")
    assert "def f():\n    return 1 < 2  # kept as it is, spaces and all" in text
    assert "• First of all\n• Second to none." in text
    assert "Read this too" not in text


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a": "json"}', "type.mismatch"),
        (b"%PDF-1.7\n1 0 obj", "type.mismatch"),
        (b"\x89PNG\r\n\x1a\n....", "type.mismatch"),
        (b"GIF89a....", "type.mismatch"),
        (b"PK\x03\x04....", "type.mismatch"),
        (b"plain words\0and a NUL", "type.mismatch"),
        (b"<?xml version='1.0'?><rss><channel><title>x</title></channel></rss>", "type.mismatch"),
        (b"<html><body><p>\x81\x8d\xff\xfe\x81\x8f</p>" + bytes(range(128, 256)) * 3, "text.encoding"),
        (b"<html><body><img src=x.png></body></html>", "html.no_text"),
        (b"<html><body><canvas></canvas><svg></svg></body></html>", "html.no_text"),
        (b"<div>" * 2500 + b"x", "html.too_deep"),
        (b"<!-- <div> -->" * 3000 + b"<p>A sentence.</p>", ""),
        (b"<p>One of many that nobody closed.\n" * 5000, ""),
        (b"<ul>" + b"<li>An item that nobody closed." * 5000 + b"</ul>", ""),
        (b"<table>" + b"<tr><td>A cell.<td>Another cell of it." * 3000 + b"</table>", ""),
        (b"<script>" + b"document.write('<div>');" * 5000 + b"</script><p>A sentence to keep.</p>", ""),
        (b"<p " + b" ".join(b"a%d" % i for i in range(3000)) + b">x</p>", "html.attributes"),
        (b"<p data-x='" + b"a b c " * 5000 + b"'>A sentence to keep.</p>", ""),
    ],
)
def test_what_is_no_page_is_refused_by_what_it_is(data, code):
    found = extract(data)
    assert found.code == code, found.detail
    assert bool(found.text) == (code == "")


@pytest.mark.parametrize(
    "data", [b"", b"  \n", b"<html><head><title>t</title></head><body> </body></html>", b"<!-- -->"]
)
def test_what_is_empty_is_a_warning(data):
    found = extract(data)
    assert (found.text, found.code, found.warnings) == ("", "", ["html.empty"])


@pytest.mark.parametrize("extractor", ["default", "resiliparse"])
@pytest.mark.parametrize("around", ["{}", "<body>{}</body>", "<html><head><title>t</title></head>{}</html>"])
def test_lists_of_a_plain_page_are_kept(around, extractor):
    text = extract(
        around.format(f"<p>{LONG}</p><ul><li>Flour<li>Sugar<li>Eggs</ul><p>{LONG}</p>"), extractor=extractor
    ).text
    assert [word for word in ("Flour", "Sugar", "Eggs") if word in text] == ["Flour", "Sugar", "Eggs"]


def test_text_without_tags_keeps_its_lines():
    found = extract("Fish &amp; chips\n\n  1 < 2, and 3 > 2  \nend")
    assert (found.text, found.warnings) == ("Fish & chips\n\n  1 < 2, and 3 > 2\nend", ["html.plain_text"])


@pytest.mark.parametrize("extractor", ["default", "resiliparse", "trafilatura"])
def test_fragment_without_html_gives_its_text(extractor):
    assert "Some words of a feed" in extract("<p>Some words of a feed, in a fragment.</p>", extractor=extractor).text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            "<div id=root></div><noscript>You need to enable JavaScript to run this app.</noscript><script src=a.js></script>",
            "web.shell",
        ),
        ("<div id=app></div><script src=a.js></script>", "web.shell"),
        ("<p>Bitte aktivieren Sie JavaScript in Ihrem Browser.</p><script src=a.js></script>", "web.shell"),
        ("<p>请启用 JavaScript 以继续。</p><script>x</script>", "web.shell"),
        (f"<p>{LONG * 3} How to enable JavaScript in your browser.</p><script>x</script>", ""),
        ("<form><h1>Log in</h1><label>Password <input type=password></label></form>", "web.login"),
        ("<h1>Anmelden</h1><input name=p type='password'>", "web.login"),
        (f"<form>Log in <input type=password></form><p>{LONG * 3}</p>", ""),
        ("<p>JavaScript is a language; this page has no script.</p>", ""),
    ],
)
def test_pages_in_place_of_a_page_are_told(body, code):
    found = extract(f"<html><head><title>x</title></head><body>{body}</body></html>")
    assert found.code == code, found.text


@pytest.mark.parametrize(
    ("title", "code"),
    [("404 Not Found", "web.not_found"), ("Seite nicht gefunden | Firma", "web.not_found"), ("Room 1404", "")],
)
def test_soft_404_is_told_by_its_title(title, code):
    assert extract(f"<title>{title}</title><body><p>Sorry. Try our search.</p>").code == code


def test_login_by_its_address():
    assert extract("<p>Welcome</p><input type=password>", url="https://example.org/login?next=/").code == "web.login"


def test_large_document_is_refused_before_it_is_sent():
    from gristmill.extract import Extractor

    with Extractor(ExtractOptions(max_bytes=1000)) as extractor:
        found = extractor.extract("html", b"x" * 1001)
    assert (found.code, found.detail) == ("size.cap", "a document of 1001 bytes, over max_bytes (1000)")


def test_no_detail_quotes_the_document():
    secret = "hunter2"
    for data in (
        f'{{"{secret}": 1}}',
        f"<img alt={secret}>",
        f"<form>Log in {secret}<input type=password></form>",
        f"<title>404 not found {secret}</title>x<p>",
    ):
        found = extract(data)
        assert found.code
        assert secret not in found.detail


def test_license_link_in_the_text_counts():
    told = page.says(
        '<body><p>x <a href="https://creativecommons.org/licenses/by/4.0/" class=b rel="license noopener">CC</a>'
    )
    assert told.meta == {"license": "https://creativecommons.org/licenses/by/4.0/"}


def test_lone_surrogates_and_nuls_do_no_harm():
    found = extract("<p>one &#xD800; two &#0; three \u0000 four and more words</p>".encode())
    assert found.code == "type.mismatch" or found.text.encode()


def test_blocks_without_a_good_one_keep_all_but_links():
    found = blocks.read('<p>Short</p>\n\n<p>Lines</p>\n\n<p><a href="x">A link</a></p>')
    assert blocks.text(found.kept) == "Short\n\nLines"


def test_ordered_lists_are_numbered_as_they_nest():
    minimal = "<ol>\n  <li>one</li>\n  <li>two\n    <ul>\n      <li>in</li>\n    </ul></li>\n  <li>three</li>\n</ol>"
    assert blocks.text(blocks.read(minimal).all) == "1. one\n2. two\n  • in\n3. three"


def html5lib(shared: Path) -> list[str]:
    tests = []
    for file in sorted((shared / "malformed" / "html5lib" / "tokenizer").glob("*.test")):
        tests += [test["input"] for test in json.loads(file.read_bytes()).get("tests", [])]
    return tests


def test_html5lib_tokenizer_inputs_all_come_out(shared):
    inputs = html5lib(shared)
    assert len(inputs) > 300
    for text in inputs:
        found = extract(text.encode("utf-8", "surrogatepass"), extractor="resiliparse")
        assert bool(found.code) + bool(found.text) + bool(found.warnings) >= 1, text
        found.text.encode()


PIECES = [
    "<p>",
    "</p>",
    "<div",
    " class='a'",
    ">",
    "<a href=x>",
    "</a>",
    "<!--",
    "-->",
    "<script>",
    "</script>",
    "&lt;",
    "<table><tr><td>",
    "words of text",
    '"',
    "'",
    "<li>",
    "<ul>",
    "\n",
    "<pre>",
    "</pre>",
    "=",
    "</",
    "<h1>",
]


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60))
def test_any_soup_gives_text_a_code_or_a_warning(pieces):
    source = "".join(pieces)
    found = extract(source)
    assert found.text or found.code or found.warnings, source
    assert main_text(source or "x", "default", None) == main_text(source or "x", "default", None)


@settings(max_examples=examples(80), deadline=None)
@given(
    st.lists(
        st.sampled_from(["<div>", "</div>", "<b>", "</b>", "<p>", "<br>", "</x>", "<!-- <div> -->", "t"]), max_size=40
    )
)
def test_depth_is_that_of_a_stack(pieces):
    stack: list[str] = []
    deepest = 0
    for piece in pieces:
        if piece in {"<div>", "<b>"}:
            stack.append(piece[1:-1])
        elif piece[2:-1] in stack and piece.startswith("</"):
            stack.remove(piece[2:-1])
        deepest = max(deepest, len(stack))
    text = "".join(pieces)
    assert (sniff.hostile(text, deepest, 99), bool(deepest) and bool(sniff.hostile(text, deepest - 1, 99))) == (
        None,
        bool(deepest),
    )
