"""A request that waits for its flush, and its results."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.event import Event, Rejection
from app.domain.ids import DestinationId, DestinationNumber, OrganisationId
from app.domain.trace import RequestTrace
from app.ingest.dedup import DedupResult
from app.ingest.evaluate import Evaluated

# A request of more events is a large one: the work for it takes several event-loop iterations, so that small
# ones get theirs in between. Of several organisations, its events are evaluated so many per iteration.
FEW_EVENTS = 25


@dataclass(frozen=True, slots=True, repr=False)
class RequestResults:
    """The results of one request, one entry per event in order: its evaluation and its dedup result."""

    evaluated: Sequence[Evaluated]
    dedup: Sequence[DedupResult | None]
    destinations: Sequence[DestinationNumber | None] = ()


@dataclass(frozen=True, slots=True)
class SenderAccess:
    """The destinations to which a sender may send: those of its organisation, or some of them."""

    organisation: OrganisationId
    destinations: frozenset[DestinationId] | None = None


@dataclass(frozen=True, slots=True)
class NotStored:
    """Nothing of the request was acknowledged; the caller may send it again. `reason` is for the log."""

    reason: str


@dataclass(slots=True, repr=False, eq=False)
class PendingRequest:
    """The events of one request before their flush. Contains personal data."""

    events: Sequence[Event | Rejection]
    access: SenderAccess
    response: "asyncio.Future[RequestResults | NotStored]"
    low_priority: bool = False  # its events are sent after live ones
    trace: RequestTrace = field(default_factory=RequestTrace)
    # Set by evaluation: one entry per event, and the versions that the evaluation used.
    evaluated: list[Evaluated] = field(default_factory=list)
    destinations: list[DestinationNumber | None] = field(default_factory=list)
    versions: dict[DestinationId, int | None] = field(default_factory=dict)
    clock_offset: float = 0.0
