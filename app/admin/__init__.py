"""Use cases, shared by the API, the console, the commands and the configuration files. Without HTTP.

A use case returns a value or raises `Refusal`. A use case that takes the context acts for `context.caller`,
and opens its own transaction. A use case that takes a connection acts in the transaction of its caller: for
example, a configuration file is applied in a single transaction.
`mappings/` has drafts, published versions and pinned event names.
`destinations/settings.py` creates and changes destinations.

A request body stands beside its use case, and `inputs.py` has the types of its members. The resources of use
cases are in `context.py`. Labels and help texts of forms are in `catalog.py`.

This module has what all of them use: the caller with its scopes, the ids of resources, and the refusal with
its error codes. The API, the console, the commands, the configuration files and the server share them.
`app.api.errors` has the status codes. A problem never repeats a value that the caller sent, because it may be
personal data.
"""

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from app.domain.codes import SentenceCode
from app.domain.ids import DEFAULT_ORGANISATION, KeyId, OrganisationId


class Scope(StrEnum):
    """A permission that an API key can have."""

    EVENTS_WRITE = "events:write"
    EVENTS_READ = "events:read"
    DESTINATIONS_READ = "destinations:read"
    DESTINATIONS_WRITE = "destinations:write"
    REPLAY = "replay"
    ERASE = "erase"
    KEYS_ADMIN = "keys:admin"
    ORGANISATIONS_ADMIN = "organisations:admin"

    __hash__ = str.__hash__  # faster than the hash of Enum, and used by every request


BOOTSTRAP: Final = KeyId("bootstrap")


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, an API key or a person, with its permissions.

    `destination_ids` is None for a caller that may use every destination. `organisation` is the organisation
    that the caller acts for.
    """

    key: KeyId
    scopes: frozenset[str]
    destination_ids: frozenset[str] | None = None
    organisation: OrganisationId = DEFAULT_ORGANISATION
    person: str | None = None  # the display name of a person

    def may(self, *any_of: Scope) -> bool:
        """Return whether the caller has at least one of these scopes."""
        return not self.scopes.isdisjoint(any_of)

    def sees(self, destination: str) -> bool:
        """Return whether the caller can see this destination."""
        return self.destination_ids is None or destination in self.destination_ids

    @property
    def is_platform(self) -> bool:
        """Return whether the caller may act for any organisation."""
        return Scope.ORGANISATIONS_ADMIN in self.scopes

    @property
    def only(self) -> list[str] | None:
        """Return the sorted ids of the destinations that the caller may use; None for every destination."""
        return None if self.destination_ids is None else sorted(self.destination_ids)

    @property
    def actor(self) -> str:
        """Return the name of the caller in the audit: the id of a key, or the name and the id of a person."""
        return self.key if self.person is None else f"{self.person} ({self.key})"


BOOTSTRAP_CALLER: Final = Caller(BOOTSTRAP, frozenset(Scope))
NO_CALLER: Final = Caller(KeyId(""), frozenset(), frozenset(), OrganisationId(""))
"""The caller of a public route. It may do nothing and sees no destination."""


_SUFFIX = re.compile(r"[0-9a-z]{16,32}", re.ASCII)
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_id(prefix: str) -> str:
    """Return `prefix` and 20 random letters and digits (103 bits)."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(20))


Copy = TypeVar("Copy")


def copy_as(type_: type[Copy], source: object, **members: Any) -> Copy:
    """Return a value of a dataclass with these members; all others are those of `source`."""
    names = [each.name for each in fields(type_) if each.name not in members]  # type: ignore[arg-type]
    return type_(**{name: getattr(source, name) for name in names}, **members)


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One invalid field: its path in the request, and a stable problem code.

    `sentence` is what people read about it, if it says more than the meaning of the code.
    """

    field: str
    problem: str
    sentence: str | None = None


class ErrorCode(SentenceCode):
    """Error codes, each with its default sentence. The codes are part of the public API."""

    MALFORMED = "malformed", "The request cannot be read."
    CREDENTIALS_AMBIGUOUS = "credentials_ambiguous", "The request has several keys. Send only one key."
    INVALID_STATE = (
        "invalid_state",
        "This sign-in is unknown, already used or older than ten minutes. Start again with connect.",
    )
    ACCESS_DENIED = "access_denied", "Access was denied. Try again and click Allow."
    SIGN_IN_FAILED = "sign_in_failed", "Amazon did not complete the sign-in. Start again with connect."
    UNAUTHORIZED = "unauthorized", "Send a valid key as Bearer token, X-Api-Key header or Basic password."
    FORBIDDEN = "forbidden", "This key does not have the required scope."
    ORGANISATION_SUSPENDED = (
        "organisation_suspended",
        "The organisation is suspended. New events are rejected; accepted events wait until it is resumed.",
    )
    NOT_FOUND = "not_found", "Not found, or this key cannot access it."
    METHOD_NOT_ALLOWED = "method_not_allowed", "This route does not support that method."
    DESTINATION_ARCHIVED = "destination_archived", "The destination was deleted and cannot be changed."
    NOT_CONNECTED = "not_connected", "The destination has no valid access token. Connect it to Amazon first."
    DESTINATION_FIXED = (
        "destination_fixed",
        "Advertiser id and region can change only on a draft that never accepted an event. Create a new "
        "destination instead.",
    )
    DESTINATION_CHANGED = "destination_changed", "The destination changed during the sign-in. Connect again."
    EVENTS_WAITING = (
        "events_waiting",
        "Events wait for this destination. Delete with discard=true to discard them.",
    )
    MAPPING_ARCHIVED = "mapping_archived", "The mapping was deleted and cannot be changed."
    EVENT_NAME_CONFLICT = (
        "event_name_conflict",
        "Another event name is pinned for this advertiser and event type.",
    )
    ADVERTISER_NOT_VISIBLE = (
        "advertiser_not_visible",
        "The signed-in Amazon user has no access to this advertiser id in this region. Check the id and "
        "the region, or sign in as a user with access. The destination is unchanged.",
    )
    EVENT_AMBIGUOUS = "event_ambiguous", "Several mappings have an event with this id. Send mapping_id."
    ORGANISATION_EXISTS = "organisation_exists", "Another organisation has this id. Choose a different one."
    STALE = "stale", "The resource has changed since you read it. Read it again and repeat the change."
    TOO_SLOW = "too_slow", "The request did not arrive in time. The connection was closed."
    TOO_LARGE = "too_large", "The body is larger than this route accepts."
    TOO_MANY_EVENTS = "too_many_events", "Send at most 5,000 events in a request."
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported_media_type",
        "Send the body as application/json, without Content-Encoding.",
    )
    INVALID = "invalid", "The request is invalid."
    NOT_PUBLISHABLE = "not_publishable", "The mapping is not complete."
    TOO_MANY_REQUESTS = "too_many_requests", "Too many requests. Try again after the time in Retry-After."
    EVENT_RATE_EXCEEDED = (
        "event_rate_exceeded",
        "The organisation sends more events per second than its limit. Send the same request again after "
        "the time in Retry-After.",
    )
    DESTINATION_LIMIT = (
        "destination_limit",
        "The organisation has reached its limit of destinations. Delete one, or ask for a higher limit.",
    )
    EXPECTATION_FAILED = "expectation_failed", "The only supported expectation is 100-continue."
    HEAD_TOO_LARGE = "head_too_large", "The request line and headers are too long."
    INTERNAL = "internal", "Internal error. Search the log for the request id."
    NOT_IMPLEMENTED = "not_implemented", "CONNECT and transfer codings other than chunked are not supported."
    AMAZON_UNAVAILABLE = (
        "amazon_unavailable",
        "Amazon is not available. Nothing was changed. Connect again in a minute.",
    )
    AMAZON_CLIENT_INVALID = (
        "amazon_client_invalid",
        "Amazon rejected this application's id or secret. Nothing was changed. The operator must check "
        "AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET.",
    )
    UNAVAILABLE = "unavailable", "The database is not available. Try again in a moment."
    HTTP_VERSION_NOT_SUPPORTED = "http_version_not_supported", "Send the request as HTTP/1.1 or HTTP/1.0."


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
        return self.detail or self.code.sentence


class Refusal(Exception):
    """The exception that ends a use case with a problem. Inside a transaction, it causes a rollback."""

    def __init__(
        self,
        code: ErrorCode,
        detail: str | None = None,
        /,
        *fields: FieldProblem,
        retry_after: int | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(code)
        self.problem = Problem(code, detail, fields, extra, retry_after)

    @classmethod
    def of(cls, problem: Problem) -> "Refusal":
        """Return a refusal with the given problem."""
        refusal = cls(problem.code)
        refusal.problem = problem
        return refusal


def invalid(field: str, problem: str, detail: str | None = None) -> Refusal:
    """Return the refusal of a request with one invalid field."""
    return Refusal(ErrorCode.INVALID, detail, FieldProblem(field, problem, detail))


Found = TypeVar("Found")


def require_found(value: Found | None, detail: str | None = None) -> Found:
    """Return the value. Raises Refusal (not found) if it is None."""
    if value is None:
        raise Refusal(ErrorCode.NOT_FOUND, detail)
    return value


def require_id(prefix: str, text: str) -> None:
    """Raise Refusal (not found) unless the text has the form of an id with this prefix."""
    if not (text.startswith(prefix) and _SUFFIX.fullmatch(text, len(prefix))):
        raise Refusal(ErrorCode.NOT_FOUND)


def require_future(field: str, time: datetime | None, now: datetime) -> None:
    """Raise Refusal (invalid) if the time in this field of the request is not after `now`."""
    if time is not None and time <= now:
        raise invalid(field, "not_in_future")


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
