"""What a run leaves behind, in the shapes that the judge compares: sets of ids, never mere counts.

All moments are seconds since 1970 on the one machine that the run used. An event is known by the id that
its caller gave it; ids are unique within a run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

FINAL = frozenset({"delivered", "dead", "expired", "erased"})
STATES = FINAL | {"queued", "retrying", "held", "parked"}


def members_of(body: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids and the hashes of the events in a request."""
    members = msgspec.json.decode(body, type=dict[str, list[msgspec.Raw]])["events"]
    bodies = [bytes(member) for member in members]
    ids = tuple(json.loads(one)["eventId"].partition(":")[2] for one in bodies)
    return ids, tuple(hashlib.sha256(one).hexdigest() for one in bodies)


@dataclass(frozen=True, slots=True)
class Request:
    """One request for the events call, as the stand-in saw it; the three tuples run in step.

    `ended` is when the last byte of the answer had left or the sender had hung up, whichever came first.
    `clear` means that a complete response was sent, with a result for every event.
    """

    number: int
    advertiser: str
    began: float
    ended: float
    ids: tuple[str, ...]
    hashes: tuple[str, ...]
    taken: tuple[bool, ...]
    status: int | None = None
    retry_after: float | None = None
    clear: bool = False

    @property
    def accepted(self) -> list[str]:
        """Return the events that the stand-in took."""
        return [event for event, taken in zip(self.ids, self.taken, strict=True) if taken]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as the database holds it; `number` is the stand-in's request that it names, if any."""

    id: int
    advertiser: str
    number: int | None
    started: float
    settled: float | None
    status: int | None


@dataclass(frozen=True, slots=True)
class Stop:
    """From `since`, when an act was answered, until `until`, when its end was asked for, nothing is sent."""

    action: str
    advertiser: str
    ids: frozenset[str] | None
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Sample:
    """The counts of one destination as the API returned them at one moment."""

    destination: str
    at: float
    counts: Mapping[str, int]


@dataclass(slots=True)
class Evidence:
    """Everything the judge looks at.

    `stored` lists the state of every place in which an id lies in the database: one entry, if all is well.
    `listed` is what the API's lists say, by id. `guilty` are events that the run gave cause to die, and
    `fresh` tells of events posted at the very end whether each was delivered. `leftovers` are sentences
    on what did not return to its baseline.
    """

    offered: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    stored: dict[str, list[str]] = field(default_factory=dict)
    listed: dict[str, list[str]] | None = None
    requests: Sequence[Request] = ()
    attempts: Sequence[Attempt] = ()
    stops: Sequence[Stop] = ()
    samples: Sequence[Sample] = ()
    final_counts: Mapping[str, int] | None = None
    guilty: set[str] = field(default_factory=set)
    fresh: dict[str, bool] = field(default_factory=dict)
    # Events of persons whose erasure was asked for.
    erasable: set[str] = field(default_factory=set)
    leftovers: Sequence[str] = ()
    # How long bytes may be on their way between service and stand-in, proxies included.
    transit: float = 0.0
    # Two clocks of one machine read by two processes, and a scheduler between them.
    moment: float = 0.05


@dataclass(frozen=True, slots=True)
class Objection:
    """A promise that was not kept. `rule` names it; `about` names ids or moments, never a value."""

    rule: str
    about: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.about}"
