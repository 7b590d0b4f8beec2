"""A batch: conversions of one destination that are stored together.

Its content is encrypted before it is stored; its shapes are event metadata without values.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from app.domain.compression import compress, expand

MAX_EVENTS = 500  # P12: the limit of a request, and so of a batch
# P12 limits a request to 1 MB, of which {"events":[…]} and the commas take a part.
MAX_BYTES = 1_000_000 - 64 - MAX_EVENTS
_YEAR_9999_MS = 253_370_764_800_000


class EventMetadata(msgspec.Struct, array_like=True, frozen=True):
    """The metadata of a stored event, readable as long as its partition exists: ids and kinds, no values."""

    place: Annotated[int, msgspec.Meta(ge=0, lt=MAX_EVENTS)]
    event_id: str
    mapping: int
    mapping_version: int
    event_type: str
    event_at_ms: Annotated[int, msgspec.Meta(ge=0, lt=_YEAR_9999_MS)]
    match_keys: tuple[str, ...]
    warnings: tuple[tuple[str, str | None], ...]
    consent: str | None = None  # the consent pair of the event, or the hash of its consent string
    execution_id: str | None = None  # of the journey run that sent the event
    journey_id: str | None = None
    node_id: str | None = None
    dropped_keys: tuple[tuple[str, str], ...] = ()  # wire types of dropped match keys, with their reasons
    traceparent: str | None = None  # of the request that contained the event
    request_id: str | None = None  # of the same request, as its response shows it

    @property
    def event_at(self) -> datetime:
        """Return the event's own time, UTC, to the millisecond."""
        return _utc(self.event_at_ms)


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class PackedBatch(msgspec.Struct, frozen=True):
    """A batch ready to be encrypted: `content` is the compressed list of (place, body)."""

    content: bytes
    shapes: bytes
    events: int
    size: int
    first_event: datetime
    last_event: datetime

    __repr__ = object.__repr__


_content = msgspec.msgpack.Decoder(list[tuple[int, bytes]])
_shapes = msgspec.msgpack.Decoder(list[EventMetadata])
_encoder = msgspec.msgpack.Encoder()


def pack(bodies: Sequence[bytes], shapes: Sequence[EventMetadata]) -> PackedBatch:
    """Return the batch of these conversions; both sequences are in the same order.

    `bodies` are finished Amazon events as UTF-8 JSON; they are stored unchanged.
    """
    assert 0 < len(bodies) == len(shapes) <= MAX_EVENTS
    times = [shape.event_at_ms for shape in shapes]
    return PackedBatch(
        content=compress(content_of(bodies, shapes)),
        shapes=compress(shapes_of(shapes)),
        events=len(bodies),
        size=sum(map(len, bodies)),
        first_event=_utc(min(times)),
        last_event=_utc(max(times)),
    )


def content_of(bodies: Sequence[bytes], shapes: Sequence[EventMetadata]) -> bytes:
    """Return the content of a batch before its compression."""
    return _encoder.encode([(shape.place, body) for shape, body in zip(shapes, bodies, strict=True)])


def shapes_of(shapes: Sequence[EventMetadata]) -> bytes:
    """Return the shapes of a batch before their compression."""
    return _encoder.encode(shapes)


def repack(bodies: Mapping[int, bytes]) -> bytes:
    """Return the content of a batch without its erased conversions; the others keep their positions."""
    return compress(_encoder.encode(sorted(bodies.items())))


def unpack_content(content: bytes) -> dict[int, bytes]:
    """Return the bodies of a batch by place. Raises ValueError when it is damaged."""
    return dict(_content.decode(expand(content)))


def read_shapes(packed: bytes | None) -> list[EventMetadata] | None:
    """Return the shapes of a batch in order of place; None where the value is missing or damaged."""
    try:
        return None if packed is None else _shapes.decode(expand(packed))
    except ValueError:
        return None


def may_hold_id(packed: bytes | None, id_: str) -> bool:
    """Return whether the shapes of a batch may contain this id of a journey, execution or request, without
    decoding.

    MessagePack stores texts unchanged, so searching for the bytes costs a tenth of decoding. Also True if
    another text contains them or the value is damaged: the caller then reads the shapes.
    """
    try:
        return packed is None or id_.encode() in expand(packed)
    except ValueError:
        return True


_SAMPLED = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")


def sampled_traces(packed: bytes | None, most: int = 8) -> list[str]:
    """Return some sampled traces of a batch's requests, found without decoding its shapes."""
    try:
        found = {match[0]: None for match in _SAMPLED.finditer(b"" if packed is None else expand(packed))}
    except ValueError:
        return []
    return [each.decode() for each in found][:most]
