"""The kinds of incident (`kinds.toml`) and their causes (`causes.toml`), as an operator reads them.

The page of a destination and its incidents use the same sentences. Source: interface §11.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from app.domain.outcomes.reasons import REASONS
from app.domain.outcomes.settle import PROBE_EVERY
from app.domain.toml_files import read_toml


class Severity(StrEnum):
    """How urgent an incident is, in ascending order."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The position in the ascending order: 0 is the least urgent."""
        return list(Severity).index(self)


class Kind(StrEnum):
    SIGN_IN_LOST = "sign_in_lost"
    AMAZON_FORBIDDEN = "amazon_forbidden"
    FAILING = "failing"
    THROTTLED = "throttled"
    BACKLOG = "backlog"
    EXPIRING = "expiring"
    DEAD_LETTERS = "dead_letters"
    REJECTIONS = "rejections"
    VOLUME_DROP = "volume_drop"
    NO_WORKER = "no_worker"
    DATABASE_SLOW = "database_slow"
    NOTIFICATIONS_FAILING = "notifications_failing"
    SCHEMA_DRIFT = "schema_drift"
    VALUE_SUSPECT = "value_suspect"


class Remedy(StrEnum):
    """The action that the API names for an incident, so that a client can offer it as a button."""

    RECONNECT = "reconnect"
    RESUME = "resume"
    REPLAY = "replay"
    OPEN_MAPPING = "open_mapping"
    OPEN_SETTINGS = "open_settings"
    OPEN_AMAZON = "open_amazon"
    RAISE_LIMIT = "raise_limit"
    CHECK_DATABASE = "check_database"
    NONE = "none"


class KindSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The properties of a kind of incident.

    `remedy` says what the operator should do, unless the reason of the incident says more. `opens_when`
    explains the threshold; it is empty if no threshold can be set. With `needs_success`, the incident
    resolves only after a successful request. An incident of a kind with `delays_delivery` explains those of
    kinds with `is_delay`: they open without a message. With `ends_acknowledged`, acknowledging an incident
    resolves it, and the same finding does not open it again.
    """

    title: str
    severity: Severity
    remedy: str
    action: Remedy
    opens_when: str = ""
    of_service: bool = False
    needs_success: bool = False
    delays_delivery: bool = False
    is_delay: bool = False
    ends_acknowledged: bool = False


KINDS: Final[Mapping[Kind, KindSpec]] = msgspec.convert(read_toml(__file__), dict[Kind, KindSpec])


# --- Causes ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cause:
    """What is wrong, what to do, and the action that the API names."""

    headline: str
    remedy: str
    action: Remedy


_CAUSES: Final = read_toml(__file__, "causes")


def _causes(table: str) -> Mapping[str, Cause]:
    return {
        reason: Cause(headline, remedy.format(probe_every=PROBE_EVERY), Remedy(action))
        for reason, (headline, remedy, action) in _CAUSES[table].items()
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
