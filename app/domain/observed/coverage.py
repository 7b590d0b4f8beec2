"""Match-key coverage: the share of events that carry each match key."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from app.domain.batch import EventMetadata
from app.domain.identity import MATCH_KEYS

MOST_EVENTS: Final = 1_000


def match_key_coverage(events_metadata: Iterable[EventMetadata]) -> dict[str, Any]:
    """Count the match keys of the first thousand events."""
    events = 0
    carried: Counter[str] = Counter()
    for metadata in islice(events_metadata, MOST_EVENTS):
        events += 1
        carried.update(metadata.match_keys)
    return {
        "events": events,
        "match_keys": [
            {
                "match_key": rule.type.value,
                "events": carried[rule.type.value],
                "share": round(carried[rule.type.value] / events, 4),
            }
            for rule in MATCH_KEYS
            if rule.type.value in carried
        ],
    }
