"""What Amazon should count per day and event name, the query that asks Amazon, and the gap in a sentence.

Only conversions that Amazon received are compared. Reports of campaigns count attributed conversions, which
are always fewer: an advertisement must have been served before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from app.domain.quantity import quantity

# Source: docs/why-fewer.md#clocks.
COUNTED_AFTER: Final = timedelta(hours=2)
STABLE_AFTER: Final = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class EventKind:
    """What Amazon treats as one event. A member is None if it is not known, such as a source per event."""

    event_name: str | None
    event_type: str | None
    event_source: str | None
    dataset_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCounts:
    """The events of a kind on a UTC day, by the events' own times.

    `sent` were in at least one request to Amazon. `repeated_ids`, `without_consent` and `rejected`, for other
    reasons, were not accepted and are not in `accepted`; they are counted on the day of their receipt.
    """

    accepted: int = 0
    sent: int = 0
    amazon_accepted: int = 0
    amazon_refused: int = 0
    repeated_ids: int = 0
    without_consent: int = 0
    rejected: int = 0
    waiting: int = 0

    @property
    def failed(self) -> int:
        """The accepted events that failed without an answer of Amazon's, expired or were erased before."""
        return max(0, self.accepted - self.amazon_accepted - self.amazon_refused - self.waiting)

    def __add__(self, other: "DayCounts") -> "DayCounts":
        return DayCounts(
            **{name: getattr(self, name) + getattr(other, name) for name in DayCounts.__dataclass_fields__}
        )


@dataclass(frozen=True, slots=True)
class ReconciledDay:
    """A row of the reconciliation."""

    day: date
    kind: EventKind
    counts: DayCounts


@dataclass(frozen=True, slots=True)
class Gap:
    """The difference between what Amazon accepted here and what it shows, explained. `counts` are ours."""

    gap: int
    sentence: str
    stable_at: datetime
    counts: DayCounts


def explain_gap(
    rows: Iterable[ReconciledDay], day: date, event_name: str, amazon_count: int, now: datetime
) -> Gap:
    """Explain the number that Amazon shows for an event name on a day."""
    found = [row for row in rows if row.day == day and row.kind.event_name == event_name]
    counts = sum((row.counts for row in found), DayCounts())
    gap = counts.amazon_accepted - amazon_count
    parts = [_comparison(counts, gap, amazon_count), *_not_arrived(counts), *_causes(found, gap)]
    end = datetime.combine(day, time(), UTC) + timedelta(days=1)
    stable_at = end + STABLE_AFTER
    if now < stable_at:
        fresh = "New events are counted after up to 2 hours. " if now < end + COUNTED_AFTER else ""
        parts.append(
            f"{fresh}Amazon's numbers for this day can still change; compare again after "
            f"{stable_at:%Y-%m-%d %H:%M} UTC."
        )
    parts.append(
        "Compare received conversions only: a campaign report counts attributed ones (14 days after an ad "
        "in DSP reports, up to 28 in AMC), which are always fewer."
    )
    return Gap(gap, " ".join(parts), stable_at, counts)


def _comparison(counts: DayCounts, gap: int, shown: int) -> str:
    accepted = f"{quantity(counts.amazon_accepted, 'conversion')} that it accepted from here"
    if gap == 0:
        return f"Amazon shows all {accepted}."
    if gap > 0:
        return f"Amazon shows {shown:,} of {accepted}: {gap:,} fewer."
    return f"Amazon shows {shown:,}, {-gap:,} more than the {accepted}."


def _not_arrived(counts: DayCounts) -> list[str]:
    """Return a sentence that counts the events which Amazon cannot show, because it never accepted them."""
    lines = (
        (counts.without_consent, "had no consent"),
        (counts.repeated_ids, "repeated an event id and were not sent"),
        (counts.rejected, "were rejected here"),
        (counts.amazon_refused, "were refused by Amazon"),
        (counts.failed, "failed, expired or were erased here"),
        (counts.waiting, "still wait here"),
    )
    counted = [f"{number:,} {what}" for number, what in lines if number]
    return [f"It cannot show the following: {', '.join(counted)}."] if counted else []


def _causes(found: Sequence[ReconciledDay], gap: int) -> list[str]:
    if not found:
        return ["No event of this name and day was accepted here. Check the name and the UTC day."]
    if gap > 0:
        return [
            "Of the accepted ones Amazon leaves out those whose event id it has already, from its tag or "
            "another type, those that its consent filter excludes, and in AMC those in groups below its "
            "privacy threshold."
        ]
    if gap < 0:
        return ["Others send under this name too, such as Amazon's tag, or the day is not the UTC day."]
    return []


_AMC: Final = Path(__file__).with_name("amc.sql").read_text("utf-8")
_NAMES: Final = "  AND conversion_event_name IN (:names)\n"


def amc_sql(names: Iterable[str]) -> str:
    """Return the query that counts received conversions in Amazon Marketing Cloud, by day and event name.

    `user_id_type` is NULL where Amazon found no identity: the only match rate that Amazon documents.
    """
    chosen = ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(set(names)))
    return _AMC.replace(_NAMES, _NAMES.replace(":names", chosen) if chosen else "")
