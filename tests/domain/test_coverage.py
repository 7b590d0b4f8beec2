"""Which share of events carried each match key."""

from app.domain.batch import EventMetadata
from app.domain.match_quality.match_keys import (
    MOST_COVERAGE_EVENTS,
    DroppedMatchKeys,
    MatchKeyCoverage,
    match_key_coverage,
)


def _shape(*keys: str) -> EventMetadata:
    return EventMetadata(0, "ord-1", 1, 1, "OTHER", 0, keys, ())


def test_each_key_has_its_share() -> None:
    """In the order in which they are sent; keys without any event are left out."""
    report = match_key_coverage([_shape("PHONE"), _shape("EMAIL", "PHONE"), _shape("EMAIL", "PHONE", "MAID")])
    assert report.events == 3
    assert [(one.match_key, one.events, one.share) for one in report.match_keys] == [
        ("EMAIL", 2, 0.6667),
        ("PHONE", 3, 1.0),
        ("MAID", 1, 0.3333),
    ]


def test_dropped_keys_are_counted_by_reason() -> None:
    """Coverage says why a key is missing, not only that it is."""
    dropped = [(("PHONE", "placeholder"),), (("PHONE", "placeholder"), ("EMAIL", "not_an_email")), ()]
    events = [
        EventMetadata(0, "ord-1", 1, 1, "OTHER", 0, ("MAID",), (), dropped_keys=keys) for keys in dropped
    ]
    assert match_key_coverage(events).dropped == [
        DroppedMatchKeys("EMAIL", "not_an_email", 1),
        DroppedMatchKeys("PHONE", "placeholder", 2),
    ]


def test_no_event_has_no_share() -> None:
    """And no division by nothing."""
    assert match_key_coverage([]) == MatchKeyCoverage(0, [], [])


def test_a_thousand_are_enough() -> None:
    """A busy destination's figures stay cheap."""
    coverage = match_key_coverage(_shape("EMAIL") for _ in range(MOST_COVERAGE_EVENTS * 5))
    assert coverage.events == MOST_COVERAGE_EVENTS
