"""Limit the counted journeys and nodes, because callers choose their ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from app.domain.ids import DestinationNumber
from app.store.journey_counts import JourneyCounts, JourneyKey

MOST_NODES: Final = 1_000  # per destination and process; others are counted together
OTHER: Final = ("", "")


@dataclass(slots=True)
class JourneyBound:
    """Remembers the journey nodes that this process counted, per destination."""

    _nodes: dict[DestinationNumber, set[tuple[str, str]]] = field(default_factory=dict)

    def bounded(self, journeys: Mapping[JourneyKey, JourneyCounts]) -> dict[JourneyKey, JourneyCounts]:
        """Return the counts, with nodes above the limit under empty ids."""
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
