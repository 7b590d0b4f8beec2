"""Create synthetic events: events with the paths and kinds of a sample, and invented values.

Paths of the same kind get different values where possible, so that a conversion shows which path it reads.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from app.domain.mapping.paths import EACH, Step, parse_path
from app.domain.observed.schema_sample import MORE_ITEMS, SampleEntry, SchemaSample, without_fingerprints
from app.domain.observed.value_kinds import PATTERN_TIMES, ValueKind

_EARLIER: Final = timedelta(hours=15)  # a time without a zone is then recent and past in most zones
_OLD: Final = timedelta(days=1_000)


@dataclass(frozen=True, slots=True)
class CommonEvent:
    """A synthetic event for a common sample. `events` is the number of events that the sample stands for."""

    events: int
    paths: int
    event: dict[str, Any]


def common_events(
    samples: Iterable[tuple[SchemaSample, int]], now: datetime, *, limit: int
) -> list[CommonEvent]:
    """Return a synthetic event for each of the `limit` most common samples.

    Samples that differ only in the fingerprints of their texts give the same event.
    """
    counted: Counter[SchemaSample] = Counter()
    for sample, times in samples:
        counted[without_fingerprints(sample)] += times
    return [
        CommonEvent(times, len(sample), synthetic_event(sample, now))
        for sample, times in counted.most_common(limit)
    ]


def synthetic_event(
    sample: SchemaSample,
    now: datetime,
    replace: Callable[[SampleEntry, Any], Any] = lambda entry, value: value,
) -> dict[str, Any]:
    """Return an event with the sample's paths and invented values. Its times are shortly before `now`.

    `replace` gets each entry with its value, and returns the value to use.
    """
    event: dict[str, Any] = {}
    for number, entry in enumerate(sample):
        steps = parse_path(entry.path)
        is_mark = entry.kind is ValueKind.LIST and entry.path.endswith(MORE_ITEMS)
        if steps is not None and EACH not in steps and -1 not in steps and not is_mark:
            put(event, steps, replace(entry, _value(entry, number, now)))
    return event


def _value(entry: SampleEntry, number: int, now: datetime) -> Any:
    kind, word = entry.kind, entry.word
    if kind is ValueKind.BOOLEAN and word is not None:
        return word == "true"
    if kind in PATTERN_TIMES:
        ago = _EARLIER if kind is ValueKind.PATTERN_TIME else _OLD
        return _in_pattern(str(word), now - ago - timedelta(seconds=number))
    if isinstance(word, str):
        return word
    return kind.example(number, now - timedelta(seconds=number))


_DIRECTIVES: Final = {
    "YYYY": "%Y",
    "M": "%m",
    "D": "%d",
    "H": "%H",
    "h": "%I",
    "m": "%M",
    "s": "%S",
    "A": "%p",
}
_PART: Final = re.compile(r"SSS|YYYY|([MDHhms])\1|[MDHhA]")


def _in_pattern(pattern: str, at: datetime) -> str:
    def written(part: re.Match[str]) -> str:
        text = at.strftime(_DIRECTIVES.get(part[1] or part[0], "000"))
        return text.lstrip("0") if part[0] in ("M", "D", "H", "h") else text

    return _PART.sub(written, pattern)


def fitting_time(sample: SchemaSample, now: datetime) -> datetime:
    """Return a time at which the event of a sample is recent, whatever digits its local times have.

    `D` stands for a day of one digit, which `DD` does not read. `DD` also stands for a day such as `05`.
    """
    has_pattern = any(entry.kind is ValueKind.PATTERN_TIME for entry in sample)
    return now.replace(month=1, day=5, hour=9, minute=30) + _EARLIER if has_pattern else now


def put(event: dict[str, Any], steps: tuple[Step, ...], value: Any) -> None:
    """Put a value at a path of an event."""
    parent: Any = event
    for step, next_step in zip(steps, (*steps[1:], None), strict=True):
        child: Any = value if next_step is None else [] if isinstance(next_step, int) else {}
        if isinstance(step, int):
            parent.extend([None] * (step + 1 - len(parent)))
            existing = parent[step]
        else:
            existing = parent.get(step)
        parent[step] = existing if type(existing) is type(child) and next_step is not None else child
        parent = parent[step]
