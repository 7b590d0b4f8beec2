"""Compression of stored values: zstd with a dictionary.

The dictionary holds the parts that all Amazon events share, and tables that zstd would otherwise build for
each value: a single event takes half the bytes and half the time. A value compressed with it can only be read
with it, so it never changes (`dev.dictionary`, ADR 0043).
"""

import threading
from pathlib import Path
from typing import Final

import zstandard

_DICTIONARY: Final = Path(__file__).with_name("batch.zdict").read_bytes()
_LEVEL: Final = 1
_SMALL: Final = 8 * 1024  # a larger value is compressed faster, and as well, without the dictionary
MAGIC: Final = zstandard.MAGIC_NUMBER.to_bytes(4, "little")
_MAX_EXPANDED: Final = 64 * 1024 * 1024  # far above any batch; limits the memory for a damaged row


class _Zstd(threading.local):
    """One set of (de)compressors per thread: creating one takes longer than compressing one event."""

    def __init__(self) -> None:
        dictionary = zstandard.ZstdCompressionDict(_DICTIONARY)
        dictionary.precompute_compress(level=_LEVEL)
        # With a checksum (4 bytes): without it most flipped bits decompress to other values unnoticed.
        self.compress = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress
        self.compress_small = zstandard.ZstdCompressor(
            level=_LEVEL, write_checksum=True, dict_data=dictionary
        ).compress
        self.decompress = zstandard.ZstdDecompressor(dict_data=dictionary).decompress


_zstd: Final = _Zstd()


def compress(plain: bytes) -> bytes:
    """Compress a value for storage."""
    return (_zstd.compress_small if len(plain) <= _SMALL else _zstd.compress)(plain)


def expand(compressed: bytes, limit: int = _MAX_EXPANDED) -> bytes:
    """Return what `compress` compressed. Raises ValueError if it is damaged or larger than `limit` bytes."""
    try:
        # zstandard allocates the frame's declared size regardless of `max_output_size`.
        if zstandard.frame_content_size(compressed) > limit:
            raise ValueError("too large")
        return _zstd.decompress(compressed, max_output_size=limit)
    except zstandard.ZstdError as error:
        raise ValueError("not a compressed value") from error
