"""Match-key coverage: the share of events that have each match key, and why match keys were dropped."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from app.domain.batch import EventMetadata
from app.domain.identity import MATCH_KEYS

MOST_EVENTS: Final = 1_000


def match_key_coverage(events_metadata: Iterable[EventMetadata]) -> dict[str, Any]:
    """Count the match keys and the dropped match keys of the first thousand events, as the API shows them."""
    events = 0
    carried: Counter[str] = Counter()
    dropped: Counter[tuple[str, str]] = Counter()
    for metadata in islice(events_metadata, MOST_EVENTS):
        events += 1
        carried.update(metadata.match_keys)
        dropped.update(metadata.dropped_keys)
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
        "dropped": [
            {"match_key": key, "reason": reason, "events": count}
            for (key, reason), count in sorted(dropped.items())
        ],
    }
