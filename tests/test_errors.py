"""Names from outside, as text that is safe on a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from netspec.errors import printable


def test_plain_names_stay_as_they_are():
    for name in ("cat/1.jpg", "c:\\x\\u202e", "Käfer", "\u732b", "cafe\u0301", "\U0001f469\u200d\U0001f52c.png"):
        assert printable(name) == printable(name.encode()) == name


def test_what_would_move_the_cursor_or_turn_the_text_is_escaped():
    assert printable("a\x1b[31m\r\n\x7f\x9b") == r"a\x1b[31m\x0d\x0a\x7f\x9b"
    assert printable("gpj.\u202egif\u2069\u200f\u2028") == r"gpj.\u202egif\u2069\u200f\u2028"
    assert printable(b"caf\xe9") == printable("caf\udce9") == r"caf\xe9"
    assert printable("\ud800") == r"\ud800"


@given(st.one_of(st.text(), st.binary(), st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]))))
def test_any_name_becomes_one_line_that_can_be_encoded(name):
    text = printable(name)
    text.encode()
    assert not {unicodedata.category(c) for c in text} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(c) for c in text} & set("LRE RLE PDF LRO RLO LRI RLI FSI PDI".split())
    assert printable(text) == text
