"""Find the conversions of a person by the match keys that the person's identifiers can become."""

from collections.abc import Mapping
from typing import Final

import msgspec

from app.domain.conversion.countries import COUNTRIES
from app.domain.identity import MATCH_KEYS, MatchKey, Profile, match_key

HASH: Final = "hash"
# Fields that identify one person. A name, a city or a postal code belongs to many people.
IDENTIFYING_FIELDS: Final = (
    "email",
    "phone",
    "maid",
    "ramp_id",
    "match_id",
    "real_id",
    "merkle_id",
    "kantar_id",
    "fip",
)

_RULES: Final = {rule.field: rule for rule in MATCH_KEYS}


class _MatchKey(msgspec.Struct):
    values: list[str] = []


class _Body(msgspec.Struct):
    matchKeys: list[_MatchKey] = []


_bodies = msgspec.json.Decoder(_Body)


def erasure_keys(identifiers: Mapping[str, str]) -> frozenset[str]:
    """Return every value that a match key of the person can have, under each identity profile.

    `identifiers` has names of IDENTIFYING_FIELDS, or `hash`; its values are in clear text or hashed. A phone
    number without a country code is tried in every country.
    """
    values: set[str] = set()
    for name, text in identifiers.items():
        # A match key can also be the identifier itself, such as a digest from the caller.
        values |= {text.strip(), text.strip().lower()}
        if name == HASH:
            continue
        rule = _RULES[name]
        for country in sorted(COUNTRIES) if name == "phone" else ["US"]:
            for profile in Profile:
                key = match_key(profile, rule, text, country=country)
                if isinstance(key, MatchKey):
                    values.add(key.value)
    return frozenset(values)


def carries_key(body: bytes, values: frozenset[str]) -> bool:
    """Return whether a conversion has one of these values as a match key."""
    return any(not values.isdisjoint(key.values) for key in _bodies.decode(body).matchKeys)
