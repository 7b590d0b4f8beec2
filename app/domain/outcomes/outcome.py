"""The results of a request to Amazon: a `Reply` for the request, and an `Outcome` for each conversion in it.

`settle.py` decides what happens after each of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class ItemAccepted:
    """Amazon accepted this conversion: its index is in the list `success` only (P3)."""


@dataclass(frozen=True, slots=True)
class AmazonError:
    """An error that Amazon reports, with its code and message."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ItemRefused(AmazonError):
    """Amazon rejected this conversion permanently, with any code that `ItemFailed` does not name (P4)."""

    field: str | None = None


@dataclass(frozen=True, slots=True)
class ItemFailed(AmazonError):
    """Amazon asked to send this conversion again: CONFLICT, INTERNAL_ERROR or TOO_MANY_REQUESTS (P4)."""


@dataclass(frozen=True, slots=True)
class ItemUnknown:
    """Amazon listed this conversion as accepted and rejected, or as neither (P3)."""

    why: str  # 'missing_index' | 'contradictory'


Outcome = ItemAccepted | ItemRefused | ItemFailed | ItemUnknown
# The most frequent outcome is one shared object, because identical objects are compared faster.
ACCEPTED = ItemAccepted()


@dataclass(frozen=True, slots=True)
class PerItemReply:
    """Status 2xx with a valid body: an outcome for each conversion, in the order of the request."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Throttled:
    """Status 429: it counts as no failed attempt. `retry_after` is Amazon's `Retry-After` in seconds."""

    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """Status 401: Amazon did not accept the access token."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Status 403: the signed-in user may not send events for this advertiser."""


@dataclass(frozen=True, slots=True)
class Divisible(AmazonError):
    """Status 400 or 413: a conversion is invalid, or the request is too large.

    The request is sent again in halves, until a request with one conversion shows which is invalid (P4).
    """


@dataclass(frozen=True, slots=True)
class ServerError:
    """Status 408, 5xx, or 2xx with an unreadable body. It is unknown which conversions Amazon accepted."""

    reason: str  # 'amazon_error' | 'amazon_unreadable'
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class TransportError:
    """The response is missing, incomplete or too long: no connection, a timeout, or a closed connection.

    A request is `interrupted` if its sender ended before it stored the response.
    """

    why: str  # 'connect' | 'timeout' | 'cut' | 'too_long' | 'interrupted'


@dataclass(frozen=True, slots=True)
class Missing(AmazonError):
    """Status 404 or a redirect: Amazon does not know the path or the account. No conversion is invalid."""


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A status that Amazon does not document: another 3xx or 4xx. Every conversion fails permanently."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """The request was not sent, although its attempt was stored.

    After the attempt was stored, a Retry-After window began, the circuit breaker opened, or too little time
    was left. Event histories and metrics do not count the attempt.
    """


AmazonAnswer = PerItemReply | Divisible | Unexpected  # Amazon processed the request
Outage = Missing | ServerError | TransportError  # no conversion is the cause
AccessRefusal = Unauthorized | Forbidden  # the sign-in is the cause
Reply = AmazonAnswer | Outage | AccessRefusal | Throttled | NotSent


class ItemError(msgspec.Struct, frozen=True):
    """The error of some conversions in a response. The first of them is at `index` in the request."""

    index: int
    conversions: int
    code: str
    message: str
    field: str | None = None


class ResponseDetails(msgspec.Struct, frozen=True):
    """A response that did not accept every conversion: some of its headers, and its scrubbed errors.

    `left_out` counts the item errors that did not fit.
    """

    headers: tuple[tuple[str, str], ...] = ()
    code: str | None = None
    message: str = ""
    items: tuple[ItemError, ...] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request with its reply, and the values that are stored with the attempt. No personal data.

    `response` is None if there was no response, and if Amazon accepted every conversion.
    """

    reply: Reply
    status: int | None
    request_id: str | None
    duration_ms: int | None  # None if the sender ended before it stored the time
    response: ResponseDetails | None = None

    @property
    def outcome(self) -> str:
        """The code of the reply in stored attempts and in metrics."""
        return OUTCOMES[type(self.reply)]

    @property
    def message(self) -> str | None:
        """Amazon's message, or the reason why there is none. None after a success and for a status alone."""
        return getattr(self.reply, "message", None) or getattr(self.reply, "why", None)


OUTCOMES: Mapping[type[Reply], str] = {
    PerItemReply: "answered",
    Throttled: "throttled",
    Unauthorized: "unauthorized",
    Forbidden: "forbidden",
    Divisible: "divisible",
    Missing: "missing",
    ServerError: "broken",
    TransportError: "lost",
    Unexpected: "unexpected",
    NotSent: "not_sent",
}
