"""A request that waits for its flush, and its results."""

import asyncio
from collections.abc import Sequence

import msgspec

from app.domain.event import Event, Rejection
from app.domain.ids import DestinationId, DestinationNumber, OrganisationId
from app.domain.trace import RequestTrace
from app.ingest.dedup import DedupResult
from app.ingest.evaluate import Evaluated


class RequestResults(msgspec.Struct, frozen=True):
    """The results of one request, one entry per event in order: its evaluation and its dedup result."""

    evaluated: Sequence[Evaluated]
    dedup: Sequence[DedupResult | None]
    destinations: Sequence[DestinationNumber | None] = ()

    __repr__ = object.__repr__  # holds personal data


class SenderAccess(msgspec.Struct, frozen=True):
    """The destinations to which a sender may send: those of its organisation, or some of them."""

    organisation: OrganisationId
    destinations: frozenset[DestinationId] | None = None


class NotStored(msgspec.Struct, frozen=True):
    """No event of a request was acknowledged, and its sender may repeat it. `reason` is for the log."""

    reason: str


class PendingRequest(msgspec.Struct, eq=False):
    """The events of one request before their flush. Contains personal data."""

    events: Sequence[Event | Rejection]
    access: SenderAccess
    response: "asyncio.Future[RequestResults | NotStored]"
    trace: RequestTrace
    low_priority: bool = False  # its events are sent after live ones
    # Set by the evaluation: one entry per event.
    evaluated: list[Evaluated] = []
    destinations: list[DestinationNumber | None] = []
    # Set by the evaluation: the configuration versions and the clock's offset that it used.
    versions: dict[DestinationId, int | None] = {}
    clock_offset: float = 0.0

    __repr__ = object.__repr__
