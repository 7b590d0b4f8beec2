"""The fault menu: kinds of faults, their advertisers and how often they fire.

Each kind is a frozen struct, so unknown or wrong settings are refused when a fault is set. The faults of an
advertiser are tried in order. The first fault that fires decides the response. A fault that only delays the
response decides nothing.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0, le=1_000_000)]
Indexes = Annotated[list[Annotated[int, Meta(ge=0, le=499)]], Meta(max_length=500)]
HeaderText = Annotated[str, Meta(pattern=r"\A[ -~]{0,200}\Z")]
EVERYONE: Final = "*"


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A fault, with the settings that all kinds share.

    It fires at every request until it has fired `times` times; None sets no limit. With a `probability`,
    random numbers from `seed` decide for each request. With a `region`, it fires only there.
    """

    times: Annotated[int, Meta(ge=1)] | None = None
    probability: Share | None = None
    seed: int = 0
    region: Literal["NA", "EU", "FE"] | None = None


class Throttled(Fault, tag="429", frozen=True, kw_only=True):
    """Answer 429. `retry_after` is the value of the Retry-After header; None omits the header."""

    retry_after: Annotated[int, Meta(ge=0)] | HeaderText | None = None


class HiddenRateLimit(Fault, tag="hidden_rate_limit", frozen=True, kw_only=True):
    """Answer 429 to requests that exceed a token bucket. Amazon does not document such a limit."""

    requests_per_second: Positive
    burst: Positive = 1
    retry_after: Annotated[int, Meta(ge=0)] | None = None


class Status(Fault, frozen=True, kw_only=True):
    """Refuse the complete request with the status that the kind of the fault names."""


class BadRequest(Status, tag="400", frozen=True, kw_only=True):
    pass


class Unauthorized(Status, tag="401", frozen=True, kw_only=True):
    pass


class Forbidden(Status, tag="403", frozen=True, kw_only=True):
    pass


class NotFound(Status, tag="404", frozen=True, kw_only=True):
    pass


class Teapot(Status, tag="418", frozen=True, kw_only=True):
    pass


class Moved(Status, tag="301", frozen=True, kw_only=True):
    location: HeaderText = "https://elsewhere.example/"


class Broken(Status, tag="5xx", frozen=True, kw_only=True):
    status: Literal[500, 502, 503, 504] = 503
    retry_after: Annotated[int, Meta(ge=0)] | None = None


class Poisoned(Status, tag="400_if_contains", frozen=True, kw_only=True):
    """Answer 400 to a request that contains one of `event_ids`."""

    event_ids: frozenset[str]


class TooMany(Status, tag="413_over", frozen=True, kw_only=True):
    """Answer 413 to a request with more than `events` events."""

    events: Annotated[int, Meta(ge=0, le=500)]


class Slow(Fault, tag="slow", frozen=True, kw_only=True):
    """Wait `ms` milliseconds, then try the next faults."""

    ms: Annotated[int, Meta(ge=0, le=600_000)]


class Never(Fault, tag="never", frozen=True, kw_only=True):
    """Read the request, accept no event and never answer."""


class DropAfterAccept(Fault, tag="drop_after_accept", frozen=True, kw_only=True):
    """Accept the events, then close the connection without a response."""


class DropBeforeAccept(Fault, tag="drop_before_accept", frozen=True, kw_only=True):
    """Close the connection without accepting or answering."""


class CutShort(Fault, tag="cut_short", frozen=True, kw_only=True):
    """Accept the events, declare the full response length, send half of it and close the connection."""


class Partial(Fault, tag="partial", frozen=True, kw_only=True):
    """Answer 207 and refuse the events at `indexes` or with `event_ids`; without both, every second event."""

    indexes: Indexes | None = None
    event_ids: frozenset[str] | None = None
    code: Annotated[str, Meta(pattern=r"\A[A-Z0-9_]{1,64}\Z")] = "INTERNAL_ERROR"


class Unclear(Fault, frozen=True, kw_only=True):
    """Answer 2xx without reporting all events. `accepted` says whether the sandbox accepts them."""

    accepted: bool = True


class MissingIndex(Unclear, tag="missing_index", frozen=True, kw_only=True):
    """The events at `indexes` are in neither `success` nor `error` of the response."""

    indexes: Indexes = msgspec.field(default_factory=lambda: [0])


class BothLists(Unclear, tag="both_lists", frozen=True, kw_only=True):
    """The events at `indexes` are in both `success` and `error` of the response."""

    indexes: Indexes = msgspec.field(default_factory=lambda: [0])


class Empty207(Unclear, tag="empty_207", frozen=True, kw_only=True):
    """Answer 207 with the body `{}`."""


class Malformed(Unclear, tag="malformed", frozen=True, kw_only=True):
    """Answer 2xx with a malformed body; `body` names the kind of error."""

    status: Literal[200, 207] = 207
    body: Literal["garbage", "html", "truncated", "empty", "deep", "wrong_types", "huge"] = "garbage"


class Revoked(Fault, tag="revoked", frozen=True, kw_only=True):
    """Sign-ins from before this fault was set are revoked: 401 for tokens, `invalid_grant` for a refresh.

    A new sign-in works. Removing the fault restores the old sign-ins.
    """


class TokenFault(Fault, frozen=True, kw_only=True):
    """A fault of the token endpoint. It fires for sign-ins that have used the advertiser; `*` means all."""


class Token5xx(TokenFault, tag="token_5xx", frozen=True, kw_only=True):
    status: Literal[500, 502, 503, 504] = 503


class TokenInvalidGrant(TokenFault, tag="token_invalid_grant", frozen=True, kw_only=True):
    pass


class TokenMalformed(TokenFault, tag="token_malformed", frozen=True, kw_only=True):
    """Answer 200 with an HTML page, or with an access token that contains a line break."""

    body: Literal["html", "line_break"] = "html"


class TokenSlow(TokenFault, tag="token_slow", frozen=True, kw_only=True):
    ms: Annotated[int, Meta(ge=0, le=600_000)]


AnyFault = (
    Throttled
    | HiddenRateLimit
    | BadRequest
    | Unauthorized
    | Forbidden
    | NotFound
    | Teapot
    | Moved
    | Broken
    | Poisoned
    | TooMany
    | Slow
    | Never
    | DropAfterAccept
    | DropBeforeAccept
    | CutShort
    | Partial
    | MissingIndex
    | BothLists
    | Empty207
    | Malformed
    | Revoked
    | Token5xx
    | TokenInvalidGrant
    | TokenMalformed
    | TokenSlow
)


def kind(fault: AnyFault) -> str:
    """Return the name of a fault in the API."""
    return str(type(fault).__struct_config__.tag)


@dataclass(slots=True)
class Armed:
    """An active fault, and how often it has fired."""

    fault: AnyFault
    set_at: float
    fired: int = 0
    rng: random.Random = field(default_factory=random.Random, repr=False)
    tokens: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)

    @property
    def ended(self) -> bool:
        return self.fault.times is not None and self.fired >= self.fault.times

    def fires(self, region: str, event_ids: Sequence[object], monotonic: float) -> bool:
        """Return whether this fault fires for a request, and count it."""
        fault = self.fault
        if self.ended or fault.region not in (None, region):
            return False
        if isinstance(fault, Poisoned) and not any(
            type(event_id) is str and event_id in fault.event_ids for event_id in event_ids
        ):
            return False
        if isinstance(fault, TooMany) and len(event_ids) <= fault.events:
            return False
        if isinstance(fault, HiddenRateLimit) and self._within(fault, region, monotonic):
            return False
        if fault.probability is not None and self.rng.random() >= fault.probability:
            return False
        self.fired += 1
        return True

    def _within(self, limit: HiddenRateLimit, region: str, monotonic: float) -> bool:
        level, last = self.tokens.get(region, (limit.burst, monotonic))
        level = min(limit.burst, level + (monotonic - last) * limit.requests_per_second)
        allowed = level >= 1
        self.tokens[region] = (level - 1 if allowed else level, monotonic)
        return allowed


@dataclass(slots=True)
class FaultBook:
    """The active faults. Faults of one advertiser are tried before faults that apply to everyone (`*`)."""

    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _armed: dict[str, list[Armed]] = field(default_factory=dict)

    def set(self, advertiser_id: str, faults: Iterable[AnyFault]) -> None:
        """Replace the faults of one advertiser, or of all (`*`), with this ordered list."""
        now = self.clock()
        self._armed[advertiser_id] = [
            Armed(fault, now, rng=random.Random(fault.seed))  # noqa: S311 - must be repeatable
            for fault in faults
        ]

    def clear(self, advertiser_id: str | None = None) -> None:
        """Remove the faults of one advertiser, or all."""
        if advertiser_id is None:
            self._armed.clear()
        else:
            self._armed.pop(advertiser_id, None)

    def all(self) -> list[tuple[str, Armed]]:
        return [(owner, armed) for owner, list_ in self._armed.items() for armed in list_]

    def strike(self, advertiser_id: str, region: str, event_ids: Sequence[object]) -> list[AnyFault]:
        """Return the faults that fire for this events request: delays first, the deciding fault last."""
        return self._walk((advertiser_id,), region, event_ids, token=False)

    def strike_token(self, advertiser_ids: Iterable[str], region: str) -> list[AnyFault]:
        """Return the faults that fire for a token request of a sign-in that has used these advertisers."""
        return self._walk(advertiser_ids, region, (), token=True)

    def revoked(self, advertiser_ids: Iterable[str], region: str, issued_at: float) -> bool:
        """Return whether a sign-in made at `issued_at` and used for these advertisers is revoked."""
        return any(
            isinstance(armed.fault, Revoked)
            and armed.fault.region in (None, region)
            and issued_at <= armed.set_at
            for owner in (*advertiser_ids, EVERYONE)
            for armed in self._armed.get(owner, ())
        )

    def _walk(
        self, owners: Iterable[str], region: str, event_ids: Sequence[object], *, token: bool
    ) -> list[AnyFault]:
        firing: list[AnyFault] = []
        for owner in (*owners, EVERYONE):
            for armed in self._armed.get(owner, ()):
                fault = armed.fault
                if isinstance(fault, Revoked) or isinstance(fault, TokenFault) is not token:
                    continue
                if armed.fires(region, event_ids, self.monotonic()):
                    firing.append(fault)
                    if not isinstance(fault, Slow | TokenSlow):
                        return firing
        return firing
