"""Find a person's match keys in conversions. A worker loads this module, but not the rules for identities."""

from collections.abc import Collection
from ipaddress import ip_address
from uuid import UUID

import msgspec


class _MatchKey(msgspec.Struct):
    values: list[str] = []


class _Body(msgspec.Struct):
    matchKeys: list[_MatchKey] = []


_bodies = msgspec.json.Decoder(_Body)


def folded(value: str) -> str:
    """Return the one form of a match key that is sent unhashed: profiles keep its case, dashes and braces."""
    plain = value.strip().lower()
    # Most values are digests. A UUID without dashes has 32 digits. Two failed conversions would cost five
    # times as much as the rest of a search.
    if len(plain) != 32 and plain.isalnum():
        return plain
    try:
        return str(UUID(plain))
    except ValueError:
        pass
    try:
        address = ip_address(plain)
    except ValueError:
        return plain
    return str(getattr(address, "ipv4_mapped", None) or address)


def carried_key(body: bytes, values: Collection[str]) -> str | None:
    """Return the first of these values that a conversion has as a match key, in any spelling, or None.

    The body is read once, so it costs the same for one value as for a million.
    """
    for key in _bodies.decode(body).matchKeys:
        for value in key.values:
            if value in values:
                return value
            if (plain := folded(value)) in values:
                return plain
    return None
