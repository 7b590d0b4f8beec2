"""Parse the body of an events request and check each event. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sandbox.checks import Refusal
from sandbox.journal import Line, line_of, payload_hash
from sandbox.rules import excluded, judge

MAX_EVENTS: Final = 500


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


_read_envelope = msgspec.json.Decoder(_Envelope).decode
_read_event = msgspec.json.Decoder().decode
# What msgspec raises for malformed JSON; deep nesting raises RecursionError.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of a request; the sequences have one entry per event.

    `bodies` are the exact bytes of each event. `lines` has None for a refused event. `refused` has the
    reasons by index.
    """

    bodies: Sequence[bytes] = ()
    digests: Sequence[bytes] = ()
    event_ids: Sequence[str | None] = ()
    lines: Sequence[Line | None] = ()
    refused: Mapping[int, Sequence[Refusal]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The reason why the complete body is refused."""

    reason: str


def take_apart(body: bytes, *, region: str, now: float) -> Batch | Unreadable:
    """Read `{"events": [...]}` and check each event. Invalid JSON anywhere makes the complete body invalid.

    Each decoded event is released after its check. The garbage collection of five hundred decoded events
    would cost more than the checks.
    """
    event_ids: list[str | None] = []
    lines: list[Line | None] = []
    refused: dict[int, Sequence[Refusal]] = {}
    try:
        bodies = [bytes(raw) for raw in _read_envelope(body).events]
        if not 1 <= len(bodies) <= MAX_EVENTS:
            return Unreadable("A request must contain 1 to 500 events.")
        for index, one in enumerate(bodies):
            event = _read_event(one)
            reasons = judge(event, region=region, now=now)
            if reasons:
                refused[index] = reasons
            event_ids.append(_event_id(event))
            lines.append(None if reasons else line_of(event["eventDescription"], excluded=excluded(event)))
    except _UNREADABLE:
        return Unreadable('The body must be JSON of the form {"events": [...]}.')
    return Batch(bodies, [payload_hash(one) for one in bodies], event_ids, lines, refused)


def _event_id(event: Any) -> str | None:
    event_id = event.get("eventId") if type(event) is dict else None
    return event_id if type(event_id) is str else None
