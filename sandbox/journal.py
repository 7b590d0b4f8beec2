"""The sandbox's memory: accepted events, and every request to the events call.

Memory is bounded. The journal stores the newest `max_events` events, and the JSON of the newest
`max_bodies` events. Counts include dropped events. The journal also stores the newest `max_requests`
requests, with at most `max_logged_events` events in total. A log file can record every request, one JSON
object per line; checks of long runs read it.
"""

import hashlib
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec

TRIM_SHARE: Final = 10
"""A full list drops a tenth together, so that dropping costs almost nothing per event."""


@dataclass(slots=True)
class Kept:
    """One accepted event; `digests` has one SHA-256 for each different body."""

    serial: int
    region: str
    advertiser_id: str
    event_id: str | None
    request_id: int
    first_at: float
    last_at: float
    digests: tuple[bytes, ...]
    times: int = 1
    body: bytes | None = field(default=None, repr=False)


class Receipt(NamedTuple):
    """The common facts of the events of one request."""

    region: str
    advertiser_id: str
    request_id: int
    now: float


class Line(NamedTuple):
    """The row of the Events manager (name, type, source, dataset), and whether Amazon uses the event."""

    row: tuple[str, str, str, str]
    excluded: bool


def line_of(description: dict[str, str], *, excluded: bool) -> Line:
    """Return the row of an accepted event."""
    dataset = description.get("dataSetName", "Default_Events")
    return Line(
        (description["name"], description["conversionType"], description["eventSource"], dataset), excluded
    )


@dataclass(slots=True)
class Tally:
    """The counts of one advertiser. They include events that are no longer stored."""

    distinct: int = 0
    received: int = 0
    repeats: int = 0
    other_bytes: int = 0
    refused: int = 0
    excluded: int = 0
    last_at: float | None = None


@dataclass(slots=True)
class Activity:
    """The Events manager's counts of one event description."""

    received: int = 0
    excluded: int = 0
    last_at: float = 0.0


class Logged(msgspec.Struct, kw_only=True):
    """One request to the events call, as the log shows it.

    `status` is null if no response was sent. The three lists have one entry per event; they are empty if the
    body was unreadable. A payload hash is the SHA-256 of the exact bytes of an event.
    """

    request_id: int
    serial: int = 0
    received_at: float
    monotonic: float
    region: str
    advertiser_id: str
    status: int | None
    fault: str | None = None
    retry_after: str | None = None
    within_retry_after: bool = False
    events: int = 0
    body_bytes: int = 0
    event_ids: list[str | None] = []
    payload_hashes: list[str] = []
    outcomes: list[str] = []
    """`accepted` or `refused`, regardless of the response."""


@dataclass(slots=True)
class Journal:
    """Record and list accepted events and requests."""

    max_events: int = 500_000
    max_bodies: int = 50_000
    max_requests: int = 20_000
    max_logged_events: int = 200_000
    log_path: Path | None = None
    _kept: list[Kept] = field(default_factory=list, repr=False)
    _index: dict[tuple[str, str, str], Kept] = field(default_factory=dict, repr=False)
    _bodies: deque[Kept] = field(default_factory=deque, repr=False)
    _requests: deque[Logged] = field(default_factory=deque, repr=False)
    _tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    _activity: dict[tuple[str, str, tuple[str, str, str, str]], Activity] = field(default_factory=dict)
    _gates: dict[tuple[str, str], float] = field(default_factory=dict)
    _log: IO[bytes] | None = field(default=None, repr=False)
    _serial: int = 0
    _request_id: int = 0
    _log_serial: int = 0
    _logged_events: int = 0

    def __post_init__(self) -> None:
        if self.log_path is not None:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            self._log = self.log_path.open("ab")

    def next_request_id(self) -> int:
        self._request_id += 1
        return self._request_id

    def accept(self, receipt: Receipt, event_id: str | None, body: bytes, digest: bytes, line: Line) -> None:
        """Record one accepted event, or another copy of it. `digest` is SHA-256 over `body`."""
        region, advertiser_id, request_id, now = receipt
        tally = self.tally(region, advertiser_id)
        tally.received += 1
        tally.last_at = now
        self._note_activity(region, advertiser_id, line, now)
        known = None if event_id is None else self._index.get((region, advertiser_id, event_id))
        if known is not None:
            known.times += 1
            known.last_at = now
            tally.repeats += 1
            if digest not in known.digests:
                tally.other_bytes += 1
                known.digests += (digest,)
            return
        self._serial += 1
        kept = Kept(self._serial, region, advertiser_id, event_id, request_id, now, now, (digest,), body=body)
        tally.distinct += 1
        tally.excluded += line.excluded
        self._kept.append(kept)
        if event_id is not None:
            self._index[region, advertiser_id, event_id] = kept
        self._bodies.append(kept)
        if len(self._bodies) > self.max_bodies:
            self._bodies.popleft().body = None
        if len(self._kept) > self.max_events:
            self._forget(max(1, self.max_events // TRIM_SHARE))

    def refuse(self, receipt: Receipt) -> None:
        self.tally(receipt.region, receipt.advertiser_id).refused += 1

    def log(self, entry: Logged) -> None:
        """Record a request before it is answered: in memory and in the log file, if any."""
        gate = self._gates.get((entry.region, entry.advertiser_id))
        entry.within_retry_after = gate is not None and entry.monotonic < gate
        if entry.retry_after is not None and entry.retry_after.isascii() and entry.retry_after.isdigit():
            opens = entry.monotonic + min(int(entry.retry_after), 10**9)
            self._gates[entry.region, entry.advertiser_id] = max(gate or 0.0, opens)
        # Numbers follow the order of this list, which readers page through. Request ids follow the order of
        # arrival, and a later request can end first.
        self._log_serial += 1
        entry.serial = self._log_serial
        self._requests.append(entry)
        self._logged_events += entry.events
        while len(self._requests) > self.max_requests or self._logged_events > self.max_logged_events:
            self._logged_events -= self._requests.popleft().events
        if self._log is not None:
            self._log.write(msgspec.json.encode(entry) + b"\n")
            self._log.flush()

    def tally(self, region: str, advertiser_id: str) -> Tally:
        found = self._tallies.get((region, advertiser_id))
        if found is None:
            found = self._tallies[region, advertiser_id] = Tally()
        return found

    def tallies(self) -> dict[tuple[str, str], Tally]:
        return self._tallies

    def activity(self) -> dict[tuple[str, str, tuple[str, str, str, str]], Activity]:
        """Return counts by (region, advertiser, (name, type, source, dataset))."""
        return self._activity

    def events(self, advertiser_id: str | None, since: float | None, after: int) -> Iterator[Kept]:
        """Yield the events with a serial above `after`, first received at or after `since`, oldest first."""
        start = bisect_left(self._kept, after + 1, key=lambda kept: kept.serial)
        if since is not None:
            start = max(start, bisect_left(self._kept, since, key=lambda kept: kept.first_at))
        for place in range(start, len(self._kept)):
            kept = self._kept[place]
            if advertiser_id is None or kept.advertiser_id == advertiser_id:
                yield kept

    def latest_events(self, advertiser_id: str | None) -> Iterator[Kept]:
        """Yield the events whose JSON is stored, newest first."""
        for kept in reversed(self._bodies):
            if advertiser_id in (None, kept.advertiser_id):
                yield kept

    def requests(self, advertiser_id: str | None, after: int) -> Iterator[Logged]:
        """Yield the stored requests with a serial above `after`, oldest first."""
        for entry in self._requests:
            if entry.serial > after and advertiser_id in (None, entry.advertiser_id):
                yield entry

    def empty_events(self, advertiser_id: str | None = None) -> int:
        """Delete the accepted events and counts of one or all advertisers. Return the number of events."""
        before = len(self._kept)

        def stays(owner: str) -> bool:
            return advertiser_id is not None and owner != advertiser_id

        self._kept = [kept for kept in self._kept if stays(kept.advertiser_id)]
        self._bodies = deque(kept for kept in self._bodies if stays(kept.advertiser_id))
        self._index = {key: kept for key, kept in self._index.items() if stays(key[1])}
        self._tallies = {key: tally for key, tally in self._tallies.items() if stays(key[1])}
        self._activity = {key: line for key, line in self._activity.items() if stays(key[1])}
        return before - len(self._kept)

    def empty_requests(self) -> None:
        """Delete the stored requests, but not a log file."""
        self._requests.clear()
        self._logged_events = 0
        self._gates.clear()

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _forget(self, count: int) -> None:
        for kept in self._kept[:count]:
            kept.body = None
            if kept.event_id is not None:
                self._index.pop((kept.region, kept.advertiser_id, kept.event_id), None)
        del self._kept[:count]

    def _note_activity(self, region: str, advertiser_id: str, line: Line, now: float) -> None:
        # Counted before deduplication, as in Amazon's console.
        found = self._activity.get((region, advertiser_id, line.row))
        if found is None:
            if len(self._activity) >= 10_000:
                return  # a sender with invented names must not fill the memory
            found = self._activity[region, advertiser_id, line.row] = Activity()
        found.received += 1
        found.excluded += line.excluded
        found.last_at = now


def payload_hash(body: bytes) -> bytes:
    """Return the SHA-256 of the exact bytes of an event."""
    return hashlib.sha256(body).digest()
