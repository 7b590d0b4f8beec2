"""A batch: conversions of one destination stored together; content to be sealed, shapes value-free."""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import zstandard

MAX_EVENTS = 500  # P12: what one request may carry, and so what one batch may
# P12 caps a request at 1 MB; the envelope {"events":[…]} and the commas between take their share.
MAX_BYTES = 1_000_000 - 64 - MAX_EVENTS
_YEAR_9999_MS = 253_370_764_800_000


class EventMetadata(msgspec.Struct, array_like=True, frozen=True):
    """What may be said of a stored event for as long as its partition lives: ids and kinds, never values."""

    place: Annotated[int, msgspec.Meta(ge=0, lt=MAX_EVENTS)]
    event_id: str
    mapping: int
    mapping_version: int
    event_type: str
    event_at_ms: Annotated[int, msgspec.Meta(ge=0, lt=_YEAR_9999_MS)]
    match_keys: tuple[str, ...]
    warnings: tuple[tuple[str, str | None], ...]
    consent: str | None = None  # the pair an event gave, or the hash of its consent string
    execution_id: str | None = None  # of the journey run that sent it

    @property
    def event_at(self) -> datetime:
        """Return the event's own time, UTC, to the millisecond."""
        return _at(self.event_at_ms)


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


class PackedBatch(msgspec.Struct, frozen=True):
    """A batch ready to be sealed: `content` is the compressed list of (place, body)."""

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
# Up to so many bytes of shapes (two events or three) a table of their letters saves few bytes and takes 3 µs.
_LITTLE = 320
_MAX_PLAIN = 64 * 1024 * 1024  # far above any batch; bounds what a torn row could ask for


def pack(bodies: Sequence[bytes], shapes: Sequence[EventMetadata]) -> PackedBatch:
    """Return the batch of these conversions; both sequences are in the same order.

    `bodies` are finished Amazon events as UTF-8 JSON; they are kept to the byte.
    """
    assert 0 < len(bodies) == len(shapes) <= MAX_EVENTS
    placed = [(shape.place, body) for shape, body in zip(shapes, bodies, strict=True)]
    times = [shape.event_at_ms for shape in shapes]
    written = _encoder.encode(shapes)
    return PackedBatch(
        content=_zstd.compress(_encoder.encode(placed)),
        shapes=(_zstd.compress_little if len(written) <= _LITTLE else _zstd.compress)(written),
        events=len(bodies),
        size=sum(map(len, bodies)),
        first_event=_at(min(times)),
        last_event=_at(max(times)),
    )


def repack(bodies: Mapping[int, bytes]) -> bytes:
    """Return the content of a batch some of whose conversions were erased; the others keep their places."""
    return _zstd.compress(_encoder.encode(sorted(bodies.items())))


def unpack_content(content: bytes) -> dict[int, bytes]:
    """Return the bodies of a batch by place. Raises ValueError on a torn one."""
    return dict(_content.decode(_expand(content)))


def read_shapes(packed: bytes | None) -> list[EventMetadata] | None:
    """Return the shapes of a batch in order of place; None where the value is missing or damaged."""
    try:
        return None if packed is None else _shapes.decode(_expand(packed))
    except ValueError:
        return None


def may_hold_execution(packed: bytes | None, execution_id: str) -> bool:
    """Return whether the shapes of a batch can hold this execution id, without reading them one by one.

    Texts stand in the shapes as they are, so that looking for the bytes costs a tenth of decoding. True also
    where another text holds them and where the value is damaged: the caller then reads the shapes.
    """
    try:
        return packed is None or execution_id.encode() in _expand(packed)
    except ValueError:
        return True


class _Zstd(threading.local):
    """Compressors and their reverse a thread: to make one takes longer than what it does for a lone event."""

    def __init__(self) -> None:
        # With a checksum (4 bytes): without it most flipped bits expand to other values unnoticed.
        self.compress = zstandard.ZstdCompressor(level=1, write_checksum=True).compress
        self.compress_little = zstandard.ZstdCompressor(level=-1, write_checksum=True).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_zstd = _Zstd()


def _expand(compressed: bytes) -> bytes:
    try:
        # The size that a frame states is allocated at once, whatever `max_output_size` says.
        if zstandard.frame_content_size(compressed) > _MAX_PLAIN:
            raise ValueError("too large for a batch")
        return _zstd.decompress(compressed, max_output_size=_MAX_PLAIN)
    except zstandard.ZstdError as error:
        raise ValueError("not a batch") from error
