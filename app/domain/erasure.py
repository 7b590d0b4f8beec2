"""Finding a person in finished conversions: what was said, as every identity profile writes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from app.domain.conversion.countries import COUNTRIES
from app.domain.identity import MATCH_KEYS, MatchKey, Profile, match_key

HASH: Final = "hash"
# What one person has for themselves. A name, a city or a postal code is many people's, so it finds nobody.
FINDING: Final = ("email", "phone", "maid", "ramp_id", "match_id", "real_id", "merkle_id", "kantar_id", "fip")

_RULES: Final = {rule.field: rule for rule in MATCH_KEYS}


@dataclass(frozen=True, slots=True)
class ErasureKeys:
    """Values that a match key of the person may have, hashed where Amazon wants them hashed."""

    values: frozenset[str] = field(repr=False)


class _MatchKey(msgspec.Struct):
    values: list[str] = []


class _Body(msgspec.Struct):
    matchKeys: list[_MatchKey] = []


_bodies = msgspec.json.Decoder(_Body)


def erasure_keys(said: Mapping[str, str]) -> ErasureKeys:
    """Return what to look for. `said` maps fields of FINDING, or `hash`, to values in clear or hashed.

    A phone number without its country may be anybody's country's: all of them are tried.
    """
    values: set[str] = set()
    for name, text in said.items():
        # A digest or an identifier was perhaps given to the mapping as it is, and taken so.
        values |= {text.strip(), text.strip().lower()}
        if name == HASH:
            continue
        rule = _RULES[name]
        for country in sorted(COUNTRIES) if name == "phone" else ["US"]:
            for profile in Profile:
                key = match_key(profile, rule, text, country=country)
                if isinstance(key, MatchKey):
                    values.add(key.value)
    return ErasureKeys(frozenset(values))


def carries_key(body: bytes, looked_for: frozenset[str]) -> bool:
    """Tell whether a conversion carries one of these values as a match key."""
    return any(not looked_for.isdisjoint(key.values) for key in _bodies.decode(body).matchKeys)
