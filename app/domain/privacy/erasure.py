"""The match keys that a person's identifiers can become. `carried_key.py` finds them in conversions."""

import unicodedata
from collections.abc import Mapping
from itertools import product
from typing import Final

from app.domain.conversion.amazon_codes import COUNTRIES
from app.domain.identity import match_key
from app.domain.identity.keys import MATCH_KEYS, RULES_BY_FIELD, MatchKey, Profile
from app.domain.identity.phones import phone_spellings
from app.domain.privacy.carried_key import folded

HASH: Final = "hash"
# Fields that identify one person, as each id does. A name, a city or a postal code belongs to many people.
IDENTIFYING_FIELDS: Final = ("email", "phone", *(rule.field for rule in MATCH_KEYS if not rule.hashed))


def erasure_keys(identifiers: Mapping[str, str]) -> Mapping[str, frozenset[str]]:
    """Return, for each identifier, every value that a match key of the person can have.

    `identifiers` has names of IDENTIFYING_FIELDS, or `hash`; its values are in clear text or hashed. The
    values cover every identity profile and every spelling of the identifier. There are none if no profile can
    make a match key of it. A phone number without a country code is read in every country.
    """
    return {name: _keys_of(name, text) for name, text in identifiers.items()}


def _keys_of(name: str, text: str) -> frozenset[str]:
    # A digest is judged as that of an e-mail address: the rules are the same for all fields.
    rule = RULES_BY_FIELD["email" if name == HASH else name]
    countries = sorted(COUNTRIES) if name == "phone" else ["US"]
    # Letters with accents can be one character or two, and the profiles keep different ones.
    spellings = {text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))}
    judged = [
        match_key(profile, rule, spelling, country=country)
        for profile, spelling, country in product(Profile, spellings, countries)
    ]
    if name == "phone":
        # Segment's connector hashes all digits: no country changes the number into that of another person.
        others = phone_spellings(text, countries)
        judged += [match_key(Profile.SEGMENT, rule, each, country="US") for each in others]
    keys = {key.value for key in judged if isinstance(key, MatchKey)}
    if not keys:
        return frozenset()
    # A match key can be the identifier itself, for example if the caller sent a digest.
    own = {text.strip(), text.strip().lower()}
    return frozenset(keys | own | {folded(value) for value in keys | own})
