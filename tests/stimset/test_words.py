"""Words that two people compare by telephone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stimset.words import same_words, spoken


def test_the_published_examples():
    """From arXiv 0901.4016: 127.0.0.1 and 63.84.220.193."""
    assert spoken("7f000001", 2) == "lusab-babad"
    assert spoken("3f54dcc1", 2) == "gutih-tugad"


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_words_say_the_first_96_bits(a, b):
    assert (spoken(a.hex()) == spoken(b.hex())) == (a[:12] == b[:12])
    assert same_words(spoken(a.hex()).upper().replace("-", " "), spoken(a.hex()))
    assert not same_words("", spoken(a.hex()))
