"""Normalise street addresses and states: abbreviate them by lists, then keep only letters and digits.

`address_words.toml` has Amazon's lists for addresses: a short word there has the words that it replaces.
`states.toml` has the states and provinces of the United States and Canada.
"""

import re
from collections.abc import Mapping
from typing import Final

from app.domain.identity import letters
from app.domain.toml_files import read_toml

_Words = Mapping[str, str]
_DELIMITERS: Final = str.maketrans({**dict.fromkeys(",.[]/-", " "), "#": " number "})
_WHITE_SPACE: Final = re.compile(r"\s+")


# --- Addresses ------------------------------------------------------------------------------------

# The lists by name: for each long word the short one.
WORDS: Final[Mapping[str, _Words]] = {
    name: {word: short for short, words in rows.items() for word in words.split()}
    for name, rows in read_toml(__file__, "address_words").items()
}
EVERYWHERE: Final = WORDS["everywhere"]
# Amazon lists no further words for Canada, Germany, Japan and India.
COUNTRY_WORDS: Final = {country: WORDS[country] for country in ("US", "GB", "FR", "IT", "ES")}
# The template never applies its British list, because it has the key `uk` instead of the country code `gb`.
TEMPLATE_COUNTRY_WORDS: Final = {
    country: {**WORDS[country], **WORDS.get(f"template_{country}", {})}
    for country in ("US", "FR", "IT", "ES")
}


def _merge(first: _Words, then: _Words) -> _Words:
    """Merge two word lists, so that one pass replaces words by `first` and then by `then`."""
    return {**then, **{word: then.get(short, short) for word, short in first.items()}}


def _by_country(words: Mapping[str, _Words]) -> Mapping[str, _Words]:
    return {country: _merge(EVERYWHERE, here) for country, here in words.items()}


_STREETS: Final = _by_country(COUNTRY_WORDS)
_PLACES: Final = _merge(WORDS["directions"], WORDS["number"])
_TEMPLATE_STREETS: Final = _by_country(TEMPLATE_COUNTRY_WORDS)
_TEMPLATE_PLACES: Final = _merge(WORDS["template_directions"], WORDS["number"])


def amazon_address(text: str, country: str) -> str:
    """Normalise an address by the rules and words of Amazon's public normaliser.

    Any white space separates words, and invisible characters are removed. An accented letter gives the same
    result in both of its Unicode forms: one character, or a letter and a combining mark.
    """
    words = _WHITE_SPACE.sub(" ", letters.composed(letters.without_invisible(text)))
    return _apply_rules(words, _STREETS.get(country, EVERYWHERE), _PLACES)


def template_address(text: str, country: str) -> str:
    """Normalise an address exactly as Amazon's tag template does: only a space separates words."""
    return _apply_rules(text, _TEMPLATE_STREETS.get(country, EVERYWHERE), _TEMPLATE_PLACES)


def _apply_rules(text: str, streets: _Words, places: _Words) -> str:
    """Apply the steps of Amazon's address rules in their order. Source: contract §3.2.

    Words of streets are abbreviated twice, because more of them appear when delimiters become spaces.
    """
    text = _abbreviate(text.strip().lower(), streets)
    text = _abbreviate(text.translate(_DELIMITERS), places)
    if not text.isascii():
        text = text.translate(letters.AMAZON_ACCENTS)
    return letters.alnum(_abbreviate(text, streets))


def _abbreviate(text: str, words: _Words) -> str:
    return " ".join([words.get(word, word) for word in text.split(" ") if word])


# --- States ---------------------------------------------------------------------------------------


def _codes(spellings: Mapping[str, str]) -> Mapping[str, str]:
    """Return the code of each name, and of each code itself."""
    names = {
        letters.unaccented(name): code for code, of_code in spellings.items() for name in of_code.split(", ")
    }
    return {**dict(zip(spellings, spellings, strict=True)), **names}


# Names and codes of the states of the United States and Canada. Sources are in the file.
BY_COUNTRY: Final[Mapping[str, Mapping[str, str]]] = {
    country: _codes(spellings) for country, spellings in read_toml(__file__, "states").items()
}

# The states of both countries, for the tag template: it ignores the country. No name or code is in both
# lists.
_EITHER: Final = {**BY_COUNTRY["CA"], **BY_COUNTRY["US"]}


def amazon_state(text: str, country: str) -> str:
    """Return the two-letter code of a state in `country`, such as `ca` for `California` or `US-CA`.

    A name without a code is normalised like a city: lower case, only letters and digits.
    """
    names = BY_COUNTRY.get(country)
    if names is None:
        return letters.alnum_composed(text)
    name = letters.unaccented(text)
    code = names.get(name)
    # ISO 3166-2 writes the country before the state: US-CA.
    if code is None and len(name) == 4 and name.startswith(country.lower()):
        code = names.get(name[2:])
    return code or letters.alnum_composed(text)


def template_state(text: str, country: str) -> str:
    """Return the two-letter code of a US or Canadian state, else the first two letters or digits of the name.

    Amazon's tag template has an error: West Virginia becomes `we`. This function does not reproduce it
    (position P8).
    """
    code = _EITHER.get(letters.unaccented(text))
    return code or letters.alnum(text.lower().translate(letters.AMAZON_ACCENTS))[:2]
