"""The causes of incidents (`causes.toml`): what an operator reads, and which incidents a cause explains.

The page of a destination and its incidents use the same sentences.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from app.domain.incidents.kinds import KINDS, Kind, Remedy
from app.domain.outcomes.missing_endpoint import PROBE_EVERY
from app.domain.outcomes.reasons import REASONS
from app.domain.toml_files import read_toml


@dataclass(frozen=True, slots=True)
class Cause:
    """What is wrong, what to do, and the action that the API names."""

    headline: str
    remedy: str
    action: Remedy


_FILE: Final = read_toml(__file__)


def _causes(table: str) -> Mapping[str, Cause]:
    return {
        reason: Cause(headline, remedy.format(probe_every=PROBE_EVERY), Remedy(action))
        for reason, (headline, remedy, action) in _FILE[table].items()
    }


SIGN_IN: Final = _causes("sign_in")
FAILURES: Final = _causes("failures")
OTHERS: Final = _causes("others")
PAUSED: Final = "paused"  # the reason of waiting events of a paused destination
OPERATOR: Final = "operator"  # the reason that other organisations read instead of a problem of the service

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
