"""Normalise states and provinces to the two-letter codes of the United States and Canada."""

from collections.abc import Mapping
from typing import Final

from app.domain.identity.letters import AMAZON_ACCENTS, alnum, alnum_composed, unaccented
from app.domain.toml_files import read_toml


def _codes(spellings: Mapping[str, str]) -> Mapping[str, str]:
    """Return the code of each name, and of each code itself."""
    names = {unaccented(name): code for code, of_code in spellings.items() for name in of_code.split(", ")}
    return {**dict(zip(spellings, spellings, strict=True)), **names}


# Names and codes of the states of the United States and Canada. Sources are in the file.
BY_COUNTRY: Final[Mapping[str, Mapping[str, str]]] = {
    country: _codes(spellings) for country, spellings in read_toml(__file__).items()
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
        return alnum_composed(text)
    name = unaccented(text)
    code = names.get(name)
    # ISO 3166-2 writes the country before the state: US-CA.
    if code is None and len(name) == 4 and name.startswith(country.lower()):
        code = names.get(name[2:])
    return code or alnum_composed(text)


def template_state(text: str, country: str) -> str:
    """Return the two-letter code of a US or Canadian state, else the first two letters or digits of the name.

    Amazon's tag template has an error: West Virginia becomes `we`. This function does not reproduce it
    (position P8).
    """
    code = _EITHER.get(unaccented(text))
    return code or alnum(text.lower().translate(AMAZON_ACCENTS))[:2]
