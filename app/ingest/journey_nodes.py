"""The numbers of journey nodes on the present day, as this process knows them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from app.domain.event import NO_JOURNEY, JourneyIds
from app.domain.ids import DestinationNumber
from app.ingest.pending_request import PendingRequest
from app.store import PipelineConnection
from app.store.events import journey_figures
from app.store.events.journey_figures import OTHER, JourneyNode

_TRIES: Final = 10  # other processes can take a number between reading and inserting


def node_of(destination: DestinationNumber, journey: JourneyIds | None) -> JourneyNode:
    """Return the node of an event with these ids."""
    ids = journey or NO_JOURNEY
    return destination, ids.journey_id or "", ids.node_id or ""


@dataclass(slots=True)
class JourneyNodes:
    """Caches the numbers of one day. `day` is None before the first registration."""

    day: date | None = None
    _numbers: dict[JourneyNode, int] = field(default_factory=dict)
    _full: set[DestinationNumber] = field(default_factory=set)

    async def register(self, connection: PipelineConnection, requests: Iterable[PendingRequest]) -> None:
        """Learn the numbers of all nodes of these requests, outside the transaction that stores them."""
        for _ in range(_TRIES):
            missing = self._missing(requests)
            if not missing and self.day is not None:
                return
            found = await journey_figures.register(connection, missing)
            if found.day != self.day:
                self.day, self._numbers, self._full = found.day, {}, set()
            self._numbers |= found.numbers
            self._full |= found.full

    def is_complete(self, requests: Iterable[PendingRequest], day: date) -> bool:
        """Return whether all nodes of these requests have numbers of a day. Forget those of other days."""
        if day != self.day:
            self.day, self._numbers, self._full = None, {}, set()
        return self.day is not None and not self._missing(requests)

    def _missing(self, requests: Iterable[PendingRequest]) -> set[JourneyNode]:
        """Return the nodes of these requests whose number is not known."""
        return {
            node
            for request in requests
            for node in request.nodes
            if node not in self._numbers and node[0] not in self._full
        }

    def number(self, node: JourneyNode) -> int:
        """Return the number of a registered node."""
        return self._numbers.get(node, OTHER)
