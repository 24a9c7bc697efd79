"""Pictures of the pages, to be looked at: `python -m tests.report.screens OUT [--docs]`.

Light, dark, 400 pixels wide and as printed, all details open in one of each; `--docs` also makes the pictures of the documentation.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from tests.report import worlds
from tests.report.browser import Tab, available, browse
from tests.ui.server import serving

from gristmill.report import page
from gristmill.store.layout import Layout

OPEN = "document.querySelectorAll('details').forEach(each => each.open = true)"
LOOKS = {"light": (1000, False), "dark": (1000, True), "400": (400, False), "400-dark": (400, True)}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "images"


async def all_looks(tab: Tab, out: Path, name: str, most: int = 20_000) -> None:
    """Take a page in every look, and once with everything open."""
    for look, (width, dark) in LOOKS.items():
        await tab.look(width, dark=dark)
        await tab.shot(out / f"{name}-{look}.png", most)
    await tab.evaluate(OPEN)
    await tab.look(400)
    await tab.shot(out / f"{name}-400-open.png", most)
    await tab.look(1000)
    await tab.shot(out / f"{name}-open.png", most)


def main(out: Path, *, docs: bool) -> None:
    """Make the world, and the pictures of it."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gristmill-screens-") as folder:
        lab = worlds.two_runs(Path(folder) / "world", 200)
        layout = Layout(lab.dataset)
        page.write(layout, lab.open().report(2))
        dropped, kept = (
            lab.open().inspect("dropped", n=1, seq=2)[0]["id"],
            lab.open().inspect("kept", n=1, seq=2)[0]["id"],
        )
        views = {
            "overview": "", "runs": "runs", "run": "run?seq=2", "snapshots": "snapshots", "snapshot": "snapshot?seq=2", "diff": "diff?a=1&b=2",
            "records": "records?by=text&q=grain+water", "kept": f"record?id={quote(kept)}", "dropped": f"record?id={quote(dropped)}",
            "browse": "browse?run=2&texts=yes", "duplicates": "browse?kind=duplicates", "quarantined": "browse?kind=quarantined", "drift": "drift",
            "nothing": "run?seq=77",
        }  # fmt: skip
        with serving(lab.folder) as served:

            async def visit(tab: Tab) -> None:
                await tab.goto(layout.page(2).as_uri())
                if docs:
                    await tab.look(860)
                    await tab.shot(DOCS / "report.png", 1240)
                await all_looks(tab, out, "report")
                await tab.look(760, media="print")
                await tab.shot(out / "report-print.png")
                await tab.goto(f"{served.url}?token={served.token}")
                for name, address in views.items():
                    await tab.look(1000)
                    await tab.goto(served.url + address)
                    if docs and name == "browse":
                        await tab.look(860)
                        await tab.shot(DOCS / "ui.png", 760)
                    await all_looks(tab, out, f"ui-{name}", 2400)

            browse(visit)
    print(f"{len(list(out.glob('*.png')))} pictures in {out}")  # noqa: T201


if __name__ == "__main__":
    if not available() or len(sys.argv) < 2:
        sys.exit("python -m tests.report.screens OUT [--docs]; needs chromium")
    main(Path(sys.argv[1]), docs="--docs" in sys.argv)
