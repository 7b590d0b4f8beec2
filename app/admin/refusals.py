"""Refusals of use cases: a stable error code, a sentence, and the invalid fields.

The API, the console, the commands and the configuration files share this module. `app.api.errors` has the
status codes. A problem never repeats a value that the caller sent, because it may be personal data.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One invalid field: its path in the request, and a stable problem code."""

    field: str
    problem: str


class ErrorCode(StrEnum):
    """Error codes; the values are part of the public API."""

    MALFORMED = "malformed"
    CREDENTIALS_AMBIGUOUS = "credentials_ambiguous"
    INVALID_STATE = "invalid_state"
    ACCESS_DENIED = "access_denied"
    SIGN_IN_FAILED = "sign_in_failed"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    ORGANISATION_SUSPENDED = "organisation_suspended"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    DESTINATION_ARCHIVED = "destination_archived"
    NOT_CONNECTED = "not_connected"
    DESTINATION_FIXED = "destination_fixed"
    DESTINATION_CHANGED = "destination_changed"
    EVENTS_WAITING = "events_waiting"
    MAPPING_ARCHIVED = "mapping_archived"
    KEY_ENDED = "key_ended"
    KEY_ROTATED = "key_rotated"
    EVENT_NAME_CONFLICT = "event_name_conflict"
    ADVERTISER_NOT_VISIBLE = "advertiser_not_visible"
    EVENT_AMBIGUOUS = "event_ambiguous"
    ORGANISATION_EXISTS = "organisation_exists"
    STALE = "stale"
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    TOO_MANY_EVENTS = "too_many_events"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID = "invalid"
    NOT_PUBLISHABLE = "not_publishable"
    TOO_MANY_REQUESTS = "too_many_requests"
    EVENT_RATE_EXCEEDED = "event_rate_exceeded"
    DESTINATION_LIMIT = "destination_limit"
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
    ErrorCode.CREDENTIALS_AMBIGUOUS: "The request has several keys. Send only one key.",
    ErrorCode.INVALID_STATE: (
        "This sign-in is unknown, already used or older than ten minutes. Start again with connect."
    ),
    ErrorCode.ACCESS_DENIED: "Access was denied. Try again and click Allow.",
    ErrorCode.SIGN_IN_FAILED: "Amazon did not complete the sign-in. Start again with connect.",
    ErrorCode.UNAUTHORIZED: "Send a valid key as Bearer token, X-Api-Key header or Basic password.",
    ErrorCode.FORBIDDEN: "This key does not have the required scope.",
    ErrorCode.ORGANISATION_SUSPENDED: (
        "The organisation is suspended. New events are rejected; accepted events wait until it is resumed."
    ),
    ErrorCode.NOT_FOUND: "Not found, or this key cannot access it.",
    ErrorCode.METHOD_NOT_ALLOWED: "This route does not support that method.",
    ErrorCode.NOT_CONNECTED: "The destination has no valid access token. Connect it to Amazon first.",
    ErrorCode.DESTINATION_ARCHIVED: "The destination was deleted and cannot be changed.",
    ErrorCode.DESTINATION_FIXED: (
        "Advertiser id and region can change only on a draft that never accepted an event. Create a new "
        "destination instead."
    ),
    ErrorCode.DESTINATION_CHANGED: "The destination changed during the sign-in. Connect again.",
    ErrorCode.EVENTS_WAITING: "Events wait for this destination. Delete with discard=true to discard them.",
    ErrorCode.MAPPING_ARCHIVED: "The mapping was deleted and cannot be changed.",
    ErrorCode.KEY_ENDED: "The key is revoked or has expired. Create a new one.",
    ErrorCode.KEY_ROTATED: (
        "The key was already rotated. Rotate the key that replaced it, or revoke that key first."
    ),
    ErrorCode.EVENT_NAME_CONFLICT: "Another event name is pinned for this advertiser and event type.",
    ErrorCode.ADVERTISER_NOT_VISIBLE: (
        "The signed-in Amazon user has no access to this advertiser id in this region. Check the id and "
        "the region, or sign in as a user with access. The destination is unchanged."
    ),
    ErrorCode.EVENT_AMBIGUOUS: "Several mappings have an event with this id. Send mapping_id.",
    ErrorCode.ORGANISATION_EXISTS: "Another organisation has this id. Choose a different one.",
    ErrorCode.STALE: "The resource has changed since you read it. Read it again and repeat the change.",
    ErrorCode.TOO_SLOW: "The request did not arrive in time. The connection was closed.",
    ErrorCode.TOO_LARGE: "The body is larger than this route accepts.",
    ErrorCode.TOO_MANY_EVENTS: "Send at most 5,000 events in a request.",
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: "Send the body as application/json, without Content-Encoding.",
    ErrorCode.EXPECTATION_FAILED: "The only supported expectation is 100-continue.",
    ErrorCode.INVALID: "The request is invalid; see fields.",
    ErrorCode.NOT_PUBLISHABLE: "The mapping is not complete; see fields.",
    ErrorCode.TOO_MANY_REQUESTS: "Too many requests. Try again after the time in Retry-After.",
    ErrorCode.EVENT_RATE_EXCEEDED: (
        "The organisation sends more events per second than its limit. Send the same request again after "
        "the time in Retry-After."
    ),
    ErrorCode.DESTINATION_LIMIT: (
        "The organisation has reached its limit of destinations. Delete one, or ask for a higher limit."
    ),
    ErrorCode.HEAD_TOO_LARGE: "The request line and headers are too long.",
    ErrorCode.INTERNAL: "Internal error. Search the log for the request id.",
    ErrorCode.NOT_IMPLEMENTED: "CONNECT and transfer codings other than chunked are not supported.",
    ErrorCode.AMAZON_UNAVAILABLE: (
        "Amazon is not available. Nothing was changed. Connect again in a minute."
    ),
    ErrorCode.AMAZON_CLIENT_INVALID: (
        "Amazon rejected this application's id or secret. Nothing was changed. The operator must check "
        "AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET."
    ),
    ErrorCode.HTTP_VERSION_NOT_SUPPORTED: "Send the request as HTTP/1.1 or HTTP/1.0.",
    ErrorCode.UNAVAILABLE: "The database is not available. Try again in a moment.",
}
"""The default sentence of each code."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a use case refuses a request. The error body gets the members of `extra`.

    `retry_after` is in seconds.
    """

    code: ErrorCode
    detail: str | None = None
    fields: Sequence[FieldProblem] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    retry_after: int | None = None

    @property
    def sentence(self) -> str:
        """Return the sentence that people read."""
        return self.detail or SENTENCES[self.code]


class Refusal(Exception):
    """The exception that ends a use case with a problem. Inside a transaction, it causes a rollback."""

    def __init__(
        self, code: ErrorCode, detail: str | None = None, /, *fields: FieldProblem, **extra: Any
    ) -> None:
        super().__init__(code)
        self.problem = Problem(code, detail, fields, extra)

    @classmethod
    def of(cls, problem: Problem) -> "Refusal":
        """Return a refusal with the given problem."""
        refusal = cls(problem.code)
        refusal.problem = problem
        return refusal


Found = TypeVar("Found")


def require_found(value: Found | None) -> Found:
    """Return the value. Raises Refusal (not found) if it is None."""
    if value is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    return value


def require_version(version: int, expected: Collection[int] | None) -> None:
    """Raise Refusal (stale) if `version` is not in `expected`. With None, accept any version."""
    if expected is not None and version not in expected:
        raise Refusal(ErrorCode.STALE)


def error_body(problem: Problem) -> dict[str, Any]:
    """Return the error body that the API sends for a problem."""
    return {
        "error": problem.code.value,
        "detail": problem.sentence,
        "fields": [{"field": each.field, "problem": each.problem} for each in problem.fields],
        **problem.extra,
    }


# Some problem codes have different names in the mapping language and in the API.
_API_NAMES: Mapping[str, str] = {"unknown_member": "unknown_field", "required": "missing"}


def field_problem_of(mapping_problem: str) -> str:
    """Return the API's code for a problem of a mapping document."""
    return _API_NAMES.get(mapping_problem, mapping_problem)
