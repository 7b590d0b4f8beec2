"""Cases of single events: a valid event with changes, and whether Amazon accepts it.

`sure` is False if the sources disagree or do not say whether Amazon enforces the rule. The report then shows
a difference, but no failure.
"""

import copy
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

HASH: Final = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"  # test@example.com
GRANTED: Final = {"amazonConsent": {"amznUserData": "GRANTED", "amznAdStorage": "GRANTED"}}
EMAIL: Final = {"type": "EMAIL", "values": [HASH]}


class LeftOut:
    """Marks a member to remove."""


LEFT_OUT: Final = LeftOut()


@dataclass(frozen=True, slots=True)
class Ago:
    """A time before the request, formatted with `form` (strftime)."""

    days: float
    form: str = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class EventCase:
    """A valid event with changes. `change` maps paths to values; `where` limits the case to some hosts."""

    id: str
    source: str
    says: str
    change: Mapping[str, Any]
    taken: bool
    sure: bool = True
    where: str = "everywhere"  # or "eu", "not eu"


def good(now: datetime, change: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a valid event with a new id, changed as the row says."""
    event: dict[str, Any] = {
        "eventDescription": {
            "name": "Conformance",
            "conversionType": "PAGE_VIEW",
            "eventSource": "WEBSITE",
            "eventIngestionMethod": "SERVER_TO_SERVER",
        },
        "countryCode": "US",
        "eventTime": _written(Ago(0.01), now),
        "matchKeys": [copy.deepcopy(EMAIL)],
        "eventId": f"conformance-{secrets.token_hex(8)}",
        "consent": copy.deepcopy(GRANTED),
    }
    for path, value in (change or {}).items():
        *steps, last = path.split(".")
        at = event
        for step in steps:
            at = at[step]
        if isinstance(value, LeftOut):
            del at[last]
        else:
            at[last] = _written(value, now) if isinstance(value, Ago) else copy.deepcopy(value)
    return event


def _written(ago: Ago, now: datetime) -> str:
    return (now.astimezone(UTC) - timedelta(days=ago.days)).strftime(ago.form)


def keys(number: int) -> list[dict[str, Any]]:
    """Return `number` match keys."""
    return [{"type": "MAID", "values": [f"38400000-8cf0-11bd-b23e-{n:012d}"]} for n in range(number)]


def custom(number: int) -> list[dict[str, str]]:
    """Return `number` custom fields."""
    return [{"name": f"attr{n}", "value": "x"} for n in range(number)]


PURCHASE: Final = {"eventDescription.conversionType": "OFF_AMAZON_PURCHASES"}
TYPE, SOURCE_OF = "eventDescription.conversionType", "eventDescription.eventSource"

# `takes` makes a case of an event that Amazon accepts, `refuses` a case of an event that Amazon refuses.
takes = partial(EventCase, taken=True)
refuses = partial(EventCase, taken=False)
