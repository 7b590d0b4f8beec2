"""The health of a destination in one word, for the API."""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from app.domain.destination import State
from app.domain.incidents.kinds import Severity

IDLE_AFTER: Final = timedelta(days=1)


class Health(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILING = "failing"
    PAUSED = "paused"
    NEEDS_RECONNECT = "needs_reconnect"
    IDLE = "idle"


def health_of(
    state: State,
    sign_in_reason: str | None,
    open_severities: Collection[Severity],
    last_event_at: datetime | None,
    now: datetime,
) -> Health:
    """Return the health of a destination. It received its last event at `last_event_at`."""
    if state is State.PAUSED:
        return Health.PAUSED
    if state is State.NEEDS_RECONNECT:
        # To reconnect does not help if Amazon does not know the endpoint or the advertiser account.
        return Health.FAILING if sign_in_reason == "endpoint_not_found" else Health.NEEDS_RECONNECT
    if Severity.CRITICAL in open_severities:
        return Health.FAILING
    if Severity.WARNING in open_severities:
        return Health.DEGRADED
    if last_event_at is None or now - last_event_at > IDLE_AFTER or state is not State.ACTIVE:
        return Health.IDLE
    return Health.HEALTHY
