"""The result of a request to Amazon, as values: one reply, and an outcome for each conversion.

Each member of `Reply` and `Outcome` documents its response; `settle` decides the next step.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ItemAccepted:
    """Amazon listed this index under `success`, and only there (P3)."""


@dataclass(frozen=True, slots=True)
class ItemRefused:
    """Amazon rejected this conversion permanently (P4: any item code that is not retried)."""

    code: str
    message: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """Amazon asked for this conversion again: CONFLICT, INTERNAL_ERROR or TOO_MANY_REQUESTS (P4)."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ItemUnknown:
    """Listed in neither list or in both (P3): the same bytes are sent again."""

    why: str  # 'missing_index' | 'contradictory'


Outcome = ItemAccepted | ItemRefused | ItemFailed | ItemUnknown
# One shared object for the most frequent outcome, so that a comparison is an identity check.
ACCEPTED = ItemAccepted()


@dataclass(frozen=True, slots=True)
class PerItemReply:
    """A 2xx whose body was read: one outcome for each conversion sent, in the order sent."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: costs no attempt; `retry_after` in seconds if Amazon sent a valid one."""

    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """401: Amazon did not accept the access token."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """403: this sign-in has no permission for this advertiser."""


@dataclass(frozen=True, slots=True)
class Divisible:
    """400 or 413: a conversion, or the request's size, is invalid. Halve it until one conversion is left
    (P4).
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ServerError:
    """408, 5xx, or a 2xx whose body cannot be read: it is unknown what was accepted. Send again."""

    reason: str  # 'amazon_error' | 'amazon_unreadable'
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class TransportError:
    """No complete response: no connection, a timeout, or a closed connection."""

    why: str  # 'connect' | 'timeout' | 'cut' | 'too_long'


@dataclass(frozen=True, slots=True)
class Missing:
    """404 or a redirect: Amazon does not know this path or account. It does not depend on the conversions."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A status without documentation (other 3xx and 4xx): permanent for every conversion."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """The request was not sent: a Retry-After window or an open breaker began, or too little time was left.

    Its attempt is settled so that no worker waits for it. Histories and metrics do not count it.
    """


Reply = (
    PerItemReply
    | Throttled
    | Unauthorized
    | Forbidden
    | Divisible
    | Missing
    | ServerError
    | TransportError
    | Unexpected
    | NotSent
)


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One request and its reply, with the values that the attempt's row stores. No personal data."""

    reply: Reply
    status: int | None
    request_id: str | None
    duration_ms: int

    @property
    def outcome(self) -> str:
        """Return the code of the reply in the attempt's row and in metrics."""
        return OUTCOMES[type(self.reply)]


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
