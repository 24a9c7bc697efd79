"""What `gristmill init` writes: a small config that runs as it is, its schema for editors, a sample where there is no data.

The first records of the data are looked at, and fields are guessed from names and values. Not here: reading data for a
run (`sources`), checking a config (`pipeline`). Invariants: only parts that exist are written; a file of the user is
never overwritten; the output folders of the config never match its own input.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from gristmill.core.errors import ConfigError

FILE_NAME = "gristmill.yml"
SCHEMA_NAME = "gristmill.schema.json"
_LOOKED_AT = 40  # records
_FILES_LOOKED_AT = 5
_HEAD_BYTES = 4 << 20
_CODECS = {".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz"}
_KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet", ".pq": "parquet",
          ".csv": "csv", ".tsv": "csv", ".txt": "text", ".md": "text", ".text": "text", ".rst": "text"}  # fmt: skip
_TEXTS = ("text", "content", "body", "raw_content")
_GUESSES = {
    "id": ("id", "_id", "doc_id", "docid", "document_id", "record_id", "uuid", "uid", "key"),
    "url": ("url", "uri", "link", "source_url", "page_url"),
    "time": ("time", "timestamp", "date", "datetime", "published", "published_at", "created_at", "created", "updated_at"),
    "lang": ("lang", "language"),
    "license": ("license", "licence"),
}  # fmt: skip
_OURS = {"corpus", "out", SCHEMA_NAME, FILE_NAME, "manifest.json"}
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NOT_PLAIN = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

Record = dict[str, Any]


class Found(NamedTuple):
    """Data that was found. glob: what the config says; files: some of them; others: files of other formats, by suffix."""

    glob: str
    kind: str
    files: list[Path]
    others: dict[str, int]


class Made(NamedTuple):
    """What `init` wrote."""

    config: Path
    glob: str
    fields: dict[str, str]
    others: dict[str, int]

    def lines(self) -> list[str]:
        """Say it."""
        told = ", ".join(f"{column} from {field!r}" for column, field in self.fields.items()) or "whole files as text"
        left = [f"not taken in: {n} {ending} files; add a source for them" for ending, n in self.others.items()]
        return [f"wrote {os.path.relpath(self.config)}: {self.glob} ({told})", *left]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {"config": str(self.config), "path": self.glob, "fields": self.fields, "left_out": self.others}


class Sniffed(NamedTuple):
    """What the data looks like. fields: column -> field of the data; length: characters of a middling text."""

    fields: dict[str, str]
    length: int


def nearest(start: Path) -> Path | None:
    """Give the config of a folder or of the nearest one above it, if there is one."""
    return next((each / FILE_NAME for each in (start, *start.parents) if (each / FILE_NAME).is_file()), None)


def begin(target: Path, here: Path) -> Made:
    """Write a config for the data that `target` means, into `here`; or into the folder `target`, with a sample.

    Raises:
        ConfigError: there is a config already, nothing to read, or its name is not UTF-8.
    """
    found = look(target, here)
    base = here if found else here / target
    config = base / FILE_NAME
    if config.exists():
        raise _there_already(config)
    if found is None:
        (base / "data").mkdir(parents=True, exist_ok=True)
        write_new(base / "data" / "sample.jsonl", sample_lines())
        found = Found("data/*.jsonl", "jsonl", [base / "data" / "sample.jsonl"], {})
    check_spelled(found.glob)
    sniffed = sniff(found)
    write_new(config, config_text(found.glob, sniffed).encode())
    return Made(config, found.glob, sniffed.fields, found.others)


def passing(file: Path, folder: Path) -> Path:
    """Write a config for one file into a passing folder.

    Raises:
        ConfigError: there is no such file, its name is not UTF-8, or its fields cannot be guessed.
    """
    if not file.is_file():
        raise ConfigError(f"there is no file {str(file)!r}; name one file with data")
    check_spelled(str(file.absolute()))
    sniffed = sniff(Found(str(file.absolute()), kind_of(file) or "", [file], {}))
    write_new(folder / FILE_NAME, config_text(str(file.absolute()), sniffed).encode())
    return folder / FILE_NAME


def check_spelled(path: str) -> None:
    """Refuse a path whose name is not UTF-8, which a config cannot spell and a run quarantines.

    Raises:
        ConfigError: it is not.
    """
    if not path.isprintable() and any("\ud800" <= char <= "\udfff" for char in path):
        raise ConfigError(f"{path!r}: the name is not valid UTF-8; rename the file or folder, and try again")


# --- finding data ------------------------------------------------------------------------------------------------


def kind_of(path: Path) -> str | None:
    """Give the format a file's name claims; compression endings are passed over."""
    name = path.with_suffix("") if path.suffix.lower() in _CODECS else path
    return _KINDS.get(name.suffix.lower())


def look(target: Path, base: Path) -> Found | None:
    """Find the data that `target` (a file, folder or glob) means, seen from the folder `base` of the config; None: none.

    Raises:
        ConfigError: it names a file or glob, and nothing readable is there.
    """
    text = str(target)
    if target.is_dir():
        return _look_into(target, base)
    if target.is_file():
        return Found(_from(target, base), kind_of(target) or "", [target], {})
    if any(char in text for char in "*?["):
        from gristmill.core.files import Local

        matched = [base / found.path for found in Local(Path.cwd()).list([os.path.abspath(text)]).found]  # noqa: PTH100
        kinds = Counter(filter(None, map(kind_of, matched)))
        if not matched:
            raise ConfigError(
                f"no file matches {text!r} in {str(Path.cwd())!r}; name a file, a folder or a glob with data"
            )
        kind = kinds.most_common(1)[0][0] if kinds else ""
        return Found(_from(target, base), kind, matched[:_FILES_LOOKED_AT], {})
    if kind_of(target) is not None:
        raise ConfigError(f"there is no file {text!r}; name a file, a folder or a glob with data, or a new folder")
    return None


def _look_into(folder: Path, base: Path) -> Found | None:
    """Take the most frequent format of a folder; where the config lies in it, its outputs stay out."""
    inside = folder.resolve() == base.resolve()
    by_suffix: dict[str, list[Path]] = {}
    for path in islice(_walk(folder, skip=_OURS if inside else set()), 10_000):
        if kind_of(path) is not None:
            by_suffix.setdefault(_ending(path), []).append(path)
    if not by_suffix:
        return None
    ending, files = max(by_suffix.items(), key=lambda item: (len(item[1]), item[0]))
    files.sort()
    tops = sorted({path.relative_to(folder).parts[0] if path.parent != folder else "" for path in files})
    if inside and (len(tops) == 1 or "" in tops):
        top = tops[0]
        files = [path for path in files if (path.parent == folder) == (top == "")]
        glob = f"{top}/**/*{ending}" if top else f"*{ending}"
    elif inside:
        glob = f"{tops[0]}/**/*{ending}"
        files = [path for path in files if path.relative_to(folder).parts[0] == tops[0]]
    else:
        glob = f"{_from(folder, base)}/**/*{ending}"
    others = {other: len(paths) for other, paths in by_suffix.items() if other != ending}
    left = len(by_suffix[ending]) - len(files)
    if left:
        others[f"{ending} in other folders"] = left
    return Found(glob, kind_of(files[0]) or "", files[:_FILES_LOOKED_AT], others)


def _walk(folder: Path, skip: set[str]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in skip:
            continue
        if path.is_dir():
            yield from _walk(path, set())
        elif path.is_file():
            yield path


def _ending(path: Path) -> str:
    return "".join(path.suffixes[-2:]) if path.suffix.lower() in _CODECS else path.suffix


def _from(path: Path, base: Path) -> str:
    """Give a path as the config writes it: relative where it lies below or near the config."""
    full = os.path.abspath(path)  # noqa: PTH100 - lexical: a glob is no file
    near = os.path.relpath(full, base.absolute())
    return full if near.startswith("../..") else near


# --- looking at records ------------------------------------------------------------------------------------------


def sniff(found: Found) -> Sniffed:
    """Guess the fields from the first records.

    Raises:
        ConfigError: no record could be read, or none has a text.
    """
    if found.kind == "text":
        return Sniffed({}, 1000)
    records: list[Record] = []
    for path in found.files:
        try:
            records += islice(_records(path), _LOOKED_AT // len(found.files) or 1)
        except (OSError, ValueError, UnicodeDecodeError):
            continue
    if not records:
        raise ConfigError(
            f"no record could be read from {', '.join(str(path) for path in found.files)}; files are JSON lines, JSON, "
            "CSV, Parquet or text, plain or compressed"
        )
    flat = [_flat(record) for record in records]
    text = _text_field(flat)
    if text is None:
        names = ", ".join(sorted({name for record in flat for name in record})[:20])
        raise ConfigError(f"no field of {str(found.files[0])!r} holds text; its fields are: {names or 'none'}")
    fields = {"text": text}
    for column, likely in _GUESSES.items():
        fitting = [name for name in likely if name != text and _fits(column, [record.get(name) for record in flat])]
        if fitting:
            fields[column] = fitting[0]
    lengths = sorted(len(value) for record in flat if isinstance(value := record.get(text), str))
    return Sniffed(fields, lengths[len(lengths) // 2])


def _records(path: Path) -> Iterator[Record]:
    """Give the first records of a file, in whichever format its bytes are."""
    from gristmill.core import files

    with files.Local(Path.cwd()).open(str(path.absolute())) as raw:
        head = raw.read(4)
        if head == b"PAR1":
            yield from _of_parquet(path)
            return
        raw.seek(0)
        codec = files.codec_of(head)
        blocks = files.expand(raw, codec, path.name, files.Expansion()) if codec else files.plain(raw, 0, _HEAD_BYTES)
        text = b""
        for block in blocks:
            text += block
            if len(text) >= _HEAD_BYTES:
                break
    shown = text.decode("utf-8", "replace").removeprefix("\ufeff")
    if kind_of(path) == "csv":
        delimiter = "\t" if ".tsv" in path.suffixes else ","
        yield from csv.DictReader(io.StringIO(shown, newline=""), delimiter=delimiter)
    else:
        yield from _of_json(shown)


def _of_parquet(path: Path) -> Iterator[Record]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_LOOKED_AT):
            yield from batch.to_pylist()
            return


def _of_json(text: str) -> Iterator[Record]:
    """Give objects that stand one after the other, in an array, or on lines; a broken line is passed over."""
    decoder = json.JSONDecoder()
    at, bare = 0, text.lstrip()
    in_array = bare.startswith("[")
    at = len(text) - len(bare) + in_array
    while at < len(text):
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        try:
            value, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError):
            at = text.find("\n", at)
            if in_array or at < 0:
                return
            continue
        if isinstance(value, dict):
            yield value


def _flat(record: Record) -> Record:
    """Give the fields of a record and, dotted, those one level below; names that a mapping could not spell are left out."""
    flat: Record = {}
    for name, value in record.items():
        inner = value if isinstance(value, dict) else {}
        flat |= {f"{name}.{key}": below for key, below in inner.items() if not isinstance(below, dict | list)}
        if not isinstance(value, dict | list):
            flat[name] = value
    return {name: value for name, value in flat.items() if name and not set(name) & set("{}") and name.isprintable()}


def _text_field(records: list[Record]) -> str | None:
    """Give the field with the longest texts; one with a telling name that most records have is preferred."""
    means: dict[str, float] = {}
    for name in {name for record in records for name in record}:
        texts = [value for record in records if isinstance(value := record.get(name), str) and value]
        if texts and len(texts) * 2 >= len(records):
            means[name] = sum(map(len, texts)) / len(records)
    named = [name for name in _TEXTS if name in means]
    return named[0] if named else max(sorted(means), key=lambda name: means[name], default=None)


def _fits(column: str, values: list[Any]) -> bool:
    there = [value for value in values if value is not None and value != ""]
    if column == "id":  # every record needs one, and its own
        plain = all(isinstance(value, str | int) and not isinstance(value, bool) for value in there)
        return plain and len(there) == len(values) == len(set(map(str, there)))
    if column == "time":
        return bool(there) and not any(isinstance(value, bool | list | dict) for value in there)
    return bool(there) and all(isinstance(value, str) for value in there)


# --- writing -----------------------------------------------------------------------------------------------------


def config_text(glob: str, sniffed: Sniffed, dataset: str = "./corpus", out: str = "./out") -> str:
    """Give a config for this data: about fourteen lines, only parts that exist."""
    mapped = "".join(f", {column}: {_scalar(field)}" for column, field in sniffed.fields.items())
    shortest = 50 if sniffed.length >= 100 else 10
    return (
        f"# yaml-language-server: $schema=./{SCHEMA_NAME}\n"
        "version: 1\n"
        f"dataset: {_scalar(dataset)}\n"
        "sources:\n"
        "  - name: data\n"
        f"    files: {{path: {json.dumps(glob, ensure_ascii=False)}{mapped}}}\n"
        "steps:\n"
        "  - clean.text\n"
        f"  - filter.length: {{min_chars: {shortest}}}\n"
        "  - dedup.exact\n"
        "exports:\n"
        "  - name: chunks\n"
        f"    jsonl: {{path: {_scalar(out)}}}\n"
        "tests:\n"
        "  - {name: short texts go, given: Tiny., expect: {dropped: filter.length}}\n"
    )


def _scalar(text: str) -> str:
    """Give a text as YAML reads it back."""
    plain = _WORD.fullmatch(text.removeprefix("./")) and text.lower() not in _NOT_PLAIN
    return text if plain else json.dumps(text, ensure_ascii=False)


def sample_lines() -> bytes:
    """Give a small sample in fourteen languages, with what real data has: repeats, a text too short, a broken line."""
    from gristmill.testing import corpora

    records = corpora.documents(60, sentences=5, duplicates=0.1)
    short = {"id": "doc-short", "text": "Too short.", "lang": "en"}
    broken = b'{"id": "doc-broken", "text": "This line was cut off in the mi\n'
    return corpora.jsonl(records) + corpora.jsonl([short]) + broken


def write_new(path: Path, content: bytes) -> None:
    """Write a file that must not be there yet.

    Raises:
        ConfigError: it is there.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise _there_already(path) from None


def _there_already(path: Path) -> ConfigError:
    return ConfigError(
        f"{str(path)!r} is there already and is left as it is; move it away, or go on with `gristmill check`"
    )
