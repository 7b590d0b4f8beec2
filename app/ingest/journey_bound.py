"""Limit the number of journey nodes that are counted, because callers choose the ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from app.domain.ids import DestinationNumber
from app.store.journey_counts import JourneyCounts, JourneyKey

MOST_NODES: Final = 1_000  # per destination and process
OTHER: Final = ("", "")


@dataclass(slots=True)
class JourneyBound:
    """Remembers the journey nodes that this process counted, per destination."""

    _nodes: dict[DestinationNumber, set[tuple[str, str]]] = field(default_factory=dict)

    def bounded(self, journeys: Mapping[JourneyKey, JourneyCounts]) -> dict[JourneyKey, JourneyCounts]:
        """Return the counts; those of nodes above the limit are added up under empty ids."""
        result: dict[JourneyKey, JourneyCounts] = {}
        for (number, journey, node), added in journeys.items():
            known = self._nodes.setdefault(number, set())
            pair = (journey, node)
            if pair not in known and len(known) >= MOST_NODES:
                pair = OTHER
            known.add(pair)
            before = result.get((number, *pair), JourneyCounts(0, 0))
            result[number, *pair] = JourneyCounts(
                before.rejected + added.rejected, before.duplicates + added.duplicates
            )
        return result
