"""Compute the keys of the ledger, which detects duplicate events: 16 bytes from ids alone."""

from functools import lru_cache
from hashlib import blake2b

from app.domain.ids import AdvertiserId, DestinationId, MappingId, OrganisationId

KEY_BYTES = 16


def event_key(destination: DestinationId, mapping: MappingId, event_id: str) -> bytes:
    """Return the ledger key of an event id: the caller's id, or the id derived from the content."""
    return _key(event_id, "event", destination, mapping)


def amazon_key(
    organisation: OrganisationId, region: str, advertiser: AdvertiserId, amazon_event_id: str
) -> bytes:
    """Return the ledger key of an Amazon eventId that the mapping sets.

    It contains the organisation, because a duplicate must not reveal that another organisation uses the
    same advertiser.
    """
    return _key(amazon_event_id, "amazon", organisation, region, advertiser)


def _key(last: str, *scope: str) -> bytes:
    # Each part is preceded by its length, so that different parts never give the same bytes.
    digest, raw = _scope(*scope).copy(), last.encode()
    digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.digest()


@lru_cache(maxsize=16_384)
def _scope(*parts: str) -> blake2b:
    # All events of a mapping share a scope. The cache is large, because a search by event id needs every
    # mapping.
    encoded = [part.encode() for part in parts]
    return blake2b(b"".join(len(raw).to_bytes(4, "big") + raw for raw in encoded), digest_size=KEY_BYTES)
