"""The page of a run: `report.html`, made from `report.json` and the side files of the run, and small views for notebooks.

Not here: counting (`engine`), serving pages (`ui`). Invariants: the same files give the same page; a page holds no script, asks for
nothing, shows nothing unescaped, and holds no text of a document: at most its shape, letters and digits masked.
"""
