"""A batch: conversions of one destination that are stored together.

It has two parts. The content is the finished Amazon events, which the caller encrypts. The shapes are the
metadata of these events, without values of a person. Both are compressed. Digests of the ids in the shapes
tell which batches cannot hold an id.

Compression is zstd with a dictionary. It contains the texts that all Amazon events share, and tables that
zstd would otherwise build for each value. It halves the size and the compression time of a single event. The
dictionary must never change, because stored values can only be read with the same dictionary
(`dev.dictionary`, ADR 0043).
"""

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final
from zlib import crc32

import msgspec
import zstandard

from app.domain.event import JOURNEY_IDS
from app.domain.ids import BatchId

MAX_EVENTS = 500  # Amazon's limit for a request (P12); a batch must fit into one request
# Our limit for a request is 1 MB, because Amazon publishes none (P12). `{"events":[…]}` and the commas need
# some of these bytes.
MAX_BYTES = 1_000_000 - 64 - MAX_EVENTS
_YEAR_9999_MS = 253_370_764_800_000

_DICTIONARY: Final = Path(__file__).with_name("batch.zdict").read_bytes()
_LEVEL: Final = 1
_SMALL: Final = 8 * 1024  # the dictionary does not improve larger values, and slows their compression
MAGIC: Final = zstandard.MAGIC_NUMBER.to_bytes(4, "little")
_MAX_EXPANDED: Final = 64 * 1024 * 1024  # far above any batch; a damaged row must not use more memory


class EventMetadata(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The metadata of a stored event: ids, types and names. `place` is its position in the batch."""

    place: Annotated[int, msgspec.Meta(ge=0, lt=MAX_EVENTS)]
    event_id: str
    mapping: int
    mapping_version: int
    event_type: str
    event_at_ms: Annotated[int, msgspec.Meta(ge=0, lt=_YEAR_9999_MS)]
    match_keys: tuple[str, ...]
    warnings: tuple[tuple[str, str | None], ...]
    consent: str | None = None  # what consent was stated, or the hash of the consent string
    execution_id: str | None = None  # of the journey execution that sent the event
    journey_id: str | None = None
    node_id: str | None = None
    dropped_keys: tuple[tuple[str, str], ...] = ()  # (Amazon's match key type, reason) of dropped match keys
    traceparent: str | None = None  # of the request that contained the event
    request_id: str | None = None  # `X-Request-Id` of the same request
    event_source: str | None = None  # if the mapping reads it from the event

    @property
    def event_at(self) -> datetime:
        """The time of the event in UTC, to the millisecond."""
        return datetime.fromtimestamp(self.event_at_ms / 1000, UTC)


_content = msgspec.msgpack.Decoder(list[tuple[int, bytes]])
_shapes = msgspec.msgpack.Decoder(list[EventMetadata])
_encoder = msgspec.msgpack.Encoder()


class _Zstd(threading.local):
    """The compressors of one thread. Creating them takes longer than compressing one event."""

    def __init__(self) -> None:
        dictionary = zstandard.ZstdCompressionDict(_DICTIONARY)
        dictionary.precompute_compress(level=_LEVEL)
        # Without the checksum of 4 bytes, most flipped bits would decompress to wrong values unnoticed.
        self.compress = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress
        self.compress_small = zstandard.ZstdCompressor(
            level=_LEVEL, write_checksum=True, dict_data=dictionary
        ).compress
        self.decompress = zstandard.ZstdDecompressor(dict_data=dictionary).decompress


_zstd: Final = _Zstd()


def compress(plain: bytes) -> bytes:
    return (_zstd.compress_small if len(plain) <= _SMALL else _zstd.compress)(plain)


def expand(compressed: bytes, limit: int = _MAX_EXPANDED) -> bytes:
    """Decompress a value. Raises ValueError if it is damaged or expands to more than `limit` bytes."""
    try:
        # zstandard allocates the frame's declared size regardless of `max_output_size`.
        if zstandard.frame_content_size(compressed) > limit:
            raise ValueError("too large")
        return _zstd.decompress(compressed, max_output_size=limit)
    except zstandard.ZstdError as error:
        raise ValueError("not a compressed value") from error


def expanded(packed: bytes | None) -> bytes | None:
    """Return the decompressed value; None if it is missing or damaged."""
    try:
        return None if packed is None else expand(packed)
    except ValueError:
        return None


def pack(rows: Sequence[tuple[int, bytes]] | Sequence[EventMetadata]) -> bytes:
    """Return the compressed content of a batch, or the compressed metadata of its events.

    The content is finished Amazon events with their places, in their order. They are UTF-8 JSON and stored
    unchanged. The packed content must be encrypted.
    """
    return compress(_encoder.encode(rows))


def unpack_content(content: bytes) -> dict[int, bytes]:
    """Return the bodies of a batch by place. Raises ValueError if the content is damaged."""
    return dict(_content.decode(expand(content)))


def read_shapes(packed: bytes | None) -> list[EventMetadata] | None:
    """Return the metadata of a batch's events; None if the value is missing or damaged."""
    try:
        return None if packed is None else _shapes.decode(expand(packed))
    except ValueError:
        return None


def may_hold_id(packed: bytes | None, id_: str) -> bool:
    """Return False if the shapes of a batch cannot contain this id of a journey, execution or request.

    If the result is True, the caller must decode the shapes to be sure. MessagePack stores texts unchanged,
    so a search for the bytes costs a tenth of decoding.
    """
    plain = expanded(packed)
    return plain is None or id_.encode() in plain


_SAMPLED = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")


def sampled_traces(packed: bytes | None) -> list[str]:
    """Return the traceparents of a batch's events, only of traces that the callers sample.

    This function searches the packed bytes and does not decode the shapes.
    """
    found = _SAMPLED.finditer(expanded(packed) or b"")
    return [each.decode() for each in dict.fromkeys(match[0] for match in found)]


# --- Digests of ids, which tell which batches cannot hold an id -----------------------------------

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
