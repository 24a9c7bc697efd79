"""Tiny corpora for tests and examples: the same records, lines and file bytes on every machine.

Not here: real data, property-test strategies. Invariant: everything is a function of its arguments; no clock, no hash
seed, no global random state decides a byte.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

Record = dict[str, Any]

# Written for gristmill; right to left, spaceless, combining and astral letters are all there on purpose.
SENTENCES: Mapping[str, tuple[str, ...]] = {
    "ar": (
        "تدور الرحى ببطء فيخرج الدقيق ناعما.",
        "يحمل الفلاح القمح إلى الطاحونة عند الفجر.",
        "الماء هنا لا ينقطع حتى في الصيف.",
    ),
    "de": (
        "Das Mühlrad dreht sich, solange der Bach läuft.",
        "Grobes Korn wird zweimal gemahlen.",
        "Wer zuerst kommt, mahlt zuerst.",
    ),
    "el": ("Ο μύλος γυρίζει με τον άνεμο.", "Το αλεύρι μένει στη σκάφη ως το βράδυ.", "Ο μυλωνάς ξέρει κάθε πέτρα."),
    "en": (
        "The stones are dressed twice a year.",
        "A sack of wheat gives most of a sack of flour.",
        "Nobody stops the wheel in spring.",
    ),
    "es": (
        "El molino viejo sigue junto al río.",
        "La harina se guarda en un lugar seco.",
        "¿Quién muele hoy, el viento o el agua?",
    ),
    "fr": (
        "La meunière ouvre la vanne à l'aube.",
        "On sépare le son de la farine.",
        "L'été, l'étang baisse et la roue s'arrête.",
    ),
    "he": ("הטחנה עומדת ליד הנחל.", "הקמח נופל לאט אל השק."),
    "hi": ("चक्की धीरे-धीरे घूमती है।", "गेहूँ सुबह बाज़ार से आता है।", "आटा महीन और सफ़ेद निकला।"),
    "ja": ("水車は一日じゅう回っている。", "小麦は二度挽くと細かくなる。", "石臼の音が谷に響く。"),
    "ko": ("물레방아가 천천히 돌아간다.", "밀가루는 마른 곳에 둔다."),
    "ru": ("Мельница стоит у самой реки.", "Зерно везут сюда со всей округи.", "Жёрнов весит больше лошади."),
    "th": ("กังหันน้ำหมุนช้าๆ", "แป้งถูกเก็บไว้ในที่แห้ง"),
    "tr": ("Değirmen ırmağın kıyısında duruyor.", "Buğday iki kez öğütülür.", "İyi un sabır ister."),
    "zh": ("水磨在河边慢慢转动。", "麦子要磨两遍才细。", "面粉放在干燥的地方。"),
}


def documents(n: int, *, seed: int = 0, sentences: int = 4, duplicates: float = 0.0) -> list[Record]:
    """Make `n` records (id, text, lang); about the share `duplicates` of them repeats the text of an earlier one.

    Texts that are not such repeats are all different, however large `n` is.
    """
    chance = random.Random(seed)  # noqa: S311  not a secret
    languages = sorted(SENTENCES)
    made: list[Record] = []
    for i in range(n):
        if made and chance.random() < duplicates:
            earlier = made[chance.randrange(len(made))]
            made.append({"id": f"doc-{i:06d}", "text": earlier["text"], "lang": earlier["lang"]})
            continue
        lang = languages[i % len(languages)]
        chosen = [chance.choice(SENTENCES[lang]) for _ in range(sentences)]
        made.append({"id": f"doc-{i:06d}", "text": " ".join([f"({seed}.{i})", *chosen]), "lang": lang})
    return made


def jsonl(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Give the JSON lines of `records`, UTF-8, keys in their order."""
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def pack(content: bytes, name: str) -> bytes:
    """Compress `content` as the end of `name` says (`.gz`, `.zst`, else not at all), without a time or a name in it."""
    if name.endswith(".gz"):
        return gzip.compress(content, 6, mtime=0)
    if name.endswith(".zst"):
        return bytes(pa.compress(content, codec="zstd", asbytes=True))
    return content


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write `records` to a `.jsonl`, `.jsonl.gz` or `.jsonl.zst` file, making its folder; give the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(jsonl(records), path.name))
    return path
