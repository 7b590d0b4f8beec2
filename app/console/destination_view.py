"""A destination's page: a pipeline that adds up, the lane's health, charts, match keys. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.console.overview_view import line
from app.console.wording import STATUSES, age, moment, number, share
from app.domain.batch import EventMetadata
from app.domain.identity import MATCH_KEYS
from app.domain.mapping.fields import FIELDS, MATCH_KEY_FIELDS
from app.domain.outcomes.reasons import REASONS
from app.store.metrics import ChartStep, ConnectionInfo

SPAN, STEP = timedelta(hours=1), timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PipelineStage:
    """One station of the pipeline. `status` is what the list of events is asked for, where it can be."""

    label: str
    count: str
    some: bool
    tone: str
    meaning: str
    status: str | None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stations in order; `sum` says in numbers why they add up."""

    received: Sequence[PipelineStage]
    waiting: Sequence[PipelineStage]
    ended: Sequence[PipelineStage]
    sum: str


_AT_THE_DOOR = {
    "accepted": ("Accepted", "good", "Stored for good before the journey was answered."),
    "rejected": ("Rejected", "bad", "Refused at the door; the journey was told why."),
    "duplicates": ("Duplicates", "quiet", "Known already, so nothing was stored again."),
}


def pipeline(counts: Mapping[str, int]) -> Pipeline:
    """Return the stations from counts as the API answers them."""
    received = [
        PipelineStage(
            label, number(counts[name]), counts[name] > 0, tone if counts[name] else "quiet", meaning, None
        )
        for name, (label, tone, meaning) in _AT_THE_DOOR.items()
    ]
    waiting = [_step(name, counts[name]) for name in ("queued", "retrying", "held", "parked")]
    ended = [
        _step(name, counts[name])
        for name in ("delivered", "dead", "expired", "erased")
        if counts[name] or name in ("delivered", "dead")
    ]
    parts = [(name, counts[name]) for name in STATUSES if counts[name] and name in counts]
    told = " + ".join(f"{number(count)} {STATUSES[name].label.lower()}" for name, count in parts)
    whole = f"{number(counts['accepted'])} accepted"
    return Pipeline(received, waiting, ended, f"{whole} = {told}" if told else whole)


def _step(name: str, count: int) -> PipelineStage:
    word = STATUSES[name]
    return PipelineStage(
        word.label, number(count), count > 0, word.tone if count else "quiet", word.meaning, name
    )


@dataclass(frozen=True, slots=True)
class RejectionCause:
    """A reason with how often it struck and what to do about it."""

    reason: str
    code: str
    count: str
    share: str
    remedy: str


def causes(rows: Sequence[Mapping[str, Any]]) -> list[RejectionCause]:
    """Return reasons as the stats answer them, the most frequent first."""
    whole = sum(row["count"] for row in rows)
    return [
        RejectionCause(
            row["reason"],
            row["code"],
            number(row["count"]),
            share(row["count"], whole),
            REASONS[row["reason"]].remedy if row["reason"] in REASONS else "",
        )
        for row in sorted(rows, key=lambda row: -row["count"])
    ]


@dataclass(frozen=True, slots=True)
class Gauge:
    """One fact about the lane: a value in short, what it means, and a tone. `at` is a time to print."""

    label: str
    value: str
    meaning: str
    tone: str = "quiet"
    at: datetime | None = None


def lane(stats: Mapping[str, Any], about: ConnectionInfo, now: datetime) -> list[Gauge]:
    """Return how the advertiser's lane is: its rate, gate, worker, token, backlog and nearest expiry."""
    limit = stats["rate_limit"]
    learned = stats["learned_rate"]
    slower = learned is not None and learned < limit["requests_per_second"] * 0.95
    shut = about.blocked_until is not None and about.blocked_until > now
    oldest, waiting = stats["oldest_waiting_seconds"], stats["waiting"]
    expiry = moment(stats["earliest_expiry_at"])
    soon = expiry is not None and expiry - now < timedelta(days=2)
    shared = about.lane_shared_by - 1
    return [
        Gauge(
            "Rate",
            f"{number(round(learned or limit['requests_per_second'], 1))} / s",
            f"Learned from Amazon's answers; the limit set is {number(limit['requests_per_second'])} "
            f"a second, {limit['burst']} at once."
            + (
                f" Shared with {shared} more destination{'' if shared == 1 else 's'} of this advertiser."
                if shared
                else ""
            ),
            "warn" if slower else "quiet",
        ),
        Gauge(
            "Gate",
            "shut" if shut else "open",
            "Amazon asked to wait until then." if shut else "Amazon has not asked to wait.",
            "warn" if shut else "good",
            about.blocked_until if shut else None,
        ),
        _breaker(stats.get("breaker")),
        Gauge(
            "Worker",
            "sending" if stats["lane_owned"] else "none",
            "A worker holds this lane."
            if stats["lane_owned"]
            else "Nobody holds the lane: normal while nothing waits.",
            "good" if stats["lane_owned"] else "bad" if waiting else "quiet",
        ),
        _token(about, now),
        Gauge(
            "Backlog",
            age(oldest) if waiting else "none",
            (
                "The one event that waits."
                if waiting == 1
                else f"The oldest of {number(waiting)} waiting events."
            )
            if waiting
            else "Nothing waits.",
            "warn" if waiting and (oldest or 0) > 60 else "quiet",
        ),
        Gauge(
            "First to expire",
            "–" if expiry is None else "soon" if soon else "far",
            "Nothing can expire."
            if expiry is None
            else "The oldest waiting event passes Amazon's age limit then.",
            "bad" if soon else "quiet",
            expiry,
        ),
    ]


def _breaker(told: Mapping[str, Any] | None) -> Gauge:
    state = told["state"] if told else "closed"
    rate = told["error_rate"] if told else 0.0
    meaning = {
        "closed": "Requests go out as the rate allows.",
        "open": "After too many failures nothing is sent but a probe now and then.",
        "half_open": "A probe is under way; if it is answered, sending goes on.",
    }[state]
    tone = {"closed": "good", "open": "bad", "half_open": "warn"}[state]
    return Gauge(
        "Breaker",
        state.replace("_", " "),
        f"{meaning} Failing lately: {share(round(rate * 1000), 1000)}.",
        tone,
    )


def _token(about: ConnectionInfo, now: datetime) -> Gauge:
    if about.access_until is None:
        return Gauge("Token", "none", "Nobody has signed in at Amazon.", "quiet")
    if about.access_until <= now:
        return Gauge("Token", "asleep", "It is fetched anew when there is something to send.", "quiet")
    return Gauge("Token", "fresh", "Renewed by itself before then.", "good", about.access_until)


def charts(minutes: Sequence[ChartStep], now: datetime) -> dict[str, str]:
    """Return the columns of the two charts as JSON: seconds, then one list for each line; gaps are null."""
    first = (now - SPAN).replace(second=0, microsecond=0)
    places = [first + STEP * nth for nth in range(int(SPAN / STEP) + 1)]
    at = {minute.at: minute for minute in minutes}
    x = [int(place.timestamp()) for place in places]
    found = [at.get(place) for place in places]
    throughput = [
        x,
        [minute.delivered if minute else 0 for minute in found],
        [minute.failed if minute else 0 for minute in found],
    ]
    latency = [
        x,
        [_ms(minute.p50_ms) if minute else None for minute in found],
        [_ms(minute.p95_ms) if minute else None for minute in found],
    ]
    return {"throughput": json.dumps(throughput), "latency": json.dumps(latency)}


def _ms(value: float | None) -> int | None:
    return None if value is None else round(value)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the sampled events carried a match key, and how that moved."""

    label: str
    share: str
    percent: int
    spark: str


_WIRE = {rule.type.value: rule.field for rule in MATCH_KEYS}
_POINTS = 12


def coverage(shapes: Sequence[EventMetadata]) -> list[Coverage]:
    """Return the coverage of each match key that any sampled event carried; shapes newest first."""
    if not shapes:
        return []
    fields = [{_WIRE.get(key, key) for key in shape.match_keys} for shape in reversed(shapes)]
    size = max(1, len(fields) // _POINTS)
    groups = [fields[at : at + size] for at in range(0, len(fields), size)]
    carried = [name for name in MATCH_KEY_FIELDS if any(name in one for one in fields)]
    shown = []
    for name in carried:
        count = sum(name in one for one in fields)
        moved = [round(100 * sum(name in one for one in group) / len(group)) for group in groups]
        shown.append(
            Coverage(
                FIELDS[name].label,
                share(count, len(fields)),
                round(100 * count / len(fields)),
                line([*moved, moved[-1]] if len(moved) == 1 else moved) if any(moved) else "",
            )
        )
    return sorted(shown, key=lambda one: -one.percent)


def spanned(moments: Sequence[datetime]) -> tuple[datetime, datetime] | None:
    """Return from when to when samples are, newest first, where that is a time that can be told apart."""
    if not moments or moments[0] - moments[-1] < timedelta(seconds=2):
        return None
    return moments[-1], moments[0]


@dataclass(frozen=True, slots=True)
class EventsManagerHint:
    """When Amazon's Events manager shows what was sent (R14)."""

    tone: str
    sentence: str
    since: datetime | None
    percent: int


_APPEARS = timedelta(hours=2)


def viewing(first: datetime | None, now: datetime) -> EventsManagerHint:
    """Return whether "No activity yet" is to be expected; `first` is when Amazon first accepted something."""
    if first is None:
        return EventsManagerHint(
            "quiet",
            "Amazon has accepted nothing of this destination yet, so “No activity yet” is what its Events "
            "manager says. That is no error.",
            None,
            0,
        )
    gone = now - first
    if gone < _APPEARS:
        return EventsManagerHint(
            "warn",
            "Amazon has accepted events. Its Events manager takes up to two hours to count them: "
            f"“No activity yet” is normal for {age((_APPEARS - gone).total_seconds())} more.",
            first,
            max(1, round(100 * gone / _APPEARS)),
        )
    return EventsManagerHint(
        "good",
        "Counts should be there. If it still says “No activity yet”, check that you look at the same "
        "advertiser and region, and that the dataset shown is the one that events are sent to.",
        first,
        100,
    )
