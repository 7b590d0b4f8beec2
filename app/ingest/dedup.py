"""One flush, and the verdict on each of its candidates. Pure: what the ledger holds is given."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain

from app.domain.event import Rejection
from app.domain.ids import AdvertiserId, BatchId, DestinationNumber, LaneId
from app.ingest.evaluate import Candidate, Evaluated
from app.store import counts, ledger

At = tuple[int, int]  # a place in a flush: (post, event)


class DedupVerdict(StrEnum):
    """What the ledger says of a candidate."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"

    __hash__ = str.__hash__  # an enum's own is written in Python, and every event asks for it


@dataclass(slots=True, repr=False)
class FlushBatch:
    """One transaction: the judged events of its posts, and what became of them."""

    evaluated_posts: Sequence[list[Evaluated]]
    generation: int  # of the ledger, that accepts now
    # Whose count a rejection falls under; None where the event names no destination that exists.
    destinations: Sequence[Sequence[DestinationNumber | None]] = ()
    # Posts whose events wait behind what is live.
    low: frozenset[int] = frozenset()
    verdicts: list[list[DedupVerdict | None]] = field(init=False)
    waiting: dict[LaneId, int] = field(default_factory=dict)
    pinned: dict[tuple[AdvertiserId, str], str] = field(default_factory=dict)
    found: dict[bytes, ledger.LedgerRow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.verdicts = [[None] * len(evaluated) for evaluated in self.evaluated_posts]

    def candidates(self) -> Iterator[tuple[At, Candidate]]:
        """Yield each candidate with its place: (post, event)."""
        for nth, evaluated in enumerate(self.evaluated_posts):
            for index, one in enumerate(evaluated):
                if type(one) is Candidate:
                    yield (nth, index), one

    def verdicts_of(self, nth: int) -> list[DedupVerdict | None]:
        """Return the verdicts on one post's events, None for those that were no candidates."""
        return self.verdicts[nth]

    def note_waiting(self, stored: Iterable[Candidate]) -> None:
        """Note whose lanes now owe an event to Amazon."""
        for candidate in stored:
            lane = candidate.target.lane
            self.waiting[lane] = self.waiting.get(lane, 0) + 1

    def give(self, at: At, verdict: DedupVerdict) -> None:
        """Note the verdict on one candidate."""
        self.verdicts[at[0]][at[1]] = verdict


def split_duplicates(flush: FlushBatch) -> tuple[list[tuple[At, Candidate]], list[tuple[At, Candidate, At]]]:
    """Part the candidates into the first of each key and those that follow one within the flush."""
    holders: dict[bytes, At] = {}
    firsts, followers = [], []
    for at, candidate in flush.candidates():
        leader = None
        for key in candidate.keys:
            leader = leader or holders.get(key)
        if leader is None:
            firsts.append((at, candidate))
            for key in candidate.keys:
                holders[key] = at
        else:
            followers.append((at, candidate, leader))
    return firsts, followers


def resolve_followers(flush: FlushBatch, followers: Sequence[tuple[At, Candidate, At]]) -> None:
    """Give followers their verdict: by their leader's content when it won, else by what it lost to."""
    for at, candidate, (nth, index) in followers:
        leader = flush.evaluated_posts[nth][index]
        assert isinstance(leader, Candidate)
        if flush.verdicts[nth][index] is DedupVerdict.ACCEPTED:
            same = leader.content == candidate.content
        else:
            # Nothing of a follower was written: with no row under its keys it must not count as accepted.
            same = verdict_of(candidate, flush.found) is DedupVerdict.DUPLICATE
        flush.give(at, DedupVerdict.DUPLICATE if same else DedupVerdict.CONFLICT)


def mapped_duplicates(
    flush: FlushBatch,
    firsts: Sequence[tuple[At, Candidate]],
    followers: Sequence[tuple[At, Candidate, At]],
    stored: Mapping[At, tuple[BatchId, int]],
) -> list[tuple[bytes, BatchId, int]]:
    """Return the duplicates whose own event id is free: their mapped Amazon eventId stands under another.

    Each with its own ledger key, and the batch and place of the other event. `stored` holds where the winners
    of this flush lie.
    """
    if not flush.found and not followers:
        return []
    made = []
    leaders = {at: leader for at, _, leader in followers}
    for at, candidate in chain(firsts, ((at, one) for at, one, _ in followers)):
        if len(candidate.keys) == 1 or flush.verdicts[at[0]][at[1]] is not DedupVerdict.DUPLICATE:
            continue
        event, amazon = candidate.keys
        if event in flush.found:
            continue
        if (held := flush.found.get(amazon)) is not None:
            made.append((event, held.batch, held.place))
            continue
        # Nothing stood under its keys before: it follows an event of this very flush.
        nth, index = leaders[at]
        leader = flush.evaluated_posts[nth][index]
        assert isinstance(leader, Candidate)
        if event not in leader.keys:
            made.append((event, *stored[nth, index]))
    return made


def verdict_of(candidate: Candidate, found: dict[bytes, ledger.LedgerRow]) -> DedupVerdict:
    """Judge a candidate by what stands under its keys: nothing, the same content, or other content."""
    held = [found[key] for key in candidate.keys if key in found]
    if not held:
        return DedupVerdict.ACCEPTED
    same = all(one.content == candidate.content for one in held)
    return DedupVerdict.DUPLICATE if same else DedupVerdict.CONFLICT


@dataclass(frozen=True, slots=True)
class FlushCounts:
    """What a flush moves: counts, rejections by code and reason, consent stops by reason and basis."""

    deltas: dict[DestinationNumber, counts.IngestCounts]
    rejected: Counter[tuple[DestinationNumber, str, str]]
    stopped: Counter[tuple[DestinationNumber, str, str]]


def count_results(flush: FlushBatch) -> FlushCounts:
    """Count every verdict, and every rejection that has a destination to be counted under."""
    made = FlushCounts({}, Counter(), Counter())
    # One step a destination and verdict of the whole flush, not one an event or post.
    owners = chain.from_iterable(flush.destinations)
    for (number, verdict), events in Counter(
        zip(owners, chain.from_iterable(flush.verdicts), strict=True)
    ).items():
        if number is None:
            continue
        delta = made.deltas.setdefault(number, counts.IngestCounts())
        match verdict:
            case DedupVerdict.ACCEPTED:
                delta.accepted += events
            case DedupVerdict.DUPLICATE:
                delta.duplicates += events
            case DedupVerdict.CONFLICT:
                delta.rejected += events
                made.rejected[number, "BAD_REQUEST", "event_id_conflict"] += events
            case None:
                delta.rejected += events
    for evaluated, owned in zip(flush.evaluated_posts, flush.destinations, strict=True):
        for one, owner in zip(evaluated, owned, strict=True):
            if type(one) is Rejection and owner is not None:
                made.rejected[owner, one.code.value, one.reason] += 1
                if one.basis is not None:
                    made.stopped[owner, one.reason, one.basis] += 1
    return made
