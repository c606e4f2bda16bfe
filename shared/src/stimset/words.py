"""A digest as six words that two people can compare by telephone.

The words are proquints (arXiv 0901.4016): five letters for 16 bits, consonant and vowel in turn, pronounceable in
most languages. Six of them are 96 bits: nobody finds a second document with the same words.

Usage::

    spoken(hashlib.sha256(statement).hexdigest())      # 'bidol-tudor-...'
    same_words(heard, spoken(digest))
"""

from __future__ import annotations

import re

_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"
WORDS = 6


def spoken(sha256: str, words: int = WORDS) -> str:
    """The first ``16 * words`` bits of a digest in hex, as words joined by hyphens."""
    return "-".join(_word(int(sha256[4 * i : 4 * i + 4], 16)) for i in range(words))


def same_words(heard: str, expected: str) -> bool:
    """Whether two spellings (capitals, spaces, hyphens) are of the same words."""
    return re.sub(r"[\s,-]+", "", heard).lower() == expected.replace("-", "")


def _word(bits: int) -> str:
    return (
        _CONSONANTS[bits >> 12]
        + _VOWELS[bits >> 10 & 3]
        + _CONSONANTS[bits >> 6 & 15]
        + _VOWELS[bits >> 4 & 3]
        + _CONSONANTS[bits & 15]
    )
