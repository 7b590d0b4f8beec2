"""What one flush writes: ledger rows first, then parcels of the events that won, then the counts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain

import msgspec

from app import vault
from app.domain import parcel as packing
from app.domain.event import Rejection
from app.domain.ids import AdvertiserId, DestinationNumber, LaneId, ParcelId
from app.intake.judging import Candidate, Judged
from app.store import RoadConnection, counts, ledger, parcels
from app.store import targets as target_rows

_IDS_AT_ONCE = 256

# From so many keys on it pays to take for granted that they are free (ADR 0072).
BOLD_FROM = 200
# How many such flushes ask about every key after one that met a repeat: where there is one, more follow.
CAUTIOUS_FLUSHES = 50

At = tuple[int, int]  # a place in a flush: (post, event)


class Verdict(StrEnum):
    """What the ledger says of a candidate."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"

    __hash__ = str.__hash__  # an enum's own is written in Python, and every event asks for it


@dataclass(slots=True, repr=False)
class Flush:
    """One transaction: the judged events of its posts, and what became of them."""

    posts_judged: Sequence[list[Judged]]
    generation: int  # of the ledger, that accepts now
    # Whose count a rejection falls under; None where the event names no destination that exists.
    destinations: Sequence[Sequence[DestinationNumber | None]] = ()
    # Posts whose events wait behind what is live.
    low: frozenset[int] = frozenset()
    verdicts: list[list[Verdict | None]] = field(init=False)
    waiting: dict[LaneId, int] = field(default_factory=dict)
    pinned: dict[tuple[AdvertiserId, str], str] = field(default_factory=dict)
    found: dict[bytes, ledger.Found] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.verdicts = [[None] * len(judged) for judged in self.posts_judged]

    def candidates(self) -> Iterator[tuple[At, Candidate]]:
        """Yield each candidate with its place: (post, event)."""
        for nth, judged in enumerate(self.posts_judged):
            for index, one in enumerate(judged):
                if type(one) is Candidate:
                    yield (nth, index), one

    def verdicts_of(self, nth: int) -> list[Verdict | None]:
        """Return the verdicts on one post's events, None for those that were no candidates."""
        return self.verdicts[nth]

    def give(self, at: At, verdict: Verdict) -> None:
        """Note the verdict on one candidate."""
        self.verdicts[at[0]][at[1]] = verdict


class _Placed(msgspec.Struct, frozen=True):
    """A candidate that is first of its keys in this flush, with the place it has in a parcel if it wins."""

    at: At
    candidate: Candidate
    parcel: ParcelId
    place: int
    low: bool

    __repr__ = object.__repr__


class Stores:
    """Writes flushes. `pepper` keys the content hash and never rotates; `writer` names our count rows."""

    def __init__(self, *, keys: vault.Vault, pepper: bytes, writer: int) -> None:
        self.pepper = pepper
        self._vault = keys
        self._writer = writer
        self._ids: list[ParcelId] = []
        self._cautious = 0  # for how many more flushes every key is asked about

    def be_cautious(self) -> None:
        """Ask about every key for a while; what `write` raised Held for can then be written."""
        self._cautious = CAUTIOUS_FLUSHES

    async def write(self, connection: RoadConnection, flush: Flush) -> None:
        """Write a flush inside the caller's transaction, which holds the flush lock.

        Raises Held where a key was taken to be free and is not: roll back, `be_cautious` and write again.
        """
        await self._pin_names(connection, flush)
        firsts, followers = _firsts(flush)
        won: list[_Placed] = []
        if firsts:
            placed = await self._place(connection, firsts, flush.low)
            won = await self._claim(connection, flush, placed)
        _follow(flush, followers)
        counted = _counted(flush)
        if won:
            await parcels.append(connection, self._pack(won), writer=self._writer, deltas=counted.deltas)
            for one in won:
                lane = one.candidate.target.lane
                flush.waiting[lane] = flush.waiting.get(lane, 0) + 1
        else:
            await counts.add(connection, self._writer, counted.deltas)
        await counts.add_rejections(connection, self._writer, counted.rejected)
        await counts.add_consent_stops(connection, self._writer, counted.stopped)

    async def read(self, connection: RoadConnection, flush: Flush) -> None:
        """Fill in the verdicts that `write` would give, and write nothing."""
        await self._pin_names(connection, flush, dry=True)
        firsts, followers = _firsts(flush)
        keys = [key for _, candidate in firsts for key in candidate.keys]
        if keys:
            flush.found = await ledger.find(connection, flush.generation, keys)
        for at, candidate in firsts:
            flush.give(at, _verdict(candidate, flush.found))
        _follow(flush, followers)

    async def _pin_names(self, connection: RoadConnection, flush: Flush, *, dry: bool = False) -> None:
        """Pin the names of event types that were read from events, and turn away those that differ (R12).

        A `dry` one pins nothing and turns away what would be.
        """
        wanted: dict[tuple[AdvertiserId, str], str] = {}
        asking = []
        for (nth, index), candidate in flush.candidates():
            if candidate.conversion.event_type not in candidate.target.pins:
                key = (candidate.target.advertiser_id, candidate.conversion.event_type)
                wanted.setdefault(key, candidate.conversion.event_name)
                asking.append((nth, index, key, candidate))
        if not wanted:
            return
        if dry:
            flush.pinned = {**wanted, **await target_rows.pinned_names(connection, wanted)}
        else:
            flush.pinned = await target_rows.pin_names(connection, wanted)
        for nth, index, key, candidate in asking:
            pinned = flush.pinned[key]
            if pinned != candidate.conversion.event_name:
                flush.posts_judged[nth][index] = Rejection(
                    reason="event_name_conflict",
                    field=None,
                    mapping_field="event_name",
                    detail=f"The name pinned for {key[1]} is {pinned!r}.",
                    event_id=candidate.conversion.event_id,
                )

    async def _place(
        self,
        connection: RoadConnection,
        firsts: Sequence[tuple[At, Candidate]],
        low: frozenset[int],
    ) -> list[_Placed]:
        """Give each candidate a parcel and a place, in order of arrival, parcels no larger than a request."""
        placed: list[_Placed] = []
        # What is live and what is low never share a parcel: a parcel waits in one queue.
        filling: dict[tuple[DestinationNumber, bool], tuple[ParcelId, int, int]] = {}
        for at, candidate in firsts:
            is_low = at[0] in low
            queue, size = (candidate.target.number, is_low), len(candidate.conversion.body)
            parcel, events, total = filling.get(queue, (None, 0, 0))
            if parcel is None or events == packing.MAX_EVENTS or total + size > packing.MAX_BYTES:
                parcel, events, total = await self._next_id(connection), 0, 0
            placed.append(_Placed(at, candidate, parcel, events, is_low))
            filling[queue] = (parcel, events + 1, total + size)
        return placed

    async def _next_id(self, connection: RoadConnection) -> ParcelId:
        if not self._ids:
            self._ids = (await parcels.reserve_ids(connection, _IDS_AT_ONCE))[::-1]
        return self._ids.pop()

    async def _claim(
        self, connection: RoadConnection, flush: Flush, placed: Sequence[_Placed]
    ) -> list[_Placed]:
        """Enter the candidates in the ledger; those whose keys were all free have won."""
        entries = [
            ledger.Entry(key, one.candidate.content, one.parcel, one.place)
            for one in placed
            for key in one.candidate.keys
        ]
        flush.found = await self._enter(connection, flush.generation, entries)
        won = list(placed)
        if flush.found:
            taken = flush.found.keys()
            won = [one for one in placed if taken.isdisjoint(one.candidate.keys)]
            lost = [one for one in placed if not taken.isdisjoint(one.candidate.keys)]
            halves = [key for one in lost for key in one.candidate.keys if key not in taken]
            if halves:
                await ledger.release(connection, flush.generation, halves)
            for one in lost:
                flush.give(one.at, _verdict(one.candidate, flush.found))
        for one in won:
            flush.give(one.at, Verdict.ACCEPTED)
        return won

    async def _enter(
        self, connection: RoadConnection, generation: int, entries: Sequence[ledger.Entry]
    ) -> dict[bytes, ledger.Found]:
        """Enter those of the keys that are free; return what stands under the others."""
        if len(entries) >= BOLD_FROM:
            if not self._cautious and await ledger.enter(connection, generation, entries):
                return {}
            self._cautious = max(0, self._cautious - 1)
        found = await ledger.claim(connection, generation, entries)
        if found:
            self.be_cautious()
        return found

    def _pack(self, won: Sequence[_Placed]) -> list[parcels.NewParcel]:
        grouped: dict[ParcelId, list[_Placed]] = {}
        for one in won:
            grouped.setdefault(one.parcel, []).append(one)
        return [self._seal(parcel, members) for parcel, members in grouped.items()]

    def _seal(self, parcel: ParcelId, members: Sequence[_Placed]) -> parcels.NewParcel:
        packed = packing.pack([one.candidate.conversion.body for one in members], list(map(_shape, members)))
        data_key = vault.new_data_key()
        place = vault.parcel_place(parcel)
        return parcels.NewParcel(
            id=parcel,
            destination=members[0].candidate.target.number,
            content=vault.lock(data_key, packed.content, place=place),
            shapes=packed.shapes,
            events=packed.events,
            size=packed.size,
            first_event=packed.first_event,
            last_event=packed.last_event,
            data_key=self._vault.seal(data_key, place=place),
            queue=parcels.LOW if members[0].low else parcels.LIVE,
        )


@dataclass(frozen=True, slots=True)
class _Counted:
    """What a flush moves: counts, rejections by code and reason, consent stops by reason and basis."""

    deltas: dict[DestinationNumber, counts.Delta]
    rejected: Counter[tuple[DestinationNumber, str, str]]
    stopped: Counter[tuple[DestinationNumber, str, str]]


def _counted(flush: Flush) -> _Counted:
    """Count every verdict, and every rejection that has a destination to be counted under."""
    made = _Counted({}, Counter(), Counter())
    # One step a destination and verdict of the whole flush, not one an event or post.
    owners = chain.from_iterable(flush.destinations)
    for (number, verdict), events in Counter(
        zip(owners, chain.from_iterable(flush.verdicts), strict=True)
    ).items():
        if number is None:
            continue
        delta = made.deltas.setdefault(number, counts.Delta())
        match verdict:
            case Verdict.ACCEPTED:
                delta.accepted += events
            case Verdict.DUPLICATE:
                delta.duplicates += events
            case Verdict.CONFLICT:
                delta.rejected += events
                made.rejected[number, "BAD_REQUEST", "event_id_conflict"] += events
            case None:
                delta.rejected += events
    for judged, owned in zip(flush.posts_judged, flush.destinations, strict=True):
        for one, owner in zip(judged, owned, strict=True):
            if type(one) is Rejection and owner is not None:
                made.rejected[owner, one.code.value, one.reason] += 1
                if one.basis is not None:
                    made.stopped[owner, one.reason, one.basis] += 1
    return made


def _shape(one: _Placed) -> packing.Shape:
    candidate = one.candidate
    conversion = candidate.conversion
    return packing.Shape(
        place=one.place,
        event_id=conversion.event_id,
        mapping=candidate.mapping.number,
        mapping_version=candidate.mapping.version,
        event_type=conversion.event_type,
        event_at_ms=round(conversion.event_at.timestamp() * 1000),
        match_keys=conversion.match_keys,
        warnings=tuple([(warning.code, warning.field) for warning in candidate.warnings]),
        consent=conversion.consent,
        execution_id=candidate.execution_id,
    )


def _firsts(flush: Flush) -> tuple[list[tuple[At, Candidate]], list[tuple[At, Candidate, At]]]:
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


def _follow(flush: Flush, followers: Sequence[tuple[At, Candidate, At]]) -> None:
    """Give followers their verdict: by their leader's content when it won, else by what it lost to."""
    for at, candidate, (nth, index) in followers:
        leader = flush.posts_judged[nth][index]
        assert isinstance(leader, Candidate)
        if flush.verdicts[nth][index] is Verdict.ACCEPTED:
            same = leader.content == candidate.content
        else:
            # Nothing of a follower was written: with no row under its keys it must not count as accepted.
            same = _verdict(candidate, flush.found) is Verdict.DUPLICATE
        flush.give(at, Verdict.DUPLICATE if same else Verdict.CONFLICT)


def _verdict(candidate: Candidate, found: dict[bytes, ledger.Found]) -> Verdict:
    """Judge a candidate by what stands under its keys: nothing, the same content, or other content."""
    held = [found[key] for key in candidate.keys if key in found]
    if not held:
        return Verdict.ACCEPTED
    same = all(one.content == candidate.content for one in held)
    return Verdict.DUPLICATE if same else Verdict.CONFLICT
