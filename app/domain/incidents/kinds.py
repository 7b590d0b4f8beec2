"""The kinds of incident (`kinds.toml`), with the texts that an operator reads. Source: interface §11."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

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


_FILE: Final = read_toml(__file__)
KINDS: Final[Mapping[Kind, KindSpec]] = msgspec.convert(_FILE, dict[Kind, KindSpec])
