"""The app: which address shows what, and what a question that fails looks like.

Not here: the pages (`views`), who may ask (`guard`), the server (`serve`). Invariants: every address is read only; what comes in a query
is a number, one of a few words, or text that is only compared; an unexpected failure shows its type and nothing else.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import ConfigError, GristmillError
from gristmill.dataset import Dataset
from gristmill.report import render
from gristmill.ui import views
from gristmill.ui.guard import FORMS, Guard, Keys
from gristmill.ui.views import Asked, Json

TEMPLATES = Path(__file__).parent / "templates"

PAGES: dict[str, tuple[str, Callable[[Asked], Json]]] = {
    "/": ("overview.html", views.overview),
    "/runs": ("runs.html", views.runs),
    "/run": ("run.html", views.run),
    "/snapshots": ("snapshots.html", views.snapshots),
    "/snapshot": ("snapshot.html", views.snapshot),
    "/diff": ("diff.html", views.diff),
    "/records": ("records.html", views.records),
    "/record": ("record.html", views.record),
    "/browse": ("browse.html", views.browse),
    "/drift": ("drift.html", views.drift),
}


def make(config: PipelineConfig, dataset: Dataset, keys: Keys, port: int) -> Guard:
    """Give the whole app behind its guard."""

    def link(page: str, query: Mapping[str, object] | None = None) -> str:
        given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        return f"{keys.root}{page}" + (f"?{urlencode(given)}" if given else "")

    def show(template: str, values: Json, status: int = 200) -> Response:
        whole = {"link": link, "dataset": dataset.layout.root.name} | values
        return HTMLResponse(render.render(template, whole, TEMPLATES, forms=FORMS), status)

    def route(path: str, template: str, view: Callable[[Asked], Json]) -> Route:
        def answer(request: Request) -> Response:
            try:
                return show(template, view(Asked(config, dataset, link, dict(request.query_params))))
            except ConfigError as error:
                return show("message.html", {"title": "There is no such thing", "told": config.redact(str(error))}, 404)
            except GristmillError as error:
                return show("message.html", {"title": "That did not work", "told": config.redact(str(error))}, 500)
            except Exception as error:  # told here, or the server would print it with its values
                return show("message.html", {"title": "That did not work", "told": _unexpected(error)}, 500)

        return Route(f"{keys.root}{path}", answer, methods=["GET"])

    def absent(_: Request, __: Exception) -> Response:
        return show("message.html", {"title": "Nothing here", "told": "There is no such page."}, 404)

    routes = [route(path, *page) for path, page in PAGES.items()]
    return Guard(Starlette(routes=routes, exception_handlers={404: absent}), keys, port)


def _unexpected(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"An unexpected {type(error).__name__}{place}; its message is not shown, as it may hold document text."
