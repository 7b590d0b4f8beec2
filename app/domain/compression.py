"""Compression of stored values: zstd with a dictionary.

The dictionary contains the texts that all Amazon events share, and tables that zstd would otherwise build for
each value. It halves the size and the compression time of a single event. The dictionary must never change,
because stored values can only be read with the same dictionary (`dev.dictionary`, ADR 0043).
"""

import threading
from pathlib import Path
from typing import Final

import zstandard

_DICTIONARY: Final = Path(__file__).with_name("batch.zdict").read_bytes()
_LEVEL: Final = 1
_SMALL: Final = 8 * 1024  # the dictionary does not improve larger values, and slows their compression
MAGIC: Final = zstandard.MAGIC_NUMBER.to_bytes(4, "little")
_MAX_EXPANDED: Final = 64 * 1024 * 1024  # far above any batch; a damaged row must not use more memory


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
