"""The kinds of incident, with the texts that an operator reads. Source: interface §11."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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


@dataclass(frozen=True, slots=True)
class KindSpec:
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


_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO

KINDS: Final[Mapping[Kind, KindSpec]] = {
    Kind.SIGN_IN_LOST: KindSpec(
        "Sign-in lost",
        _CRITICAL,
        "Connect the destination to Amazon again. Its events wait until then.",
        Remedy.RECONNECT,
        opens_when="Amazon rejects the stored sign-in.",
    ),
    Kind.AMAZON_FORBIDDEN: KindSpec(
        "Access denied by Amazon",
        _CRITICAL,
        "Check the region, the advertiser ID and the access of the signed-in user.",
        Remedy.OPEN_AMAZON,
        opens_when="Amazon responds 403 or 404 for the advertiser.",
    ),
    Kind.FAILING: KindSpec(
        "Requests fail",
        _CRITICAL,
        "The events are retried automatically. Open the destination for the latest response of Amazon.",
        Remedy.OPEN_AMAZON,
        needs_success=True,
        is_delay=True,
        opens_when="This share of requests fails.",
    ),
    Kind.THROTTLED: KindSpec(
        "Throttled by Amazon",
        _WARNING,
        "Ask Amazon for a higher limit, or send fewer events. The events wait and are delivered later.",
        Remedy.RAISE_LIMIT,
        needs_success=True,
        is_delay=True,
        opens_when="Rate limiting by Amazon delays the oldest event.",
    ),
    Kind.BACKLOG: KindSpec(
        "Events wait too long",
        _WARNING,
        "Raise the rate limit of the destination, or send fewer events.",
        Remedy.RAISE_LIMIT,
        is_delay=True,
        opens_when="The oldest event waits for longer than this.",
    ),
    Kind.EXPIRING: KindSpec(
        "Events expire soon",
        _CRITICAL,
        "Raise the rate limit of the destination, or send events sooner after they occur.",
        Remedy.RAISE_LIMIT,
        is_delay=True,
        opens_when="An event nears Amazon's age limit.",
    ),
    Kind.DEAD_LETTERS: KindSpec(
        "Events failed permanently",
        _WARNING,
        "Read the reason. Replay the events if Amazon accepts them unchanged now, otherwise dismiss them.",
        Remedy.REPLAY,
        opens_when="Events failed permanently and are not dismissed.",
    ),
    Kind.REJECTIONS: KindSpec(
        "Many events rejected",
        _WARNING,
        "View the rejections for the reason, then fix the mapping or the events.",
        Remedy.OPEN_MAPPING,
        opens_when="This share of events is rejected on receipt.",
    ),
    Kind.VOLUME_DROP: KindSpec(
        "Few events received",
        _WARNING,
        "Check that the journey still runs and sends its events here.",
        Remedy.NONE,
        is_delay=True,
        opens_when="The last hour has fewer events than this share of its usual number.",
    ),
    Kind.NO_WORKER: KindSpec(
        "No worker",
        _CRITICAL,
        "Start a worker, or read the workers' logs for the reason why none is assigned.",
        Remedy.NONE,
        of_service=True,
        delays_delivery=True,
    ),
    Kind.DATABASE_SLOW: KindSpec(
        "Database slow",
        _CRITICAL,
        "Check the disk, the load and the locks of Postgres.",
        Remedy.CHECK_DATABASE,
        of_service=True,
        delays_delivery=True,
    ),
    Kind.NOTIFICATIONS_FAILING: KindSpec(
        "Notifications fail",
        _WARNING,
        "Check the receiver, and the NOTIFY_ and SMTP_ settings of this service.",
        Remedy.NONE,
        of_service=True,
    ),
    Kind.VALUE_SUSPECT: KindSpec(
        "Suspicious amounts",
        _WARNING,
        "Check the amount and the currency in the mapping. Acknowledge the incident if they are right.",
        Remedy.OPEN_MAPPING,
        ends_acknowledged=True,
        opens_when="20 of the last 100 purchases have a suspicious amount.",
    ),
    Kind.SCHEMA_DRIFT: KindSpec(
        "Event schema changed",
        _INFO,
        "Map the field under its new name. Acknowledge the incident if events no longer have it.",
        Remedy.OPEN_MAPPING,
        ends_acknowledged=True,
        opens_when="Events no longer fill a mapped field.",
    ),
}
