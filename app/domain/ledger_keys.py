"""Compute the keys of the ledger, which detects duplicate events: 16 bytes from ids alone."""

from functools import lru_cache
from hashlib import blake2b

from app.domain.ids import AdvertiserId, DestinationId, MappingId, OrganisationId

KEY_BYTES = 16


def event_key(destination: DestinationId, mapping: MappingId, event_id: str) -> bytes:
    """Return the ledger key of an event id: the caller's id, or the id derived from the content."""
    return _key(("event", destination, mapping), event_id)


def amazon_key(
    organisation: OrganisationId, region: str, advertiser: AdvertiserId, amazon_event_id: str
) -> bytes:
    """Return the ledger key of an Amazon eventId that the mapping sets.

    It contains the organisation, because a duplicate must not reveal that another organisation uses the
    same advertiser.
    """
    return _key(("amazon", organisation, region, advertiser), amazon_event_id)


def _key(scope: tuple[str, ...], last: str) -> bytes:
    # Each part is preceded by its length, so that different parts never give the same bytes.
    digest = _scope(scope).copy()
    digest.update(_prefixed(last))
    return digest.digest()


@lru_cache(maxsize=16_384)
def _scope(parts: tuple[str, ...]) -> blake2b:
    # All events of a mapping share a scope. The cache is large, because a search by event id needs every
    # mapping.
    return blake2b(b"".join(map(_prefixed, parts)), digest_size=KEY_BYTES)


def _prefixed(part: str) -> bytes:
    raw = part.encode()
    return len(raw).to_bytes(4, "big") + raw
