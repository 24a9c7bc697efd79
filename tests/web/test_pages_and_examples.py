"""What is written about the source is true: the configs load, the spider writes what `warc` reads, the benchmark finds no promise broken."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.config import load as config

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "sources" / name for name in ("web.md", "crawl.md")]
EXAMPLES = [ROOT / "examples" / "sources" / name / "gristmill.yml" for name in ("web", "crawl")]


def configs():
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            yield pytest.param(block, id=page.name)
    for path in EXAMPLES:
        yield pytest.param(path.read_text("utf-8"), id=path.parent.name)


@pytest.mark.parametrize("text", list(configs()))
def test_a_config_that_is_shown_loads(text, tmp_path):
    path = tmp_path / "gristmill.yml"
    path.write_text(text, "utf-8")
    assert config.load(path).sources


def test_links_of_the_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8")):
            assert target.startswith("https:") or (page.parent / target).exists(), target


def test_every_code_that_the_source_counts_is_on_its_page():
    told = PAGES[0].read_text("utf-8")
    rooms = ["sources/web.py", "sources/formats/webpage.py"]
    rooms += [f"net/{name}.py" for name in ("polite", "robots", "lists", "sitemaps", "feeds")]
    nodes = [
        node for room in rooms for node in ast.walk(ast.parse((ROOT / "src" / "gristmill" / room).read_text("utf-8")))
    ]
    words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    pattern = re.compile(r"(?:net|web|robots|host|sitemap|feed|type|size|html|text)\.[a-z_]+")
    codes = {word for word in words if pattern.fullmatch(word)}
    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in told} == set()


def test_the_spider_is_whole_and_polite():
    text = (ROOT / "examples" / "sources" / "crawl" / "spider.py").read_text("utf-8")
    ast.parse(text)
    for setting in (
        '"ROBOTSTXT_OBEY": True',
        '"DOWNLOAD_VERIFY_CERTIFICATES": True',
        '"CONCURRENT_REQUESTS_PER_DOMAIN": 1',
    ):
        assert setting in text


def test_the_benchmark_finds_no_promise_broken_on_a_small_site():
    command = [sys.executable, "-m", "bench.web", "--pages", "300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"second +300 +300 +300 +0 ", done.stdout)) == 2
