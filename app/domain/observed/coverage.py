"""Match-key coverage: which share of events carried each match key."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from app.domain.batch import EventMetadata
from app.domain.identity import MATCH_KEYS

MOST_EVENTS: Final = 1_000


def match_key_coverage(shapes: Iterable[EventMetadata]) -> dict[str, Any]:
    """Return each match key that any of the first thousand events carried, and how many were looked at."""
    events = 0
    carried: Counter[str] = Counter()
    for shape in islice(shapes, MOST_EVENTS):
        events += 1
        carried.update(shape.match_keys)
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
