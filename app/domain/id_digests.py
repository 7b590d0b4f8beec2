"""Digests of the ids of stored events: they tell which batches cannot hold an id."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from zlib import crc32

from app.domain.batch import EventMetadata
from app.domain.event import JOURNEY_IDS
from app.domain.ids import BatchId

SEARCHED_IDS: Final = ("event_id", *JOURNEY_IDS, "request_id")
"""The members of an event's metadata by which a search finds the event."""

_BYTES: Final = 3  # of a digest: a range of 600 ids seems to hold another id once in 10,000 times
_MOST_DIGESTS: Final = 600  # of a range, unless a single batch has more


@dataclass(frozen=True, slots=True)
class SearchedBatch:
    """A batch and its events; `shapes` is None if they cannot be read."""

    organisation_id: str
    id: BatchId
    day: date
    shapes: Sequence[EventMetadata] | None


@dataclass(slots=True)
class DigestRange:
    """The digests of an organisation's batches from `first` to `last`; None if one of them is unreadable.

    `day` is the day of the last batch.
    """

    organisation_id: str
    first: BatchId
    last: BatchId
    day: date
    digests: set[bytes] | None

    @property
    def is_full(self) -> bool:
        """Return whether the next batch begins another range."""
        return self.digests is not None and len(self.digests) >= _MOST_DIGESTS


def digest_of(id_: str) -> bytes:
    """Return the digest of an id. Many ids share a digest, so it only excludes batches."""
    return (crc32(id_.encode()) % (1 << 8 * _BYTES)).to_bytes(_BYTES, "big")


def digest_ranges(found: Iterable[SearchedBatch]) -> list[DigestRange]:
    """Return the ranges of these batches, which come in the order of their ids."""
    ranges: list[DigestRange] = []
    open_ranges: dict[str, DigestRange] = {}
    for batch in found:
        current = open_ranges.get(batch.organisation_id)
        if current is None or current.is_full:
            current = DigestRange(batch.organisation_id, batch.id, batch.id, batch.day, set())
            open_ranges[batch.organisation_id] = current
            ranges.append(current)
        current.last, current.day = batch.id, batch.day
        if batch.shapes is None:
            current.digests = None
        elif current.digests is not None:
            ids = {getattr(shape, name) for shape in batch.shapes for name in SEARCHED_IDS} - {None}
            current.digests.update(map(digest_of, ids))
    return ranges
