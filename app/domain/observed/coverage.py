"""Match-key coverage: the share of events that have each match key, and why match keys were dropped."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from app.domain.batch import EventMetadata
from app.domain.identity.keys import MATCH_KEYS

MOST_EVENTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class MatchKeyShare:
    """The number of events that contain a match key."""

    match_key: str
    events: int
    share: float


@dataclass(frozen=True, slots=True)
class DroppedMatchKeys:
    """The number of events from which a match key was left out for one reason."""

    match_key: str
    reason: str
    events: int


@dataclass(frozen=True, slots=True)
class MatchKeyCoverage:
    """How many of the newest accepted events contain each match key."""

    events: int
    match_keys: Sequence[MatchKeyShare]
    dropped: Sequence[DroppedMatchKeys]


def match_key_coverage(events_metadata: Iterable[EventMetadata]) -> MatchKeyCoverage:
    """Count the match keys and the dropped match keys of the first thousand events."""
    newest = list(islice(events_metadata, MOST_EVENTS))
    carried = Counter(key for metadata in newest for key in metadata.match_keys)
    dropped = Counter(pair for metadata in newest for pair in metadata.dropped_keys)
    keys = [rule.type.value for rule in MATCH_KEYS if rule.type.value in carried]
    return MatchKeyCoverage(
        len(newest),
        [MatchKeyShare(key, carried[key], round(carried[key] / len(newest), 4)) for key in keys],
        [DroppedMatchKeys(*pair, count) for pair, count in sorted(dropped.items())],
    )
