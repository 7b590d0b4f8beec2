"""Create synthetic events: events with the paths and kinds of a sample, and invented values.

Paths of the same kind get different values where possible, so that a conversion shows which path it reads.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from app.domain.conversion import tcf
from app.domain.mapping.paths import EACH, Step, parse_path
from app.domain.observed.schema_sample import SampleEntry, SchemaSample, ValueKind

# Kinds for which all paths get the same value.
_SAME: Final[Mapping[ValueKind, Any]] = {
    ValueKind.NULL: None,
    ValueKind.BOOLEAN: True,
    ValueKind.ZERO: 0,
    ValueKind.OBJECT: {"": ""},
    ValueKind.LIST: [""],
    ValueKind.BLANK: " ",
    ValueKind.EVENT_TYPE: "OTHER",
    ValueKind.EVENT_SOURCE: "WEBSITE",
    ValueKind.CURRENCY: "USD",
    ValueKind.COUNTRY: "US",
    ValueKind.CONSENT_COUNTRY: "DE",
    ValueKind.GRANTED: "GRANTED",
    ValueKind.DENIED: "DENIED",
    ValueKind.TCF: tcf.consent_to_all(),
    ValueKind.GPP: "DBAA~BAAA.YAAA",
    # Every identity profile drops the first value as a hashed match key, and the second as an unhashed match
    # key.
    ValueKind.UNUSABLE_TRAIT: "0" * 64,
    ValueKind.UNUSABLE_ID: "a@b.example",
}

# Kinds whose value depends on the path's number in the sample, from 0 to some hundreds.
_DISTINCT: Final[Mapping[ValueKind, Callable[[int], Any]]] = {
    ValueKind.NEGATIVE: lambda n: -1 - n,
    ValueKind.INTEGER: lambda n: 12 + n,
    ValueKind.DECIMAL: lambda n: Decimal(12 + n) + Decimal("0.5"),
    ValueKind.TEXT: lambda n: f"text{_letters(n)}",
    ValueKind.LONG_TEXT: lambda n: "text" * 100 + _letters(n),
    ValueKind.ENDLESS_TEXT: lambda n: "text" * 300 + _letters(n),
    ValueKind.FOREIGN_TEXT: lambda n: f"文{chr(0x4E00 + n)}",
    ValueKind.EMAIL: lambda n: f"someone{n}@example.com",
    ValueKind.HASH: lambda n: hashlib.sha256(b"%d" % n).hexdigest(),
    ValueKind.UUID: lambda n: str(UUID(int=0x5E884898DA2847159D0E56F8DC629277 + n)),
    ValueKind.PHONE: lambda n: f"+1202555{n % 10_000:04}",
    ValueKind.NATIONAL_PHONE: lambda n: f"202-555-{n % 10_000:04}",
    ValueKind.NUMBER_TEXT: lambda n: str(12 + n),
    ValueKind.IP_ADDRESS: lambda n: f"8.8.{n // 250}.{n % 250 + 1}",
}

_TIMES: Final[Mapping[ValueKind, Callable[[datetime], Any]]] = {
    ValueKind.TIME: lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    ValueKind.DATE: lambda at: at.strftime("%Y-%m-%d"),
    ValueKind.EPOCH_SECONDS: lambda at: int(at.timestamp()),
    ValueKind.EPOCH_MILLISECONDS: lambda at: int(at.timestamp()) * 1000,
    # Digits can be a phone number or an epoch time. This value is valid as both.
    ValueKind.DIGITS: lambda at: str(int(at.timestamp())),
}


@dataclass(frozen=True, slots=True)
class CommonEvent:
    """A synthetic event for a common sample. `events` is the number of events that the sample stands for."""

    events: int
    paths: int
    event: dict[str, Any]


def common_events(
    samples: Iterable[tuple[SchemaSample, int]], now: datetime, *, limit: int
) -> list[CommonEvent]:
    """Return a synthetic event for each of the `limit` most common samples."""
    counted: Counter[SchemaSample] = Counter()
    for sample, times in samples:
        counted[sample] += times
    return [
        CommonEvent(times, len(sample), synthetic_event(sample, now))
        for sample, times in counted.most_common(limit)
    ]


def synthetic_event(sample: SchemaSample, now: datetime) -> dict[str, Any]:
    """Return an event with the sample's paths and invented values. Its times are shortly before `now`."""
    event: dict[str, Any] = {}
    for number, entry in enumerate(sample):
        steps = parse_path(entry.path)
        if steps is not None and EACH not in steps and -1 not in steps:
            _put(event, steps, _value(entry, number, now))
    return event


def _value(entry: SampleEntry, number: int, now: datetime) -> Any:
    kind = entry.kind
    if type(entry.word) is str:
        return entry.word if kind is not ValueKind.BOOLEAN else entry.word == "true"
    if kind in _DISTINCT:
        return _DISTINCT[kind](number)
    if kind in _TIMES:
        return _TIMES[kind](now - timedelta(seconds=number))
    return _SAME[kind]


def _letters(number: int) -> str:
    return chr(ord("a") + number // 26 % 26) + chr(ord("a") + number % 26)


def _put(event: dict[str, Any], steps: tuple[Step, ...], value: Any) -> None:
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
