"""What a page says of itself: title, language, time, licence, opt-outs; and whether it is a page with a text at all.

Not here: the text (`main_text`). All of it is read off the source with linear expressions: a parser's tree costs twenty
times as much for the same few tags (measured). Invariants: values stand as the page gives them, entities resolved, cut to
`_VALUE_CHARS`; opt-outs (robots, TDM reservation) are kept for a filter to decide on, and never decide here.
"""

from __future__ import annotations

import html
import re
from itertools import islice
from typing import Any, NamedTuple

_HEAD_CHARS = 256 << 10
_VALUE_CHARS = 2000
SHORT_CHARS = 500  # a text below this may be what stands around a form or an excuse
_META = re.compile(r"<(meta|link)\b", re.IGNORECASE)
_INNER = re.compile(r"""(?:[^>"']++|"[^"]*+"|'[^']*+')*+(?=>)""")
_MAX_META, _MAX_META_CHARS = 500, 5000
_ATTRIBUTE = re.compile(r"""([\w:.-]{1,60})\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""")
_HTML = re.compile(r"<html\b([^>]{0,2000})>", re.IGNORECASE)
_TITLE = re.compile(r"<title\b[^>]{0,200}>([^<]{0,2000})", re.IGNORECASE)
_REL_LICENSE = re.compile(r"""rel=["']?[^"'<>]{0,40}?license\b""")  # case counts: three times as fast, on every page
_PUBLISHED = re.compile(r'"datePublished"\s*:\s*"([^"]{4,40})"')
_NAMES = {
    "description": "description",
    "og:description": "description",
    "author": "author",
    "article:author": "author",
    "og:site_name": "site",
    "robots": "robots",
    "tdm-reservation": "tdm_reservation",
    "tdm-policy": "tdm_policy",
    "generator": "generator",
    "dcterms.rights": "rights",
    "dc.rights": "rights",
    "copyright": "rights",
}
_TIMES = (
    "article:published_time",
    "datepublished",
    "dc.date.issued",
    "dcterms.issued",
    "dc.date",
    "dcterms.date",
    "date",
)
_SCRIPT_NEEDED = re.compile(
    r"(?:enabl|activ|aktivi|habilit|abilit|turn(?:ed)? on|requir|need|disabled|d[ée]sactiv|désactiv|deaktivi|desactiv"
    r"|включ|отключ|włącz|zapn|etkinleştir|inschakel|aktiver|slå på|有効|無効|启用|啟用|禁用|사용|활성).{0,60}?java ?script"
    r"|java ?script.{0,60}?(?:enabl|activ|aktivi|habilit|abilit|turn(?:ed)? on|requir|need|disabled|must|d[ée]sactiv"
    r"|deaktivi|desactiv|включ|отключ|włącz|zapn|etkinleştir|inschakel|aktiver|slå på|有効|無効|启用|啟用|禁用|사용|활성)",
    re.IGNORECASE | re.DOTALL,
)
_SCRIPT = re.compile(r"<script\b", re.IGNORECASE)
_EMPTY_ROOT = re.compile(r"<(div|main|section|app-root|[a-z]{1,20}-app)\b[^>]{0,400}>\s{0,99}</\1>", re.IGNORECASE)
_PASSWORD = re.compile(r"""<input\b[^>]{0,1000}\btype\s*=\s*["']?password\b""", re.IGNORECASE)
_LOGIN_NAME = re.compile(
    r"(?<![a-z])(?:log[-_ ]?in|sign[-_ ]?in|log[-_ ]?on|auth(?:enticate|entication|orize)?|sso|anmelden|anmeldung|einloggen"
    r"|connexion|iniciar[-_ ]sesi[oó]n|accedi|entrar|войти|вход|zaloguj|ログイン|登录|登入|로그인)(?![a-z])",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"(?<!\d)404(?!\d)|(?:page|site|document|article) (?:was |is |could |can ?)?not (?:be )?found|(?:page|article).{0,30} (?:no longer|doesn.t|does not) exist"
    r"|seite (?:wurde )?nicht gefunden|page (?:est )?introuvable|page non trouv|p[áa]gina no (?:encontrada|existe)|pagina non trovata"
    r"|p[áa]gina n[ãa]o encontrada|страница не найдена|nie znaleziono strony|pagina niet gevonden|ページが見つかりません|找不到.{0,6}页",
    re.IGNORECASE,
)
_BODY = re.compile(r"<body\b[^>]{0,4000}>(.*?)(?:</body|\Z)", re.IGNORECASE | re.DOTALL)


class Says(NamedTuple):
    """What a page declares. meta: text values by our names."""

    title: str | None
    lang: str | None
    time: str | None
    meta: dict[str, Any]


def says(text: str) -> Says:
    """Read what a page says of itself off its head, and the licence off its links."""
    end = text.find("<body", 0, _HEAD_CHARS)
    head = _without_comments(text[: end if end >= 0 else _HEAD_CHARS])
    meta: dict[str, Any] = {}
    times: dict[str, str] = {}
    titles: dict[str, str] = {}
    for tag in islice(_META.finditer(head), _MAX_META):
        inner = _INNER.match(head, tag.end(), tag.end() + _MAX_META_CHARS)
        attributes = _attributes(inner[0]) if inner else {}
        if tag[1].lower() == "link":
            relations = attributes.get("rel", "").lower().split()
            for relation in {"canonical", "license"}.intersection(relations):
                _keep(meta, relation, attributes.get("href"))
            continue
        name = (attributes.get("name") or attributes.get("property") or attributes.get("itemprop") or "").lower()
        if name in _NAMES:
            _keep(meta, _NAMES[name], attributes.get("content"))
        elif name in _TIMES:
            _keep(times, name, attributes.get("content"))
        elif name == "og:title":
            _keep(titles, name, attributes.get("content"))
    if "license" not in meta and "license" in text and (link := _REL_LICENSE.search(text)):
        start, stop = text.rfind("<", 0, link.start()), text.find(">", link.end())
        if text[start : start + 2].lower() == "<a":
            _keep(meta, "license", _attributes(text[start : max(stop, start)]).get("href"))
    if found := _TITLE.search(head):
        _keep(titles, "title", found[1])
    time = next((times[name] for name in _TIMES if name in times), None)
    if time is None and (published := _PUBLISHED.search(text)):
        time = published[1]
    root = _HTML.search(head)
    lang = _attributes(root[1]) if root else {}
    return Says(
        titles.get("title") or titles.get("og:title"), lang.get("lang") or lang.get("xml:lang") or None, time, meta
    )


def no_page(source: str, seen: str, title: str, url: str) -> tuple[str, str] | None:
    """Give code and detail if what was extracted is no page of its own: a script's shell, a log-in form, a soft 404.

    To be asked only of a page whose main text is below `SHORT_CHARS`, and even then only a mark in the source convinces.
    seen: all that a reader without scripts sees.
    """
    if _SCRIPT.search(source) and _SCRIPT_NEEDED.search(seen):
        return "web.shell", "hardly any text, and a note that JavaScript is needed"
    if _PASSWORD.search(source) and (
        _LOGIN_NAME.search(url) or _LOGIN_NAME.search(title) or _LOGIN_NAME.search(seen[:SHORT_CHARS])
    ):
        return "web.login", "hardly any text, a password field and the word for logging in"
    if _MISSING.search(title):
        return "web.not_found", "hardly any text, and a title that says there is no such page"
    return None


def why_empty(source: str, seen: str) -> tuple[str, str] | None:
    """Give code and detail for a page without a main text; None if its body is empty indeed.

    seen: all that a reader without scripts sees.
    """
    found = _BODY.search(source)
    body = _without_comments(found[1] if found else source)
    if _SCRIPT.search(source) and (
        _EMPTY_ROOT.search(body) or not re.search(r"<(?!/?(?:script|noscript|style|link|div)\b)\w", body)
    ):
        return "web.shell", "no text, and scripts that would make it"
    if body.strip():
        return "html.no_text", f"no text in {len(body)} characters of body"
    return None


def _without_comments(text: str) -> str:
    pieces = []
    at = 0
    while (start := text.find("<!--", at)) >= 0:
        pieces.append(text[at:start])
        end = text.find("-->", start + 4)
        if end < 0:
            return "".join(pieces)
        at = end + 3
    return "".join([*pieces, text[at:]])


def _attributes(inner: str) -> dict[str, str]:
    return {
        name.lower(): html.unescape(double or single or bare).strip()
        for name, double, single, bare in reversed(_ATTRIBUTE.findall(inner))  # of two, the first counts
    }


def _keep(into: dict[str, Any], name: str, value: str | None) -> None:
    """Keep the first value given under a name, tidied."""
    tidy = " ".join(html.unescape(value or "").split())[:_VALUE_CHARS]
    if tidy:
        into.setdefault(name, tidy)
