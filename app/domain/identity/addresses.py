"""Street addresses: abbreviate words by Amazon's lists, then keep letters and digits only."""

import re
from collections.abc import Mapping
from typing import Final

from app.domain.identity.address_words import (
    COUNTRY_WORDS,
    DIRECTIONS,
    EVERYWHERE,
    NUMBER_WORDS,
    TEMPLATE_COUNTRY_WORDS,
    TEMPLATE_DIRECTIONS,
)
from app.domain.identity.letters import composed, without_invisible

_Words = Mapping[str, str]
_DELIMITERS: Final = str.maketrans(
    {",": " ", ".": " ", "[": " ", "]": " ", "/": " ", "-": " ", "#": " number "}
)

# Only these letters are transliterated; any other accented letter is dropped with the punctuation.
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


def _one_after_the_other(first: _Words, then: _Words) -> _Words:
    """Merge two lists, for one pass instead of two."""
    return {**then, **{word: then.get(short, short) for word, short in first.items()}}


def _by_country(words: Mapping[str, _Words]) -> Mapping[str, _Words]:
    return {country: _one_after_the_other(EVERYWHERE, here) for country, here in words.items()}


_STREETS: Final = _by_country(COUNTRY_WORDS)
_PLACES: Final = _one_after_the_other(DIRECTIONS, NUMBER_WORDS)
_TEMPLATE_STREETS: Final = _by_country(TEMPLATE_COUNTRY_WORDS)
_TEMPLATE_PLACES: Final = _one_after_the_other(TEMPLATE_DIRECTIONS, NUMBER_WORDS)


def amazon_address(text: str, country: str) -> str:
    """Abbreviate an address by the words of Amazon's normaliser and the event's country.

    Any white space separates words; invisible characters do not. Both encodings of an accent give the same
    result.
    """
    words = _WHITE_SPACE.sub(" ", composed(without_invisible(text)))
    return _shortened(words, _STREETS.get(country, EVERYWHERE), _PLACES)


def template_address(text: str, country: str) -> str:
    """Abbreviate an address exactly as Amazon's tag template does: only a space separates words."""
    return _shortened(text, _TEMPLATE_STREETS.get(country, EVERYWHERE), _TEMPLATE_PLACES)


def _shortened(text: str, streets: _Words, places: _Words) -> str:
    """Apply the steps of Amazon's address rules in order. Source: contract §3.2.

    Street words are matched twice, because removing punctuation can reveal one.
    """
    text = _replaced(text.strip().lower(), streets)
    text = _replaced(text.translate(_DELIMITERS), places)
    if not text.isascii():
        text = text.translate(_ACCENTS)
    return _NOT_ALNUM.sub("", _replaced(text, streets))


def _replaced(text: str, words: _Words) -> str:
    return " ".join([words.get(word, word) for word in text.split(" ") if word])
