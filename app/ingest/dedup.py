"""Find duplicates among the events of a flush, and compare the events with the ledger. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from app.domain.event import Rejection
from app.domain.ids import BatchId, DestinationNumber, LaneId
from app.ingest.evaluate import Candidate, DedupResult, Evaluated, PendingRequest, node_of
from app.store import counts, ledger
from app.store.destinations.cache import NamedType
from app.store.events.journey_figures import JourneyNode

EventIndex = tuple[int, int]  # an event of a flush: (request, event in the request)


@dataclass(slots=True, repr=False)
class Flush:
    """The requests of one transaction, and the results of storing their events.

    `evaluated` and `results` hold a list for each request, with an entry for each event. A result is None if
    the evaluation rejected the event.
    """

    requests: Sequence[PendingRequest]
    generation: int  # of the ledger
    evaluated: list[list[Evaluated]] = field(default_factory=list)
    results: list[list[DedupResult | None]] = field(default_factory=list)
    # The ledger keys of duplicates whose mapped Amazon eventId was used by an event with another event id.
    mapped_duplicates: list[tuple[bytes, bytes]] = field(default_factory=list)
    stored_batches: dict[BatchId, set[int]] = field(
        default_factory=dict
    )  # with the indexes of their requests
    waiting: dict[LaneId, int] = field(default_factory=dict)  # stored events by lane
    pinned_names: dict[NamedType, str] = field(default_factory=dict)
    rejected_at: datetime | None = None  # the time in the counts of rejected events
    # The stored rows of other transactions for the keys of the events.
    ledger_rows: dict[bytes, ledger.LedgerRow] = field(default_factory=dict)

    def candidates(self) -> Iterator[tuple[EventIndex, Candidate]]:
        """Yield the events that the evaluation did not reject."""
        for number, request in enumerate(self.requests):
            for event, result in enumerate(request.evaluated):
                if type(result) is Candidate:
                    yield (number, event), result


def accept_all(flush: Flush) -> list[tuple[EventIndex, Candidate]] | None:
    """Accept all candidates if none can have another result without the ledger; else return None.

    Each has one ledger key, which no other candidate has, and a pinned name. An event that counts as rejected
    needs more than one statement, so then the result is None too.
    """
    if False in [request.is_plain for request in flush.requests]:
        return None
    flush.evaluated = [request.evaluated for request in flush.requests]
    accepted = [
        ((request, event), each)
        for request, evaluated in enumerate(flush.evaluated)
        for event, each in enumerate(evaluated)
        if type(each) is Candidate
    ]
    if len({candidate.keys[0] for _, candidate in accepted}) < len(accepted):
        return None
    flush.results = [
        [DedupResult.ACCEPTED if type(each) is Candidate else None for each in evaluated]
        for evaluated in flush.evaluated
    ]
    return accepted


def decide(flush: Flush) -> list[tuple[EventIndex, Candidate]]:
    """Set the result of every event as if the events were stored one after the other; return the accepted.

    An event is compared with the ledger rows and the pinned names of the flush, and with the accepted events
    before it. A rejected event claims no key and pins no name, so it changes no other result.
    """
    # The lists are copies: entries are replaced by rejections, which must not survive a rollback.
    flush.evaluated = [list(request.evaluated) for request in flush.requests]
    flush.results = [[None] * len(evaluated) for evaluated in flush.evaluated]
    flush.mapped_duplicates = []
    contents = {key: row.content for key, row in flush.ledger_rows.items()}
    names = dict(flush.pinned_names)
    accepted = []
    for index, candidate in flush.candidates():
        name, named_type = candidate.conversion.event_name, unpinned_type(candidate)
        if named_type and names.get(named_type, name) != name:
            flush.evaluated[index[0]][index[1]] = _name_conflict(candidate, names[named_type])
            continue
        if contents.keys().isdisjoint(candidate.keys):
            flush.results[index[0]][index[1]] = DedupResult.ACCEPTED
            accepted.append((index, candidate))
            for key in candidate.keys:
                contents[key] = candidate.content
            if named_type:
                names[named_type] = name
            continue
        result = _compare(candidate, contents)
        flush.results[index[0]][index[1]] = result
        if result is DedupResult.DUPLICATE and candidate.keys[0] not in contents:
            flush.mapped_duplicates.append((candidate.keys[0], candidate.keys[1]))
    return accepted


def _compare(candidate: Candidate, contents: Mapping[bytes, bytes]) -> DedupResult:
    """Compare a candidate with the contents of the events that have its keys."""
    # A stored digest may be the beginning of the complete one.
    others = [key for key in candidate.keys if not candidate.content.startswith(contents.get(key, b""))]
    if not others:
        return DedupResult.DUPLICATE
    return DedupResult.CONFLICT if candidate.keys[0] in others else DedupResult.AMAZON_ID_CONFLICT


def unpinned_type(candidate: Candidate) -> NamedType | None:
    """Return the event type of a candidate if the cache has no pinned name for it, else None."""
    stored, event_type = candidate.destination.stored, candidate.conversion.event_type
    if event_type in stored.pins:
        return None
    return stored.organisation, stored.settings.advertiser_id, event_type


def _name_conflict(candidate: Candidate, pinned: str) -> Rejection:
    detail = f"The name pinned for {candidate.conversion.event_type} is {pinned!r}."
    return candidate.rejected("event_name_conflict", None, "event_name", detail)


@dataclass(frozen=True, slots=True)
class FlushCounts:
    """What a flush adds to the counts."""

    deltas: dict[DestinationNumber, counts.IngestCounts]
    rejected: Counter[counts.RejectionKey]
    stopped: Counter[tuple[DestinationNumber, str, str]]  # by consent: destination, reason, mode
    # Events that are in no batch, by their node: rejected events, and duplicates (True).
    unstored: Counter[tuple[JourneyNode, bool]]


def conflict_field(candidate: Candidate, result: DedupResult | None) -> str | None:
    """Return the source path of the id that was used before with other content; None for a constant."""
    if result is DedupResult.CONFLICT:
        return "event_id"
    assert candidate.mapping.plan is not None
    return candidate.mapping.plan.mapping.by_field["event_id"].path


def count_results(flush: Flush) -> FlushCounts:
    """Count the results by destination, and the rejections and duplicates by cause and journey node too."""
    flush_counts = FlushCounts({}, Counter(), Counter(), Counter())
    # A loop over pairs of destination and result is faster than a loop over events.
    numbers_of = [request.destinations for request in flush.requests]
    destinations = chain.from_iterable(numbers_of)
    for (number, result), events in Counter(
        zip(destinations, chain.from_iterable(flush.results), strict=True)
    ).items():
        if number is None:
            continue
        delta = flush_counts.deltas.setdefault(number, counts.IngestCounts())
        match result:
            case DedupResult.ACCEPTED:
                delta.accepted += events
            case DedupResult.DUPLICATE:
                delta.duplicates += events
            case DedupResult.CONFLICT | DedupResult.AMAZON_ID_CONFLICT | None:
                delta.rejected += events
    for evaluated, numbers, results in zip(flush.evaluated, numbers_of, flush.results, strict=True):
        for each, number, result in zip(evaluated, numbers, results, strict=True):
            if number is None or result is DedupResult.ACCEPTED:
                continue
            flush_counts.unstored[node_of(number, each.journey), result is DedupResult.DUPLICATE] += 1
            if isinstance(each, Rejection):
                mapping, field = each.mapping or 0, each.field or ""
                flush_counts.rejected[number, each.code.value, each.reason, mapping, field] += 1
                if each.basis is not None:
                    flush_counts.stopped[number, each.reason, each.basis] += 1
            elif result is not DedupResult.DUPLICATE:
                field = conflict_field(each, result) or ""
                key = (number, "BAD_REQUEST", "event_id_conflict", int(each.mapping.number), field)
                flush_counts.rejected[key] += 1
    return flush_counts
