"""CSV and TSV, strict."""

from tests.fuzz.reading import read

from gristmill.sources.files import Files

COMMA, TAB = Files(path="*.csv", format="csv", id="id"), Files(path="*.tsv", format="csv")
SEEDS = [
    b'id,text\n1,a\n2,"b ""c"" \n d"\n3\n4,x,y\n',
    b"text\tn\r\nx\t1\r\ny\t\r\n",
    b'\xef\xbb\xbfid,text,text\n"1,never closed\n',
    b"id,text\n1,\xff\n\n,,\n",
]


def one(data: bytes) -> None:
    """Read it both ways."""
    read(COMMA, "f.csv", data)
    read(TAB, "f.tsv", data)
