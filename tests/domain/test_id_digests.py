"""Digests never exclude a batch that holds an id, and exclude nearly all others."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from app.domain.batch import DigestRange, EventMetadata, SearchedBatch, digest_of, digest_ranges
from app.domain.ids import BatchId

DAY = date(2026, 11, 26)


def shape(number: int, **ids: str) -> EventMetadata:
    return EventMetadata(0, f"order-{number}", 1, 1, "LEAD", 0, (), (), **ids)


def batch(number: int, *shapes: EventMetadata, organisation: str = "a") -> SearchedBatch:
    return SearchedBatch(organisation, BatchId(number), DAY, shapes)


@given(st.lists(st.lists(st.text(max_size=12), min_size=1, max_size=5), max_size=30))
def test_the_range_of_a_batch_has_the_digest_of_each_id(ids: list[list[str]]) -> None:
    found = [
        batch(number, *(shape(number, execution_id=id_) for id_ in of_batch))
        for number, of_batch in enumerate(ids, 1)
    ]
    ranges = digest_ranges(found)
    for number, of_batch in enumerate(ids, 1):
        [within] = [each for each in ranges if each.first <= number <= each.last]
        assert within.digests is not None
        assert {digest_of(id_) for id_ in (*of_batch, f"order-{number}")} <= within.digests


def test_a_full_range_ends_and_organisations_are_apart() -> None:
    found = [
        batch(number, *(shape(n) for n in range(number * 200, number * 200 + 200)), organisation=name)
        for number, name in zip(range(1, 13), "aabaaabbaaaa", strict=True)
    ]
    spans = [(each.organisation_id, each.first, each.last) for each in digest_ranges(found)]
    assert spans == [("a", 1, 4), ("b", 3, 8), ("a", 5, 9), ("a", 10, 12)]


def test_a_range_with_an_unreadable_batch_excludes_no_id() -> None:
    unreadable = SearchedBatch("a", BatchId(2), DAY, None)
    assert digest_ranges([batch(1, shape(1)), unreadable, batch(3, shape(3))]) == [
        DigestRange("a", BatchId(1), BatchId(3), DAY, None)
    ]


def test_few_ids_share_a_digest() -> None:
    """A range of 600 ids seems to hold one in 10,000 other ids."""
    assert len({digest_of(f"run-{number}") for number in range(10_000)}) > 9_990
