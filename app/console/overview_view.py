"""View of the list of destinations: one row each, with a sparkline of recent days. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from app.console.wording import REGIONS, STATES, Label, number, share
from app.store.metrics import DayCounts

DAYS = 14
ERROR_DAYS = 7
_WIDTH, _HEIGHT = 112.0, 24.0


@dataclass(frozen=True, slots=True)
class OverviewRow:
    """One row of the list."""

    id: str
    name: str
    advertiser_id: str
    region: str
    state: Label
    last_delivery: datetime | None
    errors: str
    errors_tone: str
    spark: str
    spark_says: str


def rows(
    items: Sequence[Mapping[str, Any]],
    days: Mapping[str, Sequence[DayCounts]],
    last: Mapping[str, datetime],
    today: date,
) -> list[OverviewRow]:
    """Return the rows; `items` are API views, `days` and `last` are keyed by destination id."""
    return [_row(item, days.get(item["id"], ()), last.get(item["id"]), today) for item in items]


def _row(
    item: Mapping[str, Any], days: Sequence[DayCounts], last: datetime | None, today: date
) -> OverviewRow:
    recent = [day for day in days if day.day > today - timedelta(days=ERROR_DAYS)]
    failed = sum(day.dead + day.expired + day.rejected for day in recent)
    total = sum(day.accepted + day.rejected for day in recent)
    delivered = by_day(days, today)
    return OverviewRow(
        id=item["id"],
        name=item["name"],
        advertiser_id=item["advertiser_id"],
        region=REGIONS[item["region"]],
        state=STATES[item["state"]],
        last_delivery=last,
        errors=share(failed, total),
        errors_tone="bad" if total and failed / total > 0.05 else "warn" if failed else "quiet",
        spark=line(delivered),
        spark_says=f"{number(sum(delivered))} delivered in {DAYS} days, {number(delivered[-1])} today",
    )


def by_day(days: Sequence[DayCounts], today: date) -> list[int]:
    """Return the number of delivered events per day, oldest first."""
    delivered = {day.day: day.delivered for day in days}
    return [delivered.get(today - timedelta(days=back), 0) for back in reversed(range(DAYS))]


def line(values: Sequence[int]) -> str:
    """Return the points of an SVG line, 112 × 24; zeros lie at the bottom."""
    maximum = max(values) or 1
    step = _WIDTH / (len(values) - 1)
    return " ".join(
        f"{index * step:.1f},{_HEIGHT - 2 - value / maximum * (_HEIGHT - 4):.1f}"
        for index, value in enumerate(values)
    )
