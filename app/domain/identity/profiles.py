"""The three identity profiles as tables: each type of match key has a rule, and the rule has a source.

Street addresses and states are abbreviated by lists. `address_words.toml` has Amazon's lists for addresses: a
short word there has the words that it replaces. `states.toml` has the states and provinces of the United
States and Canada.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.identity.identifiers import amazon_ip_address, amazon_maid, maid, match_id, raw
from app.domain.identity.keys import DropReason, MatchKeyType, Profile
from app.domain.identity.phones import amazon_phone, segment_phone, template_phone
from app.domain.identity.placeholders import NOTHING_WORDS, is_placeholder, is_placeholder_or_digest
from app.domain.privacy.normal_forms import stream_safe
from app.domain.toml_files import read_toml

# --- Letters --------------------------------------------------------------------------------------

# How Amazon's address rules and tag template write accented letters. They drop all other accented letters.
AMAZON_ACCENTS: Final = str.maketrans(
    {**dict(zip("áéíóúø", "aeiouo", strict=True)), "ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "æ": "ae"}
)


def keep(characters: str) -> Callable[[str], str]:
    """Return a function that converts a text to lower case and keeps only `characters`.

    `characters` is the inside of a regular expression's character class. A combining accent is removed but
    not its letter, as in the connectors whose results this rule reproduces.
    """
    strip = re.compile(f"[^{characters}]+")
    return lambda text: strip.sub("", text.lower())


def keep_composed(characters: str) -> Callable[[str], str]:
    """Return a function like the result of `keep`, which also removes the letter of a combining accent.

    `é` can be one character, or `e` and a combining accent. Both forms give the same result, so that a person
    has one hash.
    """
    normalise = keep(characters)
    return lambda text: normalise(composed(text))


alnum: Final = keep("a-z0-9")
alnum_composed: Final = keep_composed("a-z0-9")


def composed(text: str) -> str:
    """Replace each letter with combining accents by one character, if Unicode has it (form C)."""
    return text if text.isascii() else unicodedata.normalize("NFC", stream_safe(text))


def unaccented(text: str) -> str:
    """Return a text in lower case with only its letters and digits, without accents, to look up a name."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", stream_safe(text))
    return alnum(text)


def without_invisible(text: str) -> str:
    """Remove format characters, such as zero-width spaces, byte order marks and direction marks."""
    if text.isascii():
        return text
    return "".join([char for char in text if unicodedata.category(char) != "Cf"])


# --- Addresses ------------------------------------------------------------------------------------

_Words = Mapping[str, str]
_DELIMITERS: Final = str.maketrans({**dict.fromkeys(",.[]/-", " "), "#": " number "})
_WHITE_SPACE: Final = re.compile(r"\s+")

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
    words = _WHITE_SPACE.sub(" ", composed(without_invisible(text)))
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
        text = text.translate(AMAZON_ACCENTS)
    return alnum(_abbreviate(text, streets))


def _abbreviate(text: str, words: _Words) -> str:
    return " ".join([words.get(word, word) for word in text.split(" ") if word])


# --- States ---------------------------------------------------------------------------------------


def _codes(spellings: Mapping[str, str]) -> Mapping[str, str]:
    """Return the code of each name, and of each code itself."""
    names = {unaccented(name): code for code, of_code in spellings.items() for name in of_code.split(", ")}
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


# --- Profiles -------------------------------------------------------------------------------------

# Arguments: trait, country. Returns the normalised text, which is never empty, or why the trait is dropped.
Clean = Callable[[str, str], str | DropReason]


@dataclass(frozen=True, slots=True)
class ProfileRule:
    """How a profile normalises one type of match key. `source` names Amazon's or a connector's rule."""

    name: str
    source: str
    clean: Clean


def _if_any(rule: Callable[[str, str], str]) -> Clean:
    """Drop a trait that becomes empty: the hash of an empty text would match many people (P9)."""
    return lambda text, country: rule(text, country) or DropReason.EMPTY


def _letters(rule: Callable[[str], str]) -> Clean:
    return _if_any(lambda text, _country: rule(text))


def _trim(rule: Clean) -> Clean:
    return lambda text, country: rule(text.strip(), country)


def _unless(drops: Callable[[str], DropReason | None], rule: Clean) -> Clean:
    """Drop what is no trait before the rule is applied. An id may look like a digest."""
    return lambda text, country: drops(text) or rule(text, country)


# Source: RFC 5321, 4.5.3.1.3. It allows 256 octets with the two brackets around the address.
_LONGEST_ADDRESS: Final = 254

_email_characters = keep_composed("a-z0-9.@-")

# One `@`, with at least one letter or digit on each side.
_ADDRESS: Final = re.compile(r"[.-]*[a-z0-9][a-z0-9.-]*@[.-]*[a-z0-9][a-z0-9.-]*")


def amazon_email(text: str, country: str) -> str | DropReason:
    """Convert an address to lower case and keep only `a-z 0-9 . @ -`; drop the trait if no address remains.

    Letters with accents and of other scripts are removed, as Amazon's schema requires. Source: P8, P9.
    """
    plain = text.strip().lower()
    # Fast path: most addresses are already normalised, and a placeholder does not match.
    if len(plain) <= _LONGEST_ADDRESS and _ADDRESS.fullmatch(plain):
        return plain
    if dropped := is_placeholder_or_digest(text):
        return dropped
    address = _email_characters(text)
    if not address:
        return DropReason.EMPTY
    if len(address) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(address):
        return DropReason.NOT_AN_EMAIL
    return address


def _amazon_postal(text: str, country: str) -> str | DropReason:
    """Keep letters and digits; drop a code of zeros.

    If the event's country is the US, keep only the first five digits. If a letter is among the first five
    characters, the code is not a ZIP code and is kept.
    """
    postal = alnum_composed(text)
    if not postal:
        return DropReason.EMPTY
    if not postal.strip("0"):
        return DropReason.PLACEHOLDER
    return postal[:5] if country == "US" and postal[:5].isdecimal() else postal


# The white space of ECMAScript, as in Segment's connector. Python's `\s` differs in six characters.
_ECMA_SPACE: Final = re.compile(r"[\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]+")


def _segment_postal(text: str, country: str) -> str:
    return _ECMA_SPACE.sub("", text.lower())


def _template_postal(text: str, country: str) -> str:
    return alnum(text.partition("-")[0])


_T = MatchKeyType
_Rules = Mapping[MatchKeyType, tuple[str, Clean]]

_careful_name = _unless(is_placeholder_or_digest, _letters(alnum_composed))
_SHORTER_THAN_A_DIGEST: Final = 32


def _amazon_name(text: str, country: str) -> str | DropReason:
    """Return what `_careful_name` returns, faster for plain names: lower case, only letters and digits."""
    if text.isascii() and text.isalnum() and len(text) < _SHORTER_THAN_A_DIGEST and text not in NOTHING_WORDS:
        return text.lower()
    return _careful_name(text, country)


_NAMES: Final = (_T.FIRST_NAME, _T.LAST_NAME)
_IDS: Final = (_T.RAMP_ID, _T.REAL_ID, _T.MERKLE_ID, _T.KANTAR_ID)  # of partners
_AMAZON: Final[_Rules] = {
    _T.EMAIL: ("P8, the schema's text: a-z 0-9 . @ - kept", amazon_email),
    _T.PHONE: ("P8, P9: digits with country code", amazon_phone),
    **dict.fromkeys((*_NAMES, _T.CITY), ("P8: a-z 0-9 kept", _amazon_name)),
    _T.ADDRESS: (
        "P8, contract §3.2: the public normaliser's words",
        _unless(is_placeholder_or_digest, _if_any(amazon_address)),
    ),
    _T.STATE: (
        "P8: two letters in US and CA, else as city",
        _unless(is_placeholder_or_digest, _if_any(amazon_state)),
    ),
    _T.POSTAL: ("P8: a-z 0-9 kept, US cut to five", _unless(is_placeholder_or_digest, _amazon_postal)),
    _T.MAID: ("P8, P9: unhashed, a UUID", amazon_maid),
    _T.MATCH_ID: ("P8: unhashed, at most 100 characters", _unless(is_placeholder, _trim(match_id))),
    **dict.fromkeys(_IDS, ("P8: unhashed", _unless(is_placeholder, _trim(raw)))),
    _T.FIP: ("the schema: a full IPv4 or IPv6 address; public", _unless(is_placeholder, amazon_ip_address)),
}

_SEGMENT: Final[_Rules] = {
    _T.EMAIL: ("Segment 2026-08: lower, a-z 0-9 . @ + - kept", _letters(keep("a-z0-9.@+-"))),
    _T.PHONE: ("Segment 2026-08: digits", segment_phone),
    **dict.fromkeys(
        (*_NAMES, _T.ADDRESS, _T.CITY, _T.STATE), ("Segment 2026-08: lower, a-z 0-9 kept", _letters(alnum))
    ),
    _T.POSTAL: ("Segment 2026-08: lower, white space removed", _if_any(_segment_postal)),
    _T.MAID: ("Segment 2026-08: untouched", maid),
    _T.MATCH_ID: ("Segment 2026-08: untouched", match_id),
    **dict.fromkeys((*_IDS, _T.FIP), ("Segment 2026-08: untouched", raw)),
}

_AMAZON_GTM: Final[_Rules] = {
    _T.EMAIL: ("tag template 2026-09: lower, a-z 0-9 . @ _ - kept", _letters(keep("a-z0-9.@_-"))),
    _T.PHONE: ("tag template 2026-09: digits after the country's code", template_phone),
    **dict.fromkeys(_NAMES, ("tag template 2026-09: lower, a-z kept", _letters(keep("a-z")))),
    _T.ADDRESS: ("tag template 2026-09: its words", _if_any(template_address)),
    _T.CITY: ("tag template 2026-09: lower, a-z 0-9 kept", _letters(alnum)),
    _T.STATE: ("P8: the correct table, else the first two", _if_any(template_state)),
    _T.POSTAL: ("tag template 2026-09: cut at the first dash, a-z 0-9 kept", _if_any(_template_postal)),
    _T.MAID: ("tag template 2026-09: trimmed", _trim(maid)),
    _T.MATCH_ID: ("tag template 2026-09: trimmed", _trim(match_id)),
    **dict.fromkeys((*_IDS, _T.FIP), ("tag template 2026-09: trimmed", _trim(raw))),
}


PROFILES: Final[Mapping[Profile, Mapping[MatchKeyType, ProfileRule]]] = {
    profile: {kind: ProfileRule(f"{profile}.{kind.lower()}", *rule) for kind, rule in rules.items()}
    for profile, rules in zip(Profile, (_AMAZON, _SEGMENT, _AMAZON_GTM), strict=True)
}
