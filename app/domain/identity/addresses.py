"""Street addresses: words shortened by Amazon's lists, then only letters and digits."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from app.domain.identity.address_words import (
    COUNTRY_WORDS,
    DIRECTIONS,
    EVERYWHERE,
    NUMBER_WORDS,
    TEMPLATE_COUNTRY_WORDS,
    TEMPLATE_DIRECTIONS,
)
from app.domain.identity.letters import without_invisible

_Words = Mapping[str, str]
_NO_WORDS: Final[_Words] = {}

_DELIMITERS: Final = str.maketrans(
    {",": " ", ".": " ", "[": " ", "]": " ", "/": " ", "-": " ", "#": " number "}
)

# Only these letters are written out; every other accented letter is lost with the punctuation.
_ACCENTS: Final = str.maketrans(
    {
        "á": "a",
        "é": "e",
        "í": "i",
        "ó": "o",
        "ú": "u",
        "ß": "ss",
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "ø": "o",
        "æ": "ae",
    }
)

_NOT_ALNUM: Final = re.compile(r"[^A-Za-z0-9]+")
_WHITE_SPACE: Final = re.compile(r"\s+")


def amazon_address(text: str, country: str) -> str:
    """Shorten an address by the words of Amazon's normaliser and the event's country.

    Line breaks and other white space part words as a space does, invisible characters do not, and an accent
    counts the same however it was typed.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", without_invisible(text))
    words = _WHITE_SPACE.sub(" ", text)
    return _shortened(words, COUNTRY_WORDS.get(country, _NO_WORDS), DIRECTIONS)


def template_address(text: str, country: str) -> str:
    """Shorten an address exactly as Amazon's tag template does: only a space parts words."""
    return _shortened(text, TEMPLATE_COUNTRY_WORDS.get(country, _NO_WORDS), TEMPLATE_DIRECTIONS)


def _shortened(text: str, country_words: _Words, directions: _Words) -> str:
    """Apply the steps of Amazon's address rules, in their order. Source: contract §3.2.

    The lists for every country and for this one are read twice, since a word may come to light only when the
    punctuation around it is gone.
    """
    everywhere = _by_word(EVERYWHERE)
    here = _by_word(country_words)
    text = here(everywhere(text.strip().lower()))
    text = text.translate(_DELIMITERS)
    text = _by_word(NUMBER_WORDS)(_by_word(directions)(text))
    text = text.translate(_ACCENTS)
    text = here(everywhere(text))
    return _NOT_ALNUM.sub("", text)


def _by_word(words: _Words) -> Callable[[str], str]:
    def replaced(text: str) -> str:
        return " ".join([words.get(word, word) for word in text.split(" ")])

    return replaced
