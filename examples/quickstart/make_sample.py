"""Makes data/ from prose/: the same records every time, with the troubles real data has.

Run it with `python examples/quickstart/make_sample.py [FOLDER]`. The prose was written for gristmill and is given away
under CC0-1.0. Everything that is wrong in the files it writes is wrong on purpose, and listed in README.md.
"""

import gzip
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd

HERE = Path(__file__).resolve().parent


def prose(lang):
    return (HERE / "prose" / f"{lang}.txt").read_text("utf-8").splitlines()


def page(lang, n, text):
    return {
        "id": f"{lang}-{n:02d}",
        "url": f"https://{lang}.example.org/page/{n}",
        "lang": lang,
        "text": text,
    }


def pages(*langs):
    return [page(lang, n, text) for lang in langs for n, text in enumerate(prose(lang), 1)]


def lines(records):
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def crawl_01():
    """English, Spanish and French pages with web noise, repeats, stubs and two broken lines."""
    records = pages("en", "es", "fr")
    by_id = {record["id"]: record for record in records}
    by_id["en-01"]["text"] += " Read more at https://mills.example.org/sound?page=2."
    by_id["en-03"]["text"] += " Questions? Write to night.train@example.org, we answer."
    by_id["en-05"]["text"] = "\u0007" + by_id["en-05"]["text"].replace("telescope", "tele\u200bscope")
    by_id["es-04"]["text"] = by_id["es-04"]["text"].replace(". ", ".  \u000b ")
    by_id["fr-03"]["text"] += "\r\n\r\n\r\nwww.example.org/graines\r\n"
    repeats = [page("en", 90 + n, by_id[f"en-{n:02d}"]["text"]) for n in (2, 4, 9)]
    stubs = [page("en", 80, "Read more"), page("es", 80, "Volver arriba"), page("fr", 80, "Accueil > Plan du site")]
    records += repeats + stubs
    content = lines(records).split(b"\n")
    content.insert(7, b'{"id": "en-70", "url": "https://en.example.org/page/70", "text": "The line ends before the')
    content.insert(19, b'{"id": "es-70", "lang": "es", "text": "Una l\xednea en otra codificaci\xf3n, sin avisar."}')
    return b"\n".join(content)


def crawl_02():
    """Russian, Arabic and Turkish, one gzip member each, and a repeat from another file."""
    repeat = page("en", 95, prose("en")[6])
    parts = [pages("ru"), pages("ar"), [*pages("tr"), repeat]]
    return b"".join(gzip.compress(lines(part), 6, mtime=0) for part in parts)


def crawl_03():
    """Chinese, Japanese and Hindi in two zstd frames, with a stub in each script."""
    first = [*pages("zh"), page("zh", 80, "返回首页")]
    second = [
        *pages("ja"),
        page("ja", 80, "続きを読む"),
        *pages("hi"),
        page("hi", 80, "और पढ़ें"),
        page("ja", 90, prose("ja")[0]),
    ]
    return b"".join(zstd.compress(lines(part)) for part in (first, second))


def crawl_04():
    """A download that broke off: the second half of the gzip file is missing."""
    whole = gzip.compress(lines(pages("el", "sw", "de")), 6, mtime=0)
    return whole[: len(whole) // 2]


def almanac():
    """A JSON array of German articles; the title and the body are two fields."""
    articles = []
    for n, text in enumerate(prose("de"), 1):
        title = " ".join(text.split()[:3]).strip(",.;")
        articles.append({"id": f"de-{n}", "title": title, "body": text, "published": f"2024-0{n}-01T06:00:00Z"})
    return json.dumps(articles, ensure_ascii=False, indent=1).encode() + b"\n"


def harbour(path):
    """Greek and Swahili articles as Parquet."""
    rows = []
    for lang in ("el", "sw"):
        for n, text in enumerate(prose(lang), 1):
            title = " ".join(text.split()[:3]).strip(",.;")
            rows.append({"id": f"{lang}-{n}", "title": title, "body": text, "published": f"2024-1{n % 3}-05T12:00:00Z"})
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


def notes():
    """Plain text files, one document each."""
    return {
        "bread.txt": "\n\n".join([prose("en")[1], prose("de")[1], prose("fr")[1]]) + "\n",
        "trains/morning.txt": "\n\n".join([prose("ja")[2], prose("zh")[2], prose("ru")[2]]) + "\n",
        "trains/windows.txt": "\ufeff" + "\r\n\r\n".join([prose("es")[2], prose("tr")[2]]) + "\r\n",
        "harbour.txt": "\n\n".join([prose("el")[3], prose("sw")[2], prose("ar")[4]]) + "   \n",
    }


def today():
    """The delivery that arrives after the first run: two new pages, and one that is known already."""
    new = [
        page(
            "en",
            11,
            "The millpond froze last night, and by noon half the village stood on it. The wheel waits; nobody minds.",
        ),
        page(
            "es",
            11,
            "Hoy el viento cambió de lado y el molino volvió a girar. Desde la plaza se oye como un reloj grande.",
        ),
    ]
    return lines([*new, page("en", 96, prose("en")[7])])


def make(folder):
    """Write the sample into `folder`, replacing files of the same names."""
    files = {
        "web/crawl-01.jsonl": crawl_01(),
        "web/crawl-02.jsonl.gz": crawl_02(),
        "web/crawl-03.jsonl.zst": crawl_03(),
        "web/crawl-04.jsonl.gz": crawl_04(),
        "articles/almanac.json": almanac(),
        **{f"notes/{name}": text.encode() for name, text in notes().items()},
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    harbour(folder / "articles" / "harbour.parquet")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "data")
