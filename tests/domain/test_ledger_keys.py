"""Ledger keys: the same parts give the same 16 bytes on every machine, other parts give others."""

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import KEY_BYTES, amazon_key, event_key
from app.domain.ids import DEFAULT_ORGANISATION, AdvertiserId, DestinationId, MappingId

texts = st.text(max_size=12)


def test_a_key_is_blake2b_of_its_length_prefixed_parts() -> None:
    """Stored keys outlive releases, so the bytes are fixed: computed here by hand."""
    parts = b"\0\0\0\5event" + b"\0\0\0\5dst_1" + b"\0\0\0\5map_1" + b"\0\0\0\5ord-1"
    key = event_key(DestinationId("dst_1"), MappingId("map_1"), "ord-1")
    assert key == blake2b(parts, digest_size=16).digest()
    assert len(key) == KEY_BYTES == 16
    parts = (
        b"\0\0\0\6amazon"
        + b"\0\0\0\7default"
        + b"\0\0\0\2EU"
        + b"\0\0\0\4"
        + b"1000"
        + b"\0\0\0\4\xc3\xbc"
        + b"-1"
    )
    key = amazon_key(DEFAULT_ORGANISATION, "EU", AdvertiserId("1000"), "ü-1")
    assert key == blake2b(parts, digest_size=16).digest()


@given(st.tuples(texts, texts, texts), st.tuples(texts, texts, texts))
def test_different_parts_have_different_keys(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Also where their texts put together are the same."""

    def key(parts: tuple[str, str, str]) -> bytes:
        return event_key(DestinationId(parts[0]), MappingId(parts[1]), parts[2])

    assert (key(one) == key(other)) is (one == other)
    assert key(one) != amazon_key(DEFAULT_ORGANISATION, one[0], AdvertiserId(one[1]), one[2])


def test_a_key_does_not_depend_on_the_keys_before_it() -> None:
    """The cached prefix is copied, never extended."""
    destination, mapping = DestinationId("dst_2"), MappingId("map_2")
    first = event_key(destination, mapping, "a")
    event_key(destination, mapping, "b")
    assert event_key(destination, mapping, "a") == first
