"""The causes of incidents: what an operator reads, and which incidents a cause explains.

The page of a destination and its incidents use the same sentences.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.incidents.kinds import KINDS, Kind, Remedy
from app.domain.outcomes.missing_endpoint import PROBE_EVERY
from app.domain.outcomes.reasons import REASONS


@dataclass(frozen=True, slots=True)
class Cause:
    """What is wrong, what to do, and the action that the API names."""

    headline: str
    remedy: str
    action: Remedy = Remedy.OPEN_AMAZON


# Why the sign-in to Amazon is lost.
SIGN_IN: Final[Mapping[str, Cause]] = {
    "revoked": Cause(
        "Amazon access was revoked or has expired. Nothing is sent.",
        "Reconnect and click Allow.",
        Remedy.RECONNECT,
    ),
    "unauthorized": Cause(
        "Amazon rejects the sign-in even with a new token (401). Nothing is sent.",
        "Reconnect to get new tokens.",
        Remedy.RECONNECT,
    ),
    "forbidden": Cause(
        "The signed-in user has no permission for this advertiser (403). Nothing is sent.",
        "Give that user access to the advertiser in the DSP console, then reconnect.",
    ),
    "endpoint_not_found": Cause(
        "Amazon does not know this endpoint or advertiser account (404). Events wait.",
        f"Check the region and the advertiser ID. One request is sent {PROBE_EVERY}; delivery resumes "
        "automatically.",
        Remedy.OPEN_SETTINGS,
    ),
    "disconnected": Cause(
        "This destination was disconnected.", "Reconnect to resume delivery.", Remedy.RECONNECT
    ),
}
# What consecutive failed requests mean, by `failure_of`.
FAILURES: Final[Mapping[str, Cause]] = {
    "throttled": Cause(
        "Amazon is rate-limiting requests (HTTP 429).",
        "No action needed: the rate was lowered automatically. This does not count as a failed attempt.",
        Remedy.RAISE_LIMIT,
    ),
    "unauthorized": Cause(
        "Amazon rejects the access token (401).",
        "A new token is requested automatically. If Amazon also rejects it, events wait for a sign-in.",
    ),
    "forbidden": Cause(
        "Amazon denies access to this advertiser (403).", "Give the signed-in user access, then reconnect."
    ),
    "divisible": Cause(
        "Amazon is rejecting requests as malformed (400) or too large (413).",
        "Each request is split automatically to isolate the bad event. Check the failed events.",
    ),
    "broken": Cause("Amazon returns server errors.", "No action needed: events are retried automatically."),
    "unreadable": Cause(
        "Amazon returns unreadable responses.", "No action needed: events are retried automatically."
    ),
    "lost": Cause(
        "Requests to Amazon time out or lose their connection.",
        "If Amazon is down, no action is needed. Otherwise, check outbound network access.",
    ),
    "no_token": Cause(
        "Amazon's sign-in server issues no access token. Events wait.",
        "If Amazon is down, no action is needed. Otherwise, check outbound network access and the Amazon "
        "application's id and secret.",
    ),
    "missing": Cause(
        "Amazon does not know this endpoint or advertiser account (404).",
        "Check the region and the advertiser ID. Events are retried automatically.",
        Remedy.OPEN_SETTINGS,
    ),
    "unexpected": Cause(
        "Amazon returns an undocumented status.",
        "Check the region and the advertiser ID, then replay the failed events.",
        Remedy.OPEN_SETTINGS,
    ),
}
PAUSED: Final = "paused"  # the reason of waiting events of a paused destination
OPERATOR: Final = "operator"  # the reason that other organisations read instead of a problem of the service
OTHERS: Final[Mapping[str, Cause]] = {
    PAUSED: Cause(
        "The destination is paused. Its events wait.",
        "Resume the destination before the events reach Amazon's age limit.",
        Remedy.RESUME,
    ),
    OPERATOR: Cause(
        "Delivery is delayed by a problem of this service. Accepted events are not lost.",
        "No action needed: the operator of this service is informed.",
        Remedy.NONE,
    ),
}


_BY_KIND: Final[Mapping[Kind, Mapping[str, Cause]]] = {
    Kind.SIGN_IN_LOST: SIGN_IN,
    Kind.AMAZON_FORBIDDEN: SIGN_IN,
    Kind.FAILING: FAILURES,
}


def failure_of(outcome: str, http_status: int | None) -> str:
    """Return the key in FAILURES for the outcome of a failed request."""
    if outcome == "broken" and (http_status or 0) < 500:
        return "unreadable"
    return outcome if outcome in FAILURES else "broken"


def failure_sentence(reason: str, http_status: int | None) -> str:
    """Return what failed requests mean, with the latest status unless it says nothing more."""
    headline = FAILURES[reason].headline
    says_more = http_status and reason != "unreadable" and str(http_status) not in headline
    return f"{headline} Latest status: {http_status}." if says_more else headline


def advice(kind: Kind, reason: str | None) -> tuple[str, Remedy]:
    """Return the remedy and the action for an incident: those of its reason, or else those of its kind."""
    spec = KINDS[kind]
    if kind is Kind.REJECTIONS:
        rejection = REASONS.get(reason or "")
        return (rejection.remedy if rejection else spec.remedy), spec.action
    cause = _BY_KIND.get(kind, OTHERS).get(reason or "")
    return (cause.remedy, cause.action) if cause else (spec.remedy, spec.action)


ACCESS: Final = (Kind.SIGN_IN_LOST, Kind.AMAZON_FORBIDDEN)
# Each of these kinds explains the kinds after it.
CHAIN: Final = (*ACCESS, Kind.FAILING, Kind.THROTTLED, Kind.BACKLOG, Kind.EXPIRING)


def cause_of(found: Collection[Kind], is_open: Collection[Kind]) -> Kind | None:
    """Return the kind that explains the problems of a destination that are found now or still open."""
    # Access can be lost for one reason at a time, so an earlier reason is over.
    current = [kind for kind in ACCESS if kind in found]
    return next((kind for kind in (*current, *CHAIN) if kind in found or kind in is_open), None)
