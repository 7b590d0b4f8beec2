"""Limit the number of journey nodes that are counted, because callers choose the ids."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from app.domain.ids import DestinationNumber
from app.store.journey_counts import JourneyCounts, JourneyKey

MOST_NODES: Final = 1_000  # per destination and process


@dataclass(slots=True)
class JourneyBound:
    """Remembers the journey nodes that this process counted, per destination."""

    _nodes: dict[DestinationNumber, set[tuple[str, str]]] = field(default_factory=dict)

    def bounded(
        self, rejected: Counter[JourneyKey], duplicates: Counter[JourneyKey]
    ) -> dict[JourneyKey, JourneyCounts]:
        """Return the counts by journey node. Nodes above the limit are counted together under empty ids."""
        result: dict[JourneyKey, JourneyCounts] = {}
        for key in rejected.keys() | duplicates.keys():
            number, journey, node = key
            known = self._nodes.setdefault(number, set())
            pair = (journey, node)
            if pair not in known and len(known) >= MOST_NODES:
                pair = ("", "")
            known.add(pair)
            before = result.get((number, *pair), JourneyCounts(0, 0))
            result[number, *pair] = JourneyCounts(
                before.rejected + rejected[key], before.duplicates + duplicates[key]
            )
        return result
