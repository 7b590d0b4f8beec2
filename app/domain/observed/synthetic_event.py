"""Create synthetic events: events with the paths and kinds of a sample, and invented values.

Paths of the same kind get different values where possible, so that a conversion shows which path it reads.
"""

import email.utils
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from app.domain.conversion import tcf
from app.domain.mapping.paths import EACH, Step, parse_path
from app.domain.observed.schema_sample import MAX_ITEMS, SampleEntry, SchemaSample, without_fingerprints
from app.domain.observed.value_kinds import ValueKind

# Kinds for which all paths get the same value.
_SAME: Final[Mapping[ValueKind, Any]] = {
    ValueKind.NULL: None,
    ValueKind.BOOLEAN: True,
    ValueKind.ZERO: 0,
    ValueKind.EMPTY_TEXT: "",
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
    ValueKind.LARGE_NUMBER: 10**15,
    ValueKind.ENDLESS_NUMBER: 10**70,
    # An unfilled template, because the sample holds other placeholders themselves.
    ValueKind.UNUSABLE_TRAIT: "{{x}}",
}

# Kinds whose value depends on the path's number in the sample, from 0 to some hundreds.
_DISTINCT: Final[Mapping[ValueKind, Callable[[int], Any]]] = {
    # New ones each time, because the event is changed while it is made.
    ValueKind.OBJECT: lambda _: {"": ""},
    ValueKind.LIST: lambda _: [""],
    ValueKind.EMPTY_OBJECT: lambda _: {},
    ValueKind.EMPTY_LIST: lambda _: [],
    ValueKind.NEGATIVE: lambda n: -1 - n,
    ValueKind.INTEGER: lambda n: 12 + n,
    ValueKind.DECIMAL: lambda n: Decimal(12 + n) + Decimal("0.34"),
    ValueKind.TEXT: lambda n: f"text{_letters(n)}",
    ValueKind.CODE: lambda n: f"4.{n}.0-1",
    ValueKind.PERSONAL_TEXT: lambda n: f"?mail=someone{n}%40example.com",
    ValueKind.ODD_TEXT: lambda n: f" text{_letters(n)} ",
    ValueKind.LONG_TEXT: lambda n: "text" * 100 + _letters(n),
    ValueKind.ENDLESS_TEXT: lambda n: "text" * 300 + _letters(n),
    ValueKind.FOREIGN_TEXT: lambda n: f"文{chr(0x4E00 + n)}",
    ValueKind.EMAIL: lambda n: f"someone{n}@example.com",
    ValueKind.HASH: lambda n: hashlib.sha256(b"%d" % n).hexdigest(),
    ValueKind.UUID: lambda n: str(UUID(int=0x5E884898DA2847159D0E56F8DC629277 + n)),
    ValueKind.PHONE: lambda n: f"+1202555{n % 10_000:04}",
    ValueKind.NATIONAL_PHONE: lambda n: f"202-555-{n % 10_000:04}",
    ValueKind.DIGITS: lambda n: f"202555{n % 10_000:04}",
    ValueKind.NUMBER_TEXT: lambda n: str(12 + n),
    ValueKind.DECIMAL_TEXT: lambda n: f"{12 + n}.34",
    ValueKind.COMMA_TEXT: lambda n: f"{12 + n},34",
    ValueKind.POINT_TEXT: lambda n: f"1,{n % 1_000:03}.34",
    ValueKind.AMOUNT_TEXT: lambda n: f"{12 + n} €",
    ValueKind.IP_ADDRESS: lambda n: f"8.8.{n // 250}.{n % 250 + 1}",
}

_TIMES: Final[Mapping[ValueKind, Callable[[datetime], Any]]] = {
    ValueKind.TIME: lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    ValueKind.RFC_TIME: email.utils.format_datetime,
    ValueKind.OLD_TIME: lambda at: (at - timedelta(days=1_000)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    ValueKind.DATE: lambda at: at.strftime("%Y-%m-%d"),
    ValueKind.EPOCH_SECONDS: lambda at: int(at.timestamp()),
    ValueKind.EPOCH_MILLISECONDS: lambda at: int(at.timestamp()) * 1000,
    ValueKind.EPOCH_TEXT: lambda at: str(int(at.timestamp())),
    ValueKind.EPOCH_MILLISECONDS_TEXT: lambda at: str(int(at.timestamp()) * 1000),
}
_EARLIER: Final = timedelta(hours=15)  # a time without a zone is then recent and past in most zones


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
        if steps is not None and EACH not in steps and -1 not in steps and MAX_ITEMS not in steps:
            put(event, steps, replace(entry, _value(entry, number, now)))
    return event


def _value(entry: SampleEntry, number: int, now: datetime) -> Any:
    kind, word = entry.kind, entry.word
    if kind is ValueKind.BOOLEAN and word is not None:
        return word == "true"
    if kind is ValueKind.PATTERN_TIME:
        return _in_pattern(str(word), now - _EARLIER - timedelta(seconds=number))
    if isinstance(word, str):
        return word
    if kind in _DISTINCT:
        return _DISTINCT[kind](number)
    if kind in _TIMES:
        return _TIMES[kind](now - timedelta(seconds=number))
    return _SAME[kind]


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


def _in_pattern(pattern: str, at: datetime) -> str:
    directives = re.sub(
        "SSS|YYYY|([MDHhms])\\1|[MDHhA]", lambda part: _DIRECTIVES.get(part[1] or part[0], "000"), pattern
    )
    return at.strftime(directives)


def _letters(number: int) -> str:
    return chr(ord("a") + number // 26 % 26) + chr(ord("a") + number % 26)


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
