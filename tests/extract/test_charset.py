"""Bytes become the right characters, or are refused: every candidate in its order, strictly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.extract.charset import MAX_REPLACED, decode

GERMAN = "<p>Grüße aus Köln, größer als je zuvor</p>"
KOREAN = "<p>안녕하세요 여러분 반갑습니다 오늘은 좋은 날씨입니다 내일도 맑겠습니다</p>"
JAPANESE = "<p>これは日本語の文章です。今日はとても良い天気ですね。</p>"
RUSSIAN = "<p>Привет, как дела у вас сегодня? Сегодня хорошая погода.</p>"
CHINESE = "<p>镕基中国人民日报今天天气很好我们去公园散步</p>"


@pytest.mark.parametrize(
    ("text", "encoding", "header", "meta"),
    [
        (GERMAN, "utf-8", None, ""),
        (GERMAN, "utf-8", "text/html; charset=UTF-8", ""),
        (GERMAN, "cp1252", "text/html; charset=ISO-8859-1", ""),
        (GERMAN, "cp1252", None, '<meta charset="latin1">'),
        (GERMAN, "iso8859-15", None, "<meta http-equiv=Content-Type content='text/html; charset=iso-8859-15'>"),
        (GERMAN, "utf-16", None, ""),
        (GERMAN, "utf-16-le", None, ""),
        (GERMAN, "utf-16-be", "text/html; charset=utf-8", ""),
        (GERMAN, "utf-32", None, ""),
        (GERMAN, "utf-8-sig", "iso-8859-1", ""),
        (KOREAN, "euc_kr", None, ""),
        (KOREAN, "cp949", "ks_c_5601-1987", ""),
        (JAPANESE, "cp932", None, "<meta charset=x-sjis>"),
        (JAPANESE, "euc_jp", None, ""),
        (JAPANESE, "iso2022_jp", "iso-2022-jp", ""),
        (RUSSIAN, "cp1251", None, ""),
        (RUSSIAN, "koi8_r", "koi8-r", ""),
        (CHINESE, "gb18030", None, "<meta charset=gb2312>"),
        (CHINESE, "utf-8", None, "<?xml version='1.0' encoding='utf-8'?>"),
        ("<p>今天天氣很好我們去公園散步</p>", "big5hkscs", "big5", ""),
    ],
)
def test_text_is_read_as_it_was_written(text, encoding, header, meta):
    decoded = decode((meta + text).encode(encoding), header)
    assert decoded.text == meta + text
    assert decoded.replaced == 0


@pytest.mark.parametrize(
    ("data", "header", "charset"),
    [
        ("<p>Grüße aus Köln, größer</p>".encode(), "text/html; charset=iso-8859-1", "utf-8"),
        ("<meta charset=utf-8><p>Grüße</p>".encode("cp1252"), None, "cp1252"),
        (b'<meta charset="utf-16"><p>plain</p>', None, "utf-8"),
        (b"<p>plain</p>", "text/html; charset=no-such-thing", "utf-8"),
        (b"<p>plain</p>", "text/html", "utf-8"),
    ],
)
def test_a_charset_that_is_not_so_is_not_believed(data, header, charset):
    decoded = decode(data, header)
    assert decoded.charset == charset
    assert "�" not in decoded.text


def test_utf8_told_by_the_page_is_believed_before_a_single_byte_header_only_when_it_shows():
    assert decode("<p>Ã©</p>".encode("cp1252"), "windows-1252").text == "<p>Ã©</p>"


def test_few_bad_bytes_are_replaced_and_counted_and_many_are_over_the_limit():
    decoded = decode((JAPANESE * 20).encode() + b"\xe3\x81")
    assert (decoded.charset, decoded.warnings) == ("utf-8", ["charset.replaced"])
    assert 0 < decoded.replaced < MAX_REPLACED
    assert decode(b"\xff\xfe<\0x").replaced > MAX_REPLACED


@settings(max_examples=examples(80), deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([None, "utf-8", "text/html; charset=gbk", "utf-16", "x", "iso-2022-jp", ";;"]),
)
def test_any_bytes_give_text_and_honest_counts(data, header):
    decoded = decode(data, header)
    assert decoded.replaced == 0 or "�" in decoded.text
    decoded.text.encode("utf-8", "surrogatepass")
