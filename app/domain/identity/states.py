"""Normalise states and provinces to the two-letter codes of the United States and Canada."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.domain.identity.letters import AMAZON_ACCENTS, keep, keep_composed, unaccented


def _codes(spellings: Mapping[str, str]) -> Mapping[str, str]:
    """Return the code of each name, and of each code itself."""
    names = {unaccented(name): code for code, of_code in spellings.items() for name in of_code.split(", ")}
    return {**dict(zip(spellings, spellings, strict=True)), **names}


# Names and codes of the states of the United States and Canada. Sources are in the file.
BY_COUNTRY: Final[Mapping[str, Mapping[str, str]]] = {
    country: _codes(spellings)
    for country, spellings in tomllib.loads(
        Path(__file__).with_name("states.toml").read_text("utf-8")
    ).items()
}

# The states of both countries, for the tag template: it ignores the country. No name or code is in both
# lists.
_EITHER: Final = {**BY_COUNTRY["CA"], **BY_COUNTRY["US"]}

_LETTERS_AND_DIGITS: Final = keep("a-z0-9")
_AS_A_CITY: Final = keep_composed("a-z0-9")


def amazon_state(text: str, country: str) -> str:
    """Return the two-letter code of a state in `country`, such as `ca` for `California` or `US-CA`.

    A name without a code is normalised like a city: lower case, only letters and digits.
    """
    names = BY_COUNTRY.get(country)
    if names is None:
        return _AS_A_CITY(text)
    name = unaccented(text)
    code = names.get(name)
    # ISO 3166-2 writes the country before the state: US-CA.
    if code is None and len(name) == 4 and name.startswith(country.lower()):
        code = names.get(name[2:])
    return code or _AS_A_CITY(text)


def template_state(text: str, country: str) -> str:
    """Return the two-letter code of a US or Canadian state, else the first two letters or digits of the name.

    Amazon's tag template has an error: West Virginia becomes `we`. This function does not reproduce it
    (position P8).
    """
    code = _EITHER.get(unaccented(text))
    return code or _LETTERS_AND_DIGITS(text.lower().translate(AMAZON_ACCENTS))[:2]
