"""Read the events of a request body: each with its routing ids, or the reason for its rejection.

Everything in an event except its three ids is catalogue data, which only mappings read. Source: interface §2.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec

from app.domain import strict_json
from app.domain.outcomes.reasons import REASONS, JourneyCode
from app.domain.personal_text import is_personal_id

MAX_EVENTS: Final = 5000
MAX_EVENT_ID_LENGTH: Final = 256

# Routing members: they say where an event goes, so the content digest leaves them out.
ROUTING: Final = frozenset({"event_id", "destination_id", "mapping_id"})

CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# The prefix of `amazon_event_id`; callers must not send ids with it.
DERIVED_SHAPE: Final = re.compile(r"[0-9a-f]{16}:", re.ASCII)


class Event(msgspec.Struct, frozen=True):
    """One event as sent. `content` is the complete object, `index` its position. Personal data: no repr."""

    index: int
    event_id: str | None
    destination_id: str
    mapping_id: str | None
    content: dict[str, Any]

    __repr__ = object.__repr__


class JourneyIds(msgspec.Struct, frozen=True):
    """The ids of the journey, node and execution that sent an event. An absent or invalid id is None."""

    journey_id: str | None = None
    node_id: str | None = None
    execution_id: str | None = None


NO_JOURNEY: Final = JourneyIds()


class Rejection(msgspec.Struct, frozen=True):
    """The rejection of an event: a reason of `REASONS`, the field, and a sentence without values of the
    event.

    `field` is the source path, `mapping_field` the destination field. `event_id` is None when the caller sent
    none or when the id itself is invalid. `basis` is the consent mode that applied, when consent is missing.
    """

    reason: str
    field: str | None
    mapping_field: str | None
    detail: str
    event_id: str | None
    basis: str | None = None
    # Set for an event that could not be read completely; other events have them in their content.
    destination_id: str | None = None
    journey: JourneyIds | None = None
    mapping: int | None = None  # the number of the mapping that it was matched to

    @property
    def code(self) -> JourneyCode:
        """The journey's code for the reason."""
        return REASONS[self.reason].code


@dataclass(frozen=True, slots=True)
class BodyProblem:
    """The reason why no event was read from a body: 'malformed_body', 'empty_batch' or 'too_many_events'."""

    problem: str
    detail: str


Read = Event | Rejection
_EMPTY: Final = BodyProblem("empty_batch", "The batch contains no event.")
_TOO_MANY: Final = BodyProblem("too_many_events", f"A request may have at most {MAX_EVENTS:,} events.")


def read_events(
    body: Any, *, default_destination: str | None, default_mapping: str | None
) -> list[Read] | BodyProblem:
    """Read the events of a parsed body: one event, an array, or a list under `events` or `rows`.

    A member that is not an object is rejected on its own. An event's ids override those next to the list, and
    these override the defaults from the query. `events` or `rows` that is not a list is catalogue data.
    """
    if type(body) is list:
        return _read_batch(body, (), default_destination, default_mapping)
    if type(body) is not dict:
        return BodyProblem("malformed_body", "The body is neither an event nor a list of events.")
    lists = [name for name in ("events", "rows") if type(body.get(name)) is list]
    if len(lists) == 2:
        return BodyProblem("malformed_body", "The body has a list under events and another under rows.")
    if lists:
        return _read_batch(body[lists[0]], (body,), default_destination, default_mapping)
    return [_read_one(0, body, (), default_destination, default_mapping)]


def read_lines(
    body: bytes, *, default_destination: str | None, default_mapping: str | None
) -> list[Read] | BodyProblem:
    """Read the events of NDJSON, one per line. Blank lines do not count; an invalid line is rejected on its
    own.
    """
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    if not lines:
        return _EMPTY
    if len(lines) > MAX_EVENTS:
        return _TOO_MANY
    read: list[Read] = []
    for index, (number, line) in enumerate(lines):
        value = strict_json.parse(line)
        if isinstance(value, strict_json.MalformedJson):
            sentence = strict_json.SENTENCES[value.why].replace("The body", "The line")
            detail = f"Line {number}: {sentence}"
            read.append(_unread("malformed_line", detail, default_destination))
        else:
            read.append(_read_member(index, value, (), default_destination, default_mapping))
    return read


def _read_batch(
    members: list[Any], envelope: tuple[dict[str, Any], ...], destination: str | None, mapping: str | None
) -> list[Read] | BodyProblem:
    if not members:
        return _EMPTY
    if len(members) > MAX_EVENTS:
        return _TOO_MANY
    return [_read_member(i, member, envelope, destination, mapping) for i, member in enumerate(members)]


def _read_member(
    index: int,
    member: Any,
    envelope: tuple[dict[str, Any], ...],
    destination: str | None,
    mapping: str | None,
) -> Read:
    if type(member) is not dict:
        named = _routed("destination_id", {}, envelope, destination)
        return _unread("not_an_object", "The event is not a JSON object.", named)
    return _read_one(index, member, envelope, destination, mapping)


def _unread(reason: str, detail: str, destination_id: Any) -> Rejection:
    """Return the rejection of a member without ids of its own: it counts for the destination of its batch."""
    known = destination_id if type(destination_id) is str else None
    return Rejection(reason, None, None, detail, None, destination_id=known)


def _read_one(
    index: int,
    content: dict[str, Any],
    envelope: tuple[dict[str, Any], ...],
    default_destination: str | None,
    default_mapping: str | None,
) -> Read:
    event_id = content.get("event_id")
    destination_id = _routed("destination_id", content, envelope, default_destination)
    mapping_id = _routed("mapping_id", content, envelope, default_mapping)
    if event_id is not None and (refused := check_event_id(event_id)):
        known = destination_id if type(destination_id) is str else None
        return msgspec.structs.replace(refused, destination_id=known, journey=journey_ids(content))
    if destination_id is None or destination_id == "":
        detail = "destination_id is missing: set it in the event, next to the list, or in the query."
        return Rejection("destination_missing", "destination_id", None, detail, event_id)
    if type(destination_id) is not str:
        return Rejection("wrong_type", "destination_id", None, "destination_id is not a text.", event_id)
    if mapping_id is not None and type(mapping_id) is not str:
        return Rejection(
            "wrong_type",
            "mapping_id",
            None,
            "mapping_id is not a text.",
            event_id,
            destination_id=destination_id,
            journey=journey_ids(content),
        )
    return Event(index, event_id, destination_id, mapping_id or None, content)


def _routed(name: str, content: dict[str, Any], envelope: tuple[dict[str, Any], ...], default: Any) -> Any:
    for members in (content, *envelope):
        value = members.get(name)
        if value is not None:
            return value
    return default


def check_event_id(event_id: Any) -> Rejection | None:
    """Return the problem of a caller's event id, or None if it is valid."""
    if type(event_id) is not str:
        return Rejection("event_id_invalid", "event_id", None, "event_id is not a text.", None)
    if not 1 <= len(event_id) <= MAX_EVENT_ID_LENGTH:
        detail = f"event_id is empty or has more than {MAX_EVENT_ID_LENGTH} characters."
        return Rejection("event_id_invalid", "event_id", None, detail, None)
    if CONTROL_CHARACTER.search(event_id):
        return Rejection("event_id_invalid", "event_id", None, "event_id contains a control character.", None)
    if is_personal_id(event_id):
        detail = "event_id looks like an e-mail address or a phone number; ids are shown and logged."
        return Rejection("event_id_personal", "event_id", None, detail, None)
    return None


_JOURNEY_ID: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,256}")
# One pass for ids that no further rule concerns, because it runs for every event.
_PLAIN_ID: Final = re.compile(
    "[^\x00-\x1f\x7f-\x9f@%+\N{FULLWIDTH COMMERCIAL AT}\N{SMALL COMMERCIAL AT}\N{FULLWIDTH PLUS SIGN}]{1,256}"
)


def journey_id(found: Any) -> str | None:
    """Return the id of a journey, node or execution if it may be stored and shown, else None.

    The rule is that of event ids. An invalid id does not reject its event: only searches and filters read it.
    """
    if type(found) is int:
        found = str(found)
    if type(found) is not str:
        return None
    if _PLAIN_ID.fullmatch(found):
        return found
    return found if _JOURNEY_ID.fullmatch(found) and not is_personal_id(found) else None


def journey_ids(content: dict[str, Any]) -> JourneyIds:
    """Return the journey, node and execution of an event. Source: interface §10."""
    journey = content.get("journey")
    if type(journey) is not dict:
        return NO_JOURNEY
    return JourneyIds(
        journey_id(journey.get("id")),
        journey_id(journey.get("node_id")),
        journey_id(journey.get("execution_id")),
    )


_CANONICAL: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")


def content_digest(content: dict[str, Any], pepper: bytes) -> bytes:
    """Hash the content of an event to 16 bytes: keyed BLAKE2b over its JSON, keys sorted, routing ids left
    out.

    Retries of one event match, regardless of order and spacing of their members. Numbers are hashed as
    written: `1` and `1.0` differ, `1e3` and `1E+3` do not. Without the secret pepper, which is never rotated,
    no one can test a digest against guessed traits.
    """
    said = content.copy()
    for name in ROUTING:
        said.pop(name, None)
    digest = _keyed(pepper).copy()
    digest.update(_CANONICAL.encode(said))
    return digest.digest()


@lru_cache(maxsize=8)
def _keyed(pepper: bytes) -> "hashlib.blake2b":
    # BLAKE2b takes a key of at most 64 bytes; a longer pepper is hashed first.
    return hashlib.blake2b(
        digest_size=16, key=pepper if len(pepper) <= 64 else hashlib.blake2b(pepper).digest()
    )


def derived_event_id(digest: bytes) -> str:
    """Derive the id of an event without one from its content, so that a retry has the same id."""
    return f"derived-{digest.hex()}"


def amazon_event_id(destination_id: str, mapping_id: str, event_type: str, event_id: str) -> str:
    """Build the id by which Amazon deduplicates, for an event without a mapped one.

    It includes the event type, because Amazon deduplicates across types. Source: P5 and interface §2.
    """
    return f"{_id_scope(destination_id, mapping_id, event_type)}:{event_id}"


@lru_cache(maxsize=4096)
def _id_scope(destination_id: str, mapping_id: str, event_type: str) -> str:
    # Cached: it is the same for every event of a mapping and type.
    return hashlib.sha256(f"{destination_id}\n{mapping_id}\n{event_type}".encode()).hexdigest()[:16]
