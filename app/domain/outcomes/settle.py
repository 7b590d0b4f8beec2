"""Decide what happens to the conversions of a request after Amazon's reply.

    Amazon's answer               Reply            Settlement
    2xx, a list with each index   PerItemReply     PerItem: Delivered, Dead or Retry for each conversion
    400, 413                      Divisible        PerItem: Retry in halves; Dead for a conversion alone
    any other status              Unexpected       PerItem: Dead for each conversion
    404, a redirect               Missing          RetryAll
    408, 5xx, an unreadable 2xx   ServerError      RetryAll
    no complete answer            TransportError   RetryAll
    401                           Unauthorized     Deferred: refresh the token once, then park
    403                           Forbidden        Deferred: park until a user signs in
    429                           Throttled        Deferred: the lane waits
    nothing was sent              NotSent          Deferred

`RetryPolicy` determines how long a retry waits. `app.domain.pacing.pace` determines how long the lane waits.
`EndpointPolicy` determines when a destination is parked after 404s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never

from app.domain.outcomes import outcome


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, in seconds.

    A wait is random between 0.05 and a maximum. The maximum is `first_wait` after the first failed attempt.
    It doubles with each further attempt, up to `longest_wait`.

    `item_tries` limits the attempts if Amazon's response is about this conversion. If complete requests fail,
    their conversions are retried until the age limit.
    """

    first_wait: float = 2.0
    longest_wait: float = 300.0
    item_tries: int = 12

    def wait(self, tries: int, *, jitter: float) -> float:
        """Return the wait in seconds after `tries` failed attempts; `jitter` is in [0, 1)."""
        doubled = self.first_wait * 2.0 ** min(max(tries - 1, 0), 16)
        return max(0.05, min(self.longest_wait, doubled) * jitter)


@dataclass(frozen=True, slots=True)
class Delivered:
    """Amazon accepted the conversion."""


@dataclass(frozen=True, slots=True)
class Dead:
    """The conversion failed permanently, until an operator replays it. `reason` is a key of `REASONS`."""

    reason: str
    amazon_code: str | None = None
    amazon_message: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """The conversion is sent again automatically after `wait` seconds.

    If the request is divided, `half` is 0 or 1, and the conversions of each half are sent together.
    `costs_try` means that the attempt counts as a failed attempt of this conversion.
    """

    reason: str
    wait: float
    half: int | None = None
    costs_try: bool = True
    amazon_code: str | None = None
    amazon_message: str | None = None


Disposition = Delivered | Dead | Retry
_DELIVERED = Delivered()


@dataclass(frozen=True, slots=True)
class PerItem:
    """The disposition of each conversion, in the order of the request, and how many were delivered."""

    dispositions: tuple[Disposition, ...]
    delivered: int = 0


@dataclass(frozen=True, slots=True)
class RetryAll:
    """The complete request failed. Each conversion waits for `wait` seconds and counts a failed attempt."""

    reason: str
    wait: float


@dataclass(frozen=True, slots=True)
class Deferred:
    """The lane or the destination waits after a 429 or an invalid sign-in. No failed attempt is counted."""

    reason: str


Settlement = PerItem | RetryAll | Deferred


def settle(reply: outcome.Reply, tries: Sequence[int], *, policy: RetryPolicy, jitter: float) -> Settlement:
    """Decide what happens to the conversions of a request.

    `tries` has the number of earlier failed attempts of each conversion, in the order of the request.
    `jitter` is in [0, 1).
    """
    match reply:
        case outcome.PerItemReply(outcomes) if (
            outcomes.count(outcome.ACCEPTED) == len(outcomes) == len(tries)
        ):
            return PerItem((_DELIVERED,) * len(tries), len(tries))
        case outcome.PerItemReply(outcomes):
            paired = zip(outcomes, tries, strict=True)
            dispositions = tuple(_disposition(item, failed, policy, jitter) for item, failed in paired)
            return PerItem(dispositions, dispositions.count(_DELIVERED))
        case outcome.Throttled() | outcome.NotSent():
            return Deferred("throttled")
        case outcome.Unauthorized():
            return Deferred("sign_in_unauthorized")
        case outcome.Forbidden():
            return Deferred("sign_in_forbidden")
        case outcome.Divisible(code, message) if len(tries) == 1:
            return PerItem((Dead("amazon_request_refused", code, message),))
        case outcome.Divisible(code, message):
            middle = len(tries) // 2
            halves = (int(index >= middle) for index in range(len(tries)))
            refused = "amazon_request_refused"
            return PerItem(tuple(Retry(refused, 0.0, half, False, code, message) for half in halves))
        case outcome.ServerError(reason, retry_after):
            return RetryAll(reason, max(retry_after or 0.0, _shared_wait(tries, policy, jitter)))
        case outcome.TransportError(why):
            reason = "amazon_unreachable" if why == "connect" else "outcome_unknown"
            return RetryAll(reason, _shared_wait(tries, policy, jitter))
        case outcome.Missing():
            return RetryAll("endpoint_not_found", _shared_wait(tries, policy, jitter))
        case outcome.Unexpected(_, code, message):
            return PerItem(tuple(Dead("amazon_unexpected", code, message) for _ in tries))
        case _:
            assert_never(reply)


def _disposition(item: outcome.Outcome, tries: int, policy: RetryPolicy, jitter: float) -> Disposition:
    match item:
        case outcome.ItemAccepted():
            return _DELIVERED
        case outcome.ItemRefused(code, message, field):
            return Dead("amazon_refused", code, f"{field}: {message}" if field else message)
        case outcome.ItemFailed(code, message) if tries + 1 >= policy.item_tries:
            return Dead("gave_up", code, message)
        case outcome.ItemFailed(code, message):
            wait = policy.wait(tries + 1, jitter=jitter)
            return Retry("amazon_item_failed", wait, amazon_code=code, amazon_message=message)
        case outcome.ItemUnknown(why) if tries + 1 >= policy.item_tries:
            return Dead("gave_up", amazon_message=why)
        case outcome.ItemUnknown(why):
            return Retry("outcome_unknown", policy.wait(tries + 1, jitter=jitter), amazon_message=why)
        case _:
            assert_never(item)


def _shared_wait(tries: Sequence[int], policy: RetryPolicy, jitter: float) -> float:
    """Return the wait of a failed request: the wait of its conversion with the fewest failed attempts."""
    return policy.wait(min(tries) + 1, jitter=jitter)


# --- 404s -----------------------------------------------------------------------------------------

# Amazon does not document the cause: probably it does not know the path or the account. The events are not
# the cause, so they wait. A probe request is sent from time to time until Amazon does not return 404.
# Times are in seconds.


@dataclass(frozen=True, slots=True)
class EndpointPolicy:
    """Park a destination after `times` 404s in a row within at least `over` seconds, then probe it."""

    times: int = 3
    over: float = 60.0
    probe_every: float = 300.0


ENDPOINT_POLICY: Final = EndpointPolicy()
PROBE_EVERY: Final = f"every {ENDPOINT_POLICY.probe_every / 60:g} minutes"  # for sentences


@dataclass(frozen=True, slots=True)
class MissingRun:
    """The number of 404s in a row that a destination got, and the time of the first."""

    since: float
    times: int = 0

    def after(self, reply: outcome.Reply, now: float) -> "MissingRun":
        """Return the run after another reply. A failure with another cause leaves the run unchanged."""
        match reply:
            case outcome.Missing():
                return replace(self, times=self.times + 1) if self.times else MissingRun(now, 1)
            case outcome.ServerError() | outcome.TransportError():
                return self
            case _:
                return MissingRun(now)

    def is_too_long(self, policy: EndpointPolicy, now: float) -> bool:
        """Return whether the destination should be parked now."""
        return self.times >= policy.times and now - self.since >= policy.over


def has_answered(reply: outcome.Reply) -> bool:
    """Return whether a reply shows that Amazon knows the path and the account."""
    return not isinstance(reply, outcome.Outage)
