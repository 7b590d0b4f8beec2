"""Find duplicates among the events of a flush, and compare the events with the ledger. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from app.domain.event import JourneyIds, Rejection
from app.domain.ids import BatchId, DestinationNumber, LaneId
from app.ingest.evaluate import Candidate, Evaluated
from app.ingest.pending_request import DedupResult, PendingRequest
from app.store import counts, ledger
from app.store.cached_destinations import NamedType
from app.store.journey_counts import JourneyKey

EventIndex = tuple[int, int]  # an event of a flush: (request, event in the request)


@dataclass(slots=True, repr=False)
class Flush:
    """The requests of one transaction, and the results of storing their events.

    `evaluated` and `results` hold a list for each request, with an entry for each event. A result is None if
    the evaluation rejected the event.
    """

    requests: Sequence[PendingRequest]
    generation: int  # of the ledger
    evaluated: list[list[Evaluated]] = field(init=False)
    results: list[list[DedupResult | None]] = field(init=False)
    stored_batches: dict[BatchId, set[int]] = field(
        default_factory=dict
    )  # with the indexes of their requests
    waiting: dict[LaneId, int] = field(default_factory=dict)  # stored events by lane
    pinned_names: dict[NamedType, str] = field(default_factory=dict)
    ledger_rows: dict[bytes, ledger.LedgerRow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The lists are copies: a flush may replace entries by rejections, which must not survive a rollback.
        self.evaluated = [list(request.evaluated) for request in self.requests]
        self.results = [[None] * len(evaluated) for evaluated in self.evaluated]

    def candidates(self) -> Iterator[tuple[EventIndex, Candidate]]:
        for request, evaluated in enumerate(self.evaluated):
            for event, result in enumerate(evaluated):
                if type(result) is Candidate:
                    yield (request, event), result

    def add_waiting(self, stored: Iterable[Candidate]) -> None:
        """Count stored events by the lane that must send them."""
        for candidate in stored:
            lane = candidate.destination.lane
            self.waiting[lane] = self.waiting.get(lane, 0) + 1

    def set_result(self, index: EventIndex, result: DedupResult) -> None:
        self.results[index[0]][index[1]] = result


def split_duplicates(
    flush: Flush,
) -> tuple[list[tuple[EventIndex, Candidate]], list[tuple[EventIndex, Candidate, EventIndex]]]:
    """Return the candidates of a flush as two lists: firsts and followers.

    A follower shares a ledger key with an earlier first of the same flush. Its entry ends with the index of
    that first, which is called its leader.
    """
    first_of_key: dict[bytes, EventIndex] = {}
    firsts, followers = [], []
    for index, candidate in flush.candidates():
        leader = None
        for key in candidate.keys:
            leader = leader or first_of_key.get(key)
        if leader is None:
            firsts.append((index, candidate))
            for key in candidate.keys:
                first_of_key[key] = index
        else:
            followers.append((index, candidate, leader))
    return firsts, followers


def resolve_followers(flush: Flush, followers: Sequence[tuple[EventIndex, Candidate, EventIndex]]) -> None:
    """Set the result of each follower.

    A follower is compared with its leader. If the leader was not accepted, the follower is compared with
    the ledger.
    """
    for index, candidate, (request, event) in followers:
        leader = flush.evaluated[request][event]
        assert isinstance(leader, Candidate)
        if flush.results[request][event] is DedupResult.ACCEPTED:
            same, own_id = leader.content == candidate.content, candidate.keys[0] in leader.keys
            result = DedupResult.DUPLICATE if same else _conflict(own_id=own_id)
        else:
            result = compare_with_ledger(candidate, flush.ledger_rows)
            if result is DedupResult.ACCEPTED:
                # A follower is not written, so it must not be accepted without a row in the ledger.
                result = _conflict(own_id=candidate.keys[0] in leader.keys)
        flush.set_result(index, result)


def mapped_duplicates(
    flush: Flush,
    firsts: Sequence[tuple[EventIndex, Candidate]],
    followers: Sequence[tuple[EventIndex, Candidate, EventIndex]],
    stored: Mapping[EventIndex, tuple[BatchId, int]],
) -> list[tuple[bytes, BatchId, int]]:
    """Return the duplicates whose mapped Amazon eventId was used by an event with another event id.

    An entry holds the duplicate's own ledger key, and the batch and position of the earlier event. `stored`
    holds the batch and position of the events that this flush accepted.
    """
    if not flush.ledger_rows and not followers:
        return []
    duplicates = []
    leaders = {index: leader for index, _, leader in followers}
    for index, candidate in chain(firsts, ((index, follower) for index, follower, _ in followers)):
        if len(candidate.keys) == 1 or flush.results[index[0]][index[1]] is not DedupResult.DUPLICATE:
            continue
        own_key, amazon_key = candidate.keys
        if own_key in flush.ledger_rows:
            continue
        if (row := flush.ledger_rows.get(amazon_key)) is not None:
            duplicates.append((own_key, row.batch, row.place))
            continue
        # Neither key was in the ledger: the duplicate follows an event of this flush.
        request, event = leaders[index]
        leader = flush.evaluated[request][event]
        assert isinstance(leader, Candidate)
        if own_key not in leader.keys:
            duplicates.append((own_key, *stored[request, event]))
    return duplicates


def compare_with_ledger(candidate: Candidate, ledger_rows: dict[bytes, ledger.LedgerRow]) -> DedupResult:
    """Return ACCEPTED if the ledger has no row for the keys of a candidate, DUPLICATE if every row has its
    content, else a conflict.
    """
    rows = [(key, ledger_rows[key]) for key in candidate.keys if key in ledger_rows]
    if not rows:
        return DedupResult.ACCEPTED
    others = [key for key, row in rows if row.content != candidate.content]
    return _conflict(own_id=candidate.keys[0] in others) if others else DedupResult.DUPLICATE


def _conflict(*, own_id: bool) -> DedupResult:
    return DedupResult.CONFLICT if own_id else DedupResult.AMAZON_ID_CONFLICT


@dataclass(frozen=True, slots=True)
class FlushCounts:
    """What a flush adds to the counts."""

    deltas: dict[DestinationNumber, counts.IngestCounts]
    rejected: Counter[counts.RejectionKey]
    stopped: Counter[tuple[DestinationNumber, str, str]]  # by consent: destination, reason, mode
    rejected_of: Counter[JourneyKey]  # events of journey nodes
    duplicates_of: Counter[JourneyKey]


_CONFLICTS = (DedupResult.CONFLICT, DedupResult.AMAZON_ID_CONFLICT)


def conflict_field(candidate: Candidate, result: DedupResult | None) -> str | None:
    """Return the source path of the id that was used before with other content; None for a constant."""
    if result is DedupResult.CONFLICT:
        return "event_id"
    assert candidate.mapping.compiled is not None
    return candidate.mapping.compiled.fields["event_id"].path


def count_results(flush: Flush) -> FlushCounts:
    """Count the results by destination, and the rejections and duplicates by cause and journey node too."""
    flush_counts = FlushCounts({}, Counter(), Counter(), Counter(), Counter())
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
        for rejection, number, result in zip(evaluated, numbers, results, strict=True):
            if number is None:
                continue
            if type(rejection) is Rejection:
                mapping, field = rejection.mapping or 0, rejection.field or ""
                flush_counts.rejected[number, rejection.code.value, rejection.reason, mapping, field] += 1
                _count_journey(flush_counts.rejected_of, number, rejection.journey)
                if rejection.basis is not None:
                    flush_counts.stopped[number, rejection.reason, rejection.basis] += 1
            elif result in _CONFLICTS:
                assert isinstance(rejection, Candidate)
                field = conflict_field(rejection, result) or ""
                key = (number, "BAD_REQUEST", "event_id_conflict", int(rejection.mapping.number), field)
                flush_counts.rejected[key] += 1
                _count_journey(flush_counts.rejected_of, number, rejection.journey)
            elif result is DedupResult.DUPLICATE:
                assert isinstance(rejection, Candidate)
                _count_journey(flush_counts.duplicates_of, number, rejection.journey)
    return flush_counts


def _count_journey(
    events: Counter[JourneyKey], number: DestinationNumber, journey: JourneyIds | None
) -> None:
    if journey is not None and (journey.journey_id or journey.node_id):
        events[number, journey.journey_id or "", journey.node_id or ""] += 1
