"""Read the events of a request body.

Each event is read with its routing ids, or rejected with a reason. All other members of an event are
catalogue data, which mappings read. Source: interface §2.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, cast

import msgspec

from app.domain import strict_json
from app.domain.ids import AdvertiserId, DestinationId, MappingId, OrganisationId
from app.domain.outcomes.reasons import REASONS, JourneyCode
from app.domain.privacy.personal_text import is_personal_id

MAX_EVENTS: Final = 5000
# JSON that takes tens of milliseconds to parse.
LARGE_JSON_BYTES: Final = 256 * 1024
MAX_EVENT_ID_LENGTH: Final = 256

# Members that determine where an event is sent. The content digest leaves them out.
ROUTING: Final = frozenset({"event_id", "destination_id", "mapping_id"})

CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# The prefix of the ids from `amazon_event_id`. The id of a mapping must not begin with it.
DERIVED_SHAPE: Final = re.compile(r"[0-9a-f]{16}:", re.ASCII)


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event as the caller sent it. It is personal data, so it has no `repr`."""

    event_id: str | None
    destination_id: str
    mapping_id: str | None
    content: dict[str, Any]

    __repr__ = object.__repr__


class JourneyIds(msgspec.Struct, frozen=True, gc=False):
    """The ids of the journey, node and execution that sent an event. An absent or invalid id is None."""

    journey_id: str | None = None
    node_id: str | None = None
    execution_id: str | None = None


JOURNEY_IDS: Final = JourneyIds.__struct_fields__
NO_JOURNEY: Final = JourneyIds()


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneySelection:
    """The ids of journey, node and execution by which events are selected. None means any."""

    execution_id: str | None = None
    journey_id: str | None = None
    node_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventProblem:
    """Why a field rejects an event: a key of `REASONS`, the path in the event, and the mapping's field."""

    reason: str
    field: str | None
    mapping_field: str | None


class Rejection(msgspec.Struct, frozen=True):
    """The rejection of an event. `reason` is a key of `REASONS`; `detail` contains no value of the event.

    `field` is the path in the event, `mapping_field` the field of the mapping. `event_id` is None if it is
    absent or invalid. `basis` is set if consent is missing: the consent mode that applies. `also` has the
    other problems of the event, at most nine.
    """

    reason: str
    field: str | None
    mapping_field: str | None
    detail: str
    event_id: str | None
    basis: str | None = None
    # `destination_id` and `journey` are set if no Event was created, or if a mapping applies to the event.
    # Otherwise the Event has them.
    destination_id: str | None = None
    journey: JourneyIds | None = None
    mapping: int | None = None  # the number of the mapping that applies to the event
    also: tuple[EventProblem, ...] = ()

    @property
    def code(self) -> JourneyCode:
        """The code for the journey engine."""
        return REASONS[self.reason].code


@dataclass(frozen=True, slots=True)
class BodyProblem:
    """Why no event was read from a body: 'malformed_body', 'empty_batch' or 'too_many_events'."""

    problem: str
    detail: str


Read = Event | Rejection


class MalformedBody(Exception):
    """An event of a body is malformed, so `strict_json.parse` refuses the body."""


@dataclass(frozen=True, slots=True, repr=False)
class Events:
    """The events of a body, in order. Reading one raises MalformedBody.

    An event is read whenever it is needed, and only its bytes are kept, because its values take several times
    as much memory.
    """

    members: Sequence[Any]
    read: Callable[[Any], Read]

    def is_large(self, index: int) -> bool:
        """Return whether the event is larger than `LARGE_JSON_BYTES`."""
        member = self.members[index]
        text = member[1] if type(member) is tuple else member
        return isinstance(text, (bytes, msgspec.Raw)) and len(text) > LARGE_JSON_BYTES

    def reader(self, index: int) -> Callable[[], Event]:
        """Return a function that reads an event which is not rejected when it is read.

        It keeps only the bytes of the event, not those of the body.
        """
        member = self.members[index]
        kept = member.copy() if type(member) is msgspec.Raw else member
        return cast("Callable[[], Event]", partial(self.read, kept))

    def __iter__(self) -> Iterator[Read]:
        return map(self.read, self.members)


LISTS: Final = ("events", "rows")
"""The names of a list of events in a body."""
_EMPTY: Final = BodyProblem("empty_batch", "The batch contains no event.")
_TOO_MANY: Final = BodyProblem("too_many_events", f"A request may have at most {MAX_EVENTS:,} events.")


def read_events(
    body: Any, *, default_destination: str | None, default_mapping: str | None
) -> Events | BodyProblem:
    """Return the events of a parsed body: one event, an array, or a list under `events` or `rows`.

    The events may be unparsed (`strict_json.parse_outside`). Routing ids are read from the event, else from
    the members next to the list, else from the query, which gives the defaults. A list member that is not an
    object is rejected; the others are read. `events` or `rows` counts as catalogue data if it is not a list.
    """
    if type(body) is list:
        return _events(body, partial(_read_member, default_destination, default_mapping, 1))
    if type(body) is dict:
        lists = [name for name in LISTS if type(body.get(name)) is list]
        if len(lists) == 2:
            return BodyProblem("malformed_body", "The body has a list under events and another under rows.")
        if lists:
            destination, mapping = body.get("destination_id"), body.get("mapping_id")
            destination = default_destination if destination is None else destination
            mapping = default_mapping if mapping is None else mapping
            return _events(body[lists[0]], partial(_read_member, destination, mapping, 2))
    elif type(body) is not bytes:
        return BodyProblem("malformed_body", "The body is neither an event nor a list of events.")
    return Events([body], partial(_read_member, default_destination, default_mapping, 0))


def read_lines(
    body: bytes, *, default_destination: str | None, default_mapping: str | None
) -> Events | BodyProblem:
    """Return the events of NDJSON, one in each line. Ignore blank lines; reject only the invalid lines."""
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    return _events(lines, partial(_read_line, default_destination, default_mapping))


def reject_late(events: Events, late: Set[str]) -> Events | None:
    """Replace each event of a destination in `late` with a rejection that tells the sender to try again
    later. Return None if that concerns all events.
    """
    if all(isinstance(event, Event) and event.destination_id in late for event in events):
        return None
    detail = "The oldest event in the advertiser's queue has waited for three quarters of the age limit."

    def read(member: Any) -> Read:
        event = events.read(member)
        if isinstance(event, Rejection) or event.destination_id not in late:
            return event
        id_, destination, journey = event.event_id, event.destination_id, journey_ids(event.content)
        reason, field = "backlog_too_long", "destination_id"
        return Rejection(reason, field, None, detail, id_, destination_id=destination, journey=journey)

    return Events(events.members, read)


def _events(members: list[Any], read: Callable[[Any], Read]) -> Events | BodyProblem:
    if not members:
        return _EMPTY
    return _TOO_MANY if len(members) > MAX_EVENTS else Events(members, read)


def _read_line(destination: str | None, mapping: str | None, numbered: tuple[int, bytes]) -> Read:
    number, line = numbered
    value = strict_json.parse(line)
    if not isinstance(value, strict_json.MalformedJson):
        return _read_member(destination, mapping, 0, value)
    sentence = strict_json.SENTENCES[value.why].replace("The body", "The line")
    return _unread("malformed_line", f"Line {number}: {sentence}", destination)


def _unread(reason: str, detail: str, destination_id: Any) -> Rejection:
    """Return the rejection of a line or list member that cannot be read. Its ids are unknown.

    It counts for `destination_id`, if that is a text.
    """
    known = destination_id if type(destination_id) is str else None
    return Rejection(reason, None, None, detail, None, destination_id=known)


def _read_member(destination_id: Any, mapping_id: Any, depth: int, content: Any) -> Read:
    """Read an event, which may be unparsed. Raises MalformedBody.

    Its routing ids, which may have any type, precede those from outside. `depth` is the number of arrays and
    objects around it.
    """
    if type(content) is msgspec.Raw or type(content) is bytes:
        content = strict_json.parse(bytes(content), max_depth=strict_json.MAX_DEPTH - depth)
        if type(content) is strict_json.MalformedJson:
            raise MalformedBody
    if type(content) is not dict:
        return _unread("not_an_object", "The event is not a JSON object.", destination_id)
    event_id = content.get("event_id")
    if (own := content.get("destination_id")) is not None:
        destination_id = own
    if (own := content.get("mapping_id")) is not None:
        mapping_id = own
    is_usual = type(event_id) is str and _USUAL_ID(event_id)
    if event_id is not None and not is_usual and (problem := event_id_problem(event_id)):
        known = destination_id if type(destination_id) is str else None
        detail, journey = problem.sentence, journey_ids(content)
        return Rejection(
            problem.reason, "event_id", None, detail, None, destination_id=known, journey=journey
        )
    if destination_id is None or destination_id == "":
        detail = "destination_id is missing: set it in the event, next to the list, or in the query."
        return Rejection("destination_missing", "destination_id", None, detail, event_id)
    if type(destination_id) is not str:
        return Rejection("wrong_type", "destination_id", None, "destination_id is not a text.", event_id)
    if mapping_id is not None and type(mapping_id) is not str:
        detail, journey = "mapping_id is not a text.", journey_ids(content)
        return Rejection(
            "wrong_type", "mapping_id", None, detail, event_id, destination_id=destination_id, journey=journey
        )
    return Event(event_id, destination_id, mapping_id or None, content)


# An id that holds no control character, and no character of an address or an international number.
_USUAL_ID: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_EVENT_ID_LENGTH}}}", re.ASCII).fullmatch


class EventIdProblem(NamedTuple):
    """Why an event id is invalid: the reason and the sentence of the rejection."""

    reason: str
    sentence: str


def event_id_problem(event_id: Any) -> EventIdProblem | None:
    """Return why an event id is invalid, or None if it is valid."""
    if type(event_id) is not str:
        return EventIdProblem("event_id_invalid", "event_id is not a text.")
    if not 1 <= len(event_id) <= MAX_EVENT_ID_LENGTH:
        sentence = f"event_id is empty or has more than {MAX_EVENT_ID_LENGTH} characters."
        return EventIdProblem("event_id_invalid", sentence)
    if CONTROL_CHARACTER.search(event_id):
        return EventIdProblem("event_id_invalid", "event_id contains a control character.")
    if is_personal_id(event_id):
        sentence = "event_id looks like an e-mail address or a phone number; ids are shown and logged."
        return EventIdProblem("event_id_personal", sentence)
    return None


# Ids that contain no character of an address or phone number. This fast check suffices for most events.
_PLAIN_IDS: Final = re.compile(
    "[^\x00-\x1f\x7f-\x9f@%+\N{FULLWIDTH COMMERCIAL AT}\N{SMALL COMMERCIAL AT}\N{FULLWIDTH PLUS SIGN}]{1,256}"
).fullmatch


def journey_id(found: Any) -> str | None:
    """Return the id of a journey, node or execution, or None if it is invalid.

    The rules for event ids apply. The id serves only searches and filters, so an invalid id does not reject
    its event.
    """
    if type(found) is int:
        found = str(found)
    return found if type(found) is str and event_id_problem(found) is None else None


def journey_ids(content: dict[str, Any]) -> JourneyIds:
    """Return the journey, node and execution of an event. Source: interface §10."""
    journey = content.get("journey")
    if type(journey) is not dict:
        return NO_JOURNEY
    id_, node, execution = journey.get("id"), journey.get("node_id"), journey.get("execution_id")
    is_usual = type(id_) is str and type(node) is str and type(execution) is str
    # If the three texts together have none of the characters, each of them has none.
    if is_usual and id_ and node and execution and _PLAIN_IDS(id_ + node + execution):
        return JourneyIds(id_, node, execution)
    return JourneyIds(journey_id(id_), journey_id(node), journey_id(execution))


_CANONICAL: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")


def content_digest(content: dict[str, Any], pepper: bytes) -> bytes:
    """Hash the content of an event to 16 bytes, without its routing ids.

    The hash is keyed BLAKE2b over JSON with sorted keys, so a retry has the same digest regardless of the
    order and spacing of its members. `1` and `1.0` have different digests, `1e3` and `1E+3` the same. The
    pepper is secret and never rotated. Without it, nobody can test a digest against guessed traits.
    """
    hashed = content.copy()
    for name in ROUTING:
        hashed.pop(name, None)
    digest = _keyed(pepper).copy()
    digest.update(_CANONICAL.encode(hashed))
    return digest.digest()


@lru_cache(maxsize=8)
def _keyed(pepper: bytes) -> "hashlib.blake2b":
    # BLAKE2b takes a key of at most 64 bytes; a longer pepper is hashed first.
    key = pepper if len(pepper) <= 64 else hashlib.blake2b(pepper).digest()
    return hashlib.blake2b(digest_size=16, key=key)


def derived_event_id(digest: bytes) -> str:
    """Return the id for an event that was sent without an id. A retry gets the same id."""
    return f"derived-{digest.hex()}"


def amazon_event_id(destination_id: str, mapping_id: str, event_type: str, event_id: str) -> str:
    """Return the id by which Amazon deduplicates, for a mapping that sets no event id.

    It includes the event type, because Amazon deduplicates across types. Source: P5 and interface §2.
    """
    scope = hashlib.sha256(f"{destination_id}\n{mapping_id}\n{event_type}".encode()).hexdigest()[:16]
    return f"{scope}:{event_id}"


# --- Ledger keys ----------------------------------------------------------------------------------

KEY_BYTES: Final = 16


def event_key(destination: DestinationId, mapping: MappingId, event_id: str) -> bytes:
    """Return the ledger key of an event id: the caller's id, or the id derived from the content."""
    return _key(_scope("event", destination, mapping), event_id)


def amazon_key(
    organisation: OrganisationId, region: str, advertiser: AdvertiserId, amazon_event_id: str
) -> bytes:
    """Return the ledger key of an Amazon eventId that the mapping sets.

    It contains the organisation, because a duplicate must not reveal that another organisation uses the
    same advertiser.
    """
    return _key(_scope("amazon", organisation, region, advertiser), amazon_event_id)


def _key(scope: "hashlib.blake2b", last: str) -> bytes:
    # Each part is preceded by its length, so that different parts never give the same bytes.
    digest, raw = scope.copy(), last.encode()
    digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.digest()


@lru_cache(maxsize=16_384)
def _scope(*parts: str) -> "hashlib.blake2b":
    # All events of a mapping share a scope. The cache is large, because a search by event id needs every
    # mapping.
    framed = (len(raw).to_bytes(4, "big") + raw for raw in map(str.encode, parts))
    return hashlib.blake2b(b"".join(framed), digest_size=KEY_BYTES)
