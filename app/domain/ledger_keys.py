"""Ledger keys of event ids: 16 bytes each, computed from ids alone. Pure."""

from functools import lru_cache
from hashlib import blake2b

from app.domain.ids import AdvertiserId, DestinationId, MappingId, OrganisationId

KEY_BYTES = 16


def event_key(destination: DestinationId, mapping: MappingId, event_id: str) -> bytes:
    """Return the ledger key of a caller's event id: 16 bytes of (destination, mapping, event id)."""
    return _key(("event", destination, mapping), event_id)


def amazon_key(
    organisation: OrganisationId, region: str, advertiser: AdvertiserId, amazon_event_id: str
) -> bytes:
    """Return the ledger key of a mapped Amazon eventId.

    One per organisation: a duplicate must not reveal that another organisation uses the advertiser.
    """
    return _key(("amazon", organisation, region, advertiser), amazon_event_id)


def _key(scope: tuple[str, ...], last: str) -> bytes:
    # Parts are length-prefixed, so that different lists of parts never have the same bytes.
    digest = _scope(scope).copy()
    digest.update(_prefixed(last))
    return digest.digest()


@lru_cache(maxsize=16_384)
def _scope(parts: tuple[str, ...]) -> blake2b:
    # Cached: the same for every event of a mapping. A search by event id needs every mapping.
    return blake2b(b"".join(map(_prefixed, parts)), digest_size=KEY_BYTES)


def _prefixed(part: str) -> bytes:
    raw = part.encode()
    return len(raw).to_bytes(4, "big") + raw
