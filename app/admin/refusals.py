"""Why a use case refuses: an error code that stays the same, a sentence, and the fields at fault.

Shared by the API, the console, the commands and the configuration files; it knows no HTTP (`app.api.errors`
has the status codes). Nothing that a caller sent is repeated in a problem: a misplaced value may be personal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field that was refused: its path in the request, and a stable word for why."""

    field: str
    problem: str


class ErrorCode(StrEnum):
    """What went wrong; the values are part of the public API."""

    MALFORMED = "malformed"
    CREDENTIALS_AMBIGUOUS = "credentials_ambiguous"
    INVALID_STATE = "invalid_state"
    ACCESS_DENIED = "access_denied"
    SIGN_IN_FAILED = "sign_in_failed"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    DESTINATION_ARCHIVED = "destination_archived"
    DESTINATION_FIXED = "destination_fixed"
    DESTINATION_CHANGED = "destination_changed"
    EVENTS_WAITING = "events_waiting"
    MAPPING_ARCHIVED = "mapping_archived"
    KEY_ENDED = "key_ended"
    KEY_ROTATED = "key_rotated"
    EVENT_NAME_CONFLICT = "event_name_conflict"
    ADVERTISER_NOT_VISIBLE = "advertiser_not_visible"
    EVENT_AMBIGUOUS = "event_ambiguous"
    STALE = "stale"
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    TOO_MANY_EVENTS = "too_many_events"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID = "invalid"
    NOT_PUBLISHABLE = "not_publishable"
    TOO_MANY_REQUESTS = "too_many_requests"
    EXPECTATION_FAILED = "expectation_failed"
    HEAD_TOO_LARGE = "head_too_large"
    INTERNAL = "internal"
    NOT_IMPLEMENTED = "not_implemented"
    AMAZON_UNAVAILABLE = "amazon_unavailable"
    AMAZON_CLIENT_INVALID = "amazon_client_invalid"
    UNAVAILABLE = "unavailable"
    HTTP_VERSION_NOT_SUPPORTED = "http_version_not_supported"


SENTENCES: Mapping[ErrorCode, str] = {
    ErrorCode.MALFORMED: "The request cannot be read.",
    ErrorCode.CREDENTIALS_AMBIGUOUS: "Send one key, once: the request carries several.",
    ErrorCode.INVALID_STATE: (
        "This sign-in is unknown, finished or older than ten minutes; start it again with connect."
    ),
    ErrorCode.ACCESS_DENIED: "Access was not allowed at Amazon. Start again and click Allow.",
    ErrorCode.SIGN_IN_FAILED: "Amazon did not complete the sign-in. Start it again with connect.",
    ErrorCode.UNAUTHORIZED: "Send a valid key as Bearer token, X-Api-Key, or password of Basic.",
    ErrorCode.FORBIDDEN: "This key lacks the scope for that.",
    ErrorCode.NOT_FOUND: "Nothing is here, or this key may not see it.",
    ErrorCode.METHOD_NOT_ALLOWED: "This address does not take that method.",
    ErrorCode.DESTINATION_ARCHIVED: "The destination was deleted; nothing about it changes any more.",
    ErrorCode.DESTINATION_FIXED: (
        "Advertiser id and region can change only on a draft that never took an event. Make a new "
        "destination instead."
    ),
    ErrorCode.DESTINATION_CHANGED: "The destination changed during the sign-in; connect it again.",
    ErrorCode.EVENTS_WAITING: "Events wait for this destination; delete with discard=true to give them up.",
    ErrorCode.MAPPING_ARCHIVED: "The mapping was deleted; nothing about it changes any more.",
    ErrorCode.KEY_ENDED: "The key is revoked or has expired; make a new one.",
    ErrorCode.KEY_ROTATED: (
        "The key was rotated before; rotate the key that replaces it, or revoke that one first."
    ),
    ErrorCode.EVENT_NAME_CONFLICT: "Another event name is pinned for this advertiser and event type.",
    ErrorCode.ADVERTISER_NOT_VISIBLE: (
        "The Amazon user who signed in cannot see this advertiser id in this region. Check the id and "
        "the region, or sign in as a user with access. The destination stays as it was."
    ),
    ErrorCode.EVENT_AMBIGUOUS: "The event id stands under several mappings; name mapping_id.",
    ErrorCode.STALE: "Someone changed it since it was read; read it again and repeat the change.",
    ErrorCode.TOO_SLOW: "The request did not arrive within the time for it; the connection was closed.",
    ErrorCode.TOO_LARGE: "The body is larger than this address takes.",
    ErrorCode.TOO_MANY_EVENTS: "Send at most 5,000 events in a request.",
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: "Send the body as application/json, without Content-Encoding.",
    ErrorCode.EXPECTATION_FAILED: "The only supported expectation is 100-continue.",
    ErrorCode.INVALID: "The request was read, but what it says cannot be done; see fields.",
    ErrorCode.NOT_PUBLISHABLE: "The mapping lacks what publishing needs; see fields.",
    ErrorCode.TOO_MANY_REQUESTS: "Slow down and try again after the time in Retry-After.",
    ErrorCode.HEAD_TOO_LARGE: "Request line and headers together are longer than is taken.",
    ErrorCode.INTERNAL: "Something broke here. The request id leads to its trace in the log.",
    ErrorCode.NOT_IMPLEMENTED: "CONNECT and transfer codings other than chunked are not supported.",
    ErrorCode.AMAZON_UNAVAILABLE: (
        "Amazon could not be asked just now. Nothing was changed; connect again in a minute."
    ),
    ErrorCode.AMAZON_CLIENT_INVALID: (
        "Amazon does not know this application or its secret. Nothing was changed; the operator must "
        "check AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET."
    ),
    ErrorCode.HTTP_VERSION_NOT_SUPPORTED: "Send the request as HTTP/1.1 or HTTP/1.0.",
    ErrorCode.UNAVAILABLE: "The database cannot be reached just now; try again in a moment.",
}
"""The sentence of each code, for a place that has no better one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal. `extra` members are added to the error shape; `retry_after` is in seconds."""

    code: ErrorCode
    detail: str | None = None
    fields: Sequence[FieldProblem] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    retry_after: int | None = None

    @property
    def sentence(self) -> str:
        """Return what to show a person."""
        return self.detail or SENTENCES[self.code]


class Refusal(Exception):
    """Ends a use case with a problem. Raised inside a transaction, it rolls back what was done so far."""

    def __init__(
        self, code: ErrorCode, detail: str | None = None, /, *fields: FieldProblem, **extra: Any
    ) -> None:
        super().__init__(code)
        self.problem = Problem(code, detail, fields, extra)

    @classmethod
    def of(cls, problem: Problem) -> "Refusal":
        """Return a refusal that carries a problem made elsewhere."""
        refusal = cls(problem.code)
        refusal.problem = problem
        return refusal


def error_body(problem: Problem) -> dict[str, Any]:
    """Return the one error shape of the API."""
    return {
        "error": problem.code.value,
        "detail": problem.sentence,
        "fields": [{"field": each.field, "problem": each.problem} for each in problem.fields],
        **problem.extra,
    }


# The mapping language's word to ours, where both have one for the same thing.
_SAME: Mapping[str, str] = {"unknown_member": "unknown_field", "required": "missing"}


def field_problem_of(mapping_problem: str) -> str:
    """Return the word that the API says for a problem of a mapping document."""
    return _SAME.get(mapping_problem, mapping_problem)
