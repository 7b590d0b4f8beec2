"""Limit the counted journeys and nodes, because callers choose their ids."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from app.domain.ids import DestinationNumber
from app.store.journey_counts import JourneyKey

MOST_NODES: Final = 1_000  # per destination and process; others are counted together
OTHER: Final = ("", "")


@dataclass(slots=True)
class JourneyBound:
    """Remembers the journey nodes that this process counted, per destination."""

    _nodes: dict[DestinationNumber, set[tuple[str, str]]] = field(default_factory=dict)

    def bounded(self, tally: Counter[JourneyKey]) -> Counter[JourneyKey]:
        """Return the counts, with nodes above the limit under empty ids."""
        result: Counter[JourneyKey] = Counter()
        for (number, journey, node), events in tally.items():
            known = self._nodes.setdefault(number, set())
            pair = (journey, node)
            if pair not in known and len(known) >= MOST_NODES:
                pair = OTHER
            known.add(pair)
            result[number, *pair] += events
        return result
