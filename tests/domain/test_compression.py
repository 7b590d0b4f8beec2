"""Stored values: their dictionary, what it saves, and values that are damaged or too large."""

import hashlib
from pathlib import Path

import msgspec
import pytest
import zstandard

from app.domain import batch
from app.domain.batch import compress, expand

DICTIONARY = Path(batch.__file__).with_name("batch.zdict")
# The start of an event as it is stored. No sample of the dictionary has this name, key or value.
EVENT = {
    "eventDescription": {
        "name": "Newsletter",
        "conversionType": "SIGN_UP",
        "eventSource": "WEBSITE",
        "eventIngestionMethod": "SERVER_TO_SERVER",
    },
    "countryCode": "AT",
    "eventTime": "2031-02-03T04:05:06Z",
    "matchKeys": [
        {"type": kind, "values": [hashlib.sha256(kind.encode()).hexdigest()]}
        for kind in ("EMAIL", "PHONE", "FIRST_NAME", "LAST_NAME", "CITY")
    ],
    "eventId": "newsletter-77",
    "consent": {"amznUserData": "GRANTED", "amznAdStorage": "GRANTED"},
    "customData": [{"name": "colour", "value": "violet"}],
}


def test_the_dictionary_never_changes() -> None:
    """Batches compressed with another one could not be read any more."""
    assert hashlib.sha256(DICTIONARY.read_bytes()).hexdigest() == (
        "6aaa8385a9490bbc4296e3e4050c6a0915f67c0daa9ad017cfaee38c4e943630"
    )


def test_a_single_event_takes_much_less_space_than_without_the_dictionary() -> None:
    plain = msgspec.json.encode(EVENT)
    without = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(plain)
    assert len(compress(plain)) < 0.6 * len(without)


@pytest.mark.parametrize("size", [0, 1, 1_000, 8 * 1024, 8 * 1024 + 1, 1_000_000])
def test_values_of_each_size_are_read_again(size: int) -> None:
    plain = (msgspec.json.encode(EVENT) * (size // 500 + 1))[:size]
    assert expand(compress(plain)) == plain


def test_a_damaged_value_or_a_large_one_is_an_error() -> None:
    packed = compress(msgspec.json.encode(EVENT))
    flipped = packed[:-20] + bytes([packed[-20] ^ 1]) + packed[-19:]
    for damaged in (packed[:-1], flipped, b"", b"plain"):
        with pytest.raises(ValueError, match="not a compressed value"):
            expand(damaged)
    with pytest.raises(ValueError, match="too large"):
        expand(compress(bytes(1_000)), limit=999)
