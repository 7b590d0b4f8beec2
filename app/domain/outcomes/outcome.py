"""What came of a request to Amazon, as values: a reply for the whole, an outcome for each conversion."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ItemAccepted:
    """Amazon listed this index under `success`, and only there (P3)."""


@dataclass(frozen=True, slots=True)
class ItemRefused:
    """Amazon refused this conversion for good (P4: any item code that is not retried)."""

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
    """In neither list or in both (P3): the same bytes are sent again."""

    why: str  # 'missing_index' | 'contradictory'


Outcome = ItemAccepted | ItemRefused | ItemFailed | ItemUnknown
ACCEPTED = (
    ItemAccepted()
)  # one for all: nearly every outcome is it, and what is one object is compared at once


@dataclass(frozen=True, slots=True)
class PerItemReply:
    """A 2xx whose body was read: one outcome for each conversion sent, in the order sent."""

    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: costs no attempt; `retry_after` in seconds where Amazon gave a readable one."""

    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """401: the access token used was not good."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """403: this sign-in may not send for this advertiser."""


@dataclass(frozen=True, slots=True)
class Divisible:
    """400 or 413: some conversion, or their sum, is unacceptable; halve until it stands alone (P4)."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ServerError:
    """408 or 5xx, or a 2xx whose body cannot be read: whether anything was taken is unknown; send again."""

    reason: str  # 'amazon_error' | 'amazon_unreadable'
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class TransportError:
    """No whole answer: not connected, timed out, cut off."""

    why: str  # 'connect' | 'timeout' | 'cut' | 'too_long'


@dataclass(frozen=True, slots=True)
class Missing:
    """404, or a redirect: Amazon does not know this path or account. Says nothing of what was sent."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A status that the contract does not name (other 3xx and 4xx): permanent for all that was sent."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing left: a 429 window or the breaker began while it was prepared, or too little time remained.

    The attempt is settled so that others need not wait for it. No history and no figure counts it.
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
    """One request and its reply, with what the attempt's row records. No personal data."""

    reply: Reply
    status: int | None
    request_id: str | None
    duration_ms: int

    @property
    def outcome(self) -> str:
        """Return the word for the reply, as an attempt's row and the metrics hold it."""
        return OUTCOMES[type(self.reply)]


OUTCOMES: Mapping[type[Reply], str] = {
    PerItemReply: "answered",
    Throttled: "throttled",
    Unauthorized: "unauthorized",
    Forbidden: "forbidden",
    Divisible: "divisible",
    ServerError: "broken",
    TransportError: "lost",
    Unexpected: "unexpected",
    NotSent: "not_sent",
}
