"""Create synthetic events: events with the paths and kinds of a sample, and invented values.

Paths of the same kind get different values where possible, so that a conversion shows which path it reads.
For a backtest, the kind of a value and the source that reads it decide whether an invented value shows what a
conversion does with the real value. Where the result depends on the text, the event has an `Invented` text,
with which a conversion is `unclear`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Set
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from app.domain.conversion.numbers import number_text, read_number
from app.domain.identity.keys import HASHED_FIELDS, Profile
from app.domain.mapping.document import Mapping
from app.domain.mapping.paths import EACH, Path, Step, parse_path, walk
from app.domain.mapping.pipes import ALWAYS, PIPES, WHERE
from app.domain.mapping.reading import Invented
from app.domain.mapping.sources import Source
from app.domain.observed.schema_sample import (
    MORE_ITEMS,
    Fingerprint,
    SampleEntry,
    SchemaSample,
    is_unsampled,
    may_be_unsampled,
    without_fingerprints,
)
from app.domain.observed.value_kinds import LISTED, PATTERN_TIMES, ValueKind

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


# --- What an invented value shows of the real one ---------------------------------------------------

K = ValueKind
_BEYOND: Final = frozenset({K.LARGE_NUMBER, K.ENDLESS_NUMBER})
_NUMBERS: Final = frozenset({kind for kind in K if kind.json_type == "number"}) - _BEYOND
_NUMBER_TEXTS: Final = frozenset(
    {K.NUMBER_TEXT, K.DECIMAL_TEXT, K.COMMA_TEXT, K.POINT_TEXT, K.AMOUNT_TEXT, K.POINT_OR_GROUP_TEXT}
)
_TIMES: Final = frozenset(
    {K.TIME, K.RFC_TIME, K.PATTERN_TIME, K.EPOCH_TEXT, K.EPOCH_MILLISECONDS_TEXT}
    | {K.EPOCH_SECONDS, K.EPOCH_MILLISECONDS}
)
_OLD_TIMES: Final = frozenset({K.OLD_TIME, K.OLD_PATTERN_TIME})
# Kinds for which every check has one answer.
_FIXED: Final = frozenset({K.NULL, K.BLANK, K.BOOLEAN, K.OBJECT, K.LIST, K.ZERO, K.UNUSABLE_TRAIT})
# Texts in which no check of a text in clear finds anything.
_PLAIN: Final = (
    frozenset({K.TEXT, K.CODE, K.HASH, K.UUID, K.DATE, K.DIGITS, K.IP_ADDRESS, K.GPP})
    | _OLD_TIMES
    | _NUMBER_TEXTS
    | _TIMES
)
_CLEAR: Final = _NUMBERS | _PLAIN | {K.EMAIL, K.PHONE, K.FOREIGN_TEXT, K.ENDLESS_TEXT, K.LARGE_NUMBER}
_ALL: Final = frozenset(K) - {K.ODD_TEXT}
_NAME: Final = frozenset({K.HASH, K.TEXT, K.ENDLESS_TEXT})

# The kinds for which the check of a field has one answer, besides `_FIXED`.
_CERTAIN: Final[MappingOf[str, frozenset[ValueKind]]] = {
    **dict.fromkeys(("event_type", "event_source", "country_code", "currency", "limited_data_use"), _ALL),
    **dict.fromkeys(("consent.user_data", "consent.ad_storage"), _ALL),
    "consent.string": _ALL - {K.TCF},
    "event_timestamp": _ALL - _BEYOND - _OLD_TIMES - {K.DIGITS},
    "value": _ALL - _BEYOND,
    "units_sold": _ALL - _BEYOND,
    "aref_measurement_tokens": _CLEAR - {K.TEXT, K.CODE},
    "ip_address": frozenset({K.IP_ADDRESS, K.EMAIL, K.PHONE, K.UUID}),
    "email": _CLEAR | {K.NATIONAL_PHONE, K.LONG_TEXT},
    "phone": frozenset({K.PHONE, K.HASH, K.ENDLESS_TEXT}),
    **dict.fromkeys(("first_name", "last_name", "city"), _NAME),
    **dict.fromkeys(("address", "state", "postal"), frozenset({K.HASH, K.ENDLESS_TEXT})),
    "maid": frozenset({K.UUID, K.EMAIL, K.PHONE, K.ENDLESS_TEXT}),
    "fip": frozenset({K.IP_ADDRESS}),
    "match_id": (_PLAIN - {K.GPP}) | _NUMBERS | {K.LARGE_NUMBER, K.EMAIL},
    **dict.fromkeys(
        ("ramp_id", "real_id", "merkle_id", "kantar_id"),
        frozenset({K.TEXT, K.UUID, K.DIGITS, K.NUMBER_TEXT, K.INTEGER, K.LARGE_NUMBER, K.EMAIL}),
    ),
}
_OTHER: Final = _CLEAR | {K.NATIONAL_PHONE, K.PERSONAL_TEXT}  # of the other texts
_OPEN: Final = ("event_id", "user_agent", "match_id")  # fields that take any text
_CUSTOM: Final = _OTHER | {K.LONG_TEXT}


def _may_join(field: str, source: Source, kind: ValueKind) -> bool:
    is_open = _is_custom(field) or field in _OPEN
    return is_open and kind in _PLAIN | _NUMBERS and not set(source.texts) & set("@+%:/")


def _is_custom(field: str) -> bool:
    return field.startswith("custom_data.")


def _covers(pattern: Path, steps: Path) -> bool:
    """Return whether a value at `steps` belongs to what a path reads."""
    if not pattern:
        return True
    if not steps:
        return False
    first, step = pattern[0], steps[0]
    if first is EACH and isinstance(step, str):
        return _covers(pattern[1:], steps)  # an object counts as a list of one
    is_any = first is EACH or first == -1
    return (isinstance(step, int) if is_any else first == step) and _covers(pattern[1:], steps[1:])


class StoredText(Invented):
    """Stands for a text or number of an event. Its fingerprint shows whether it equals a given text."""

    is_number = False  # in the event
    digest: bytes | None = None
    fingerprint: Fingerprint | None = None

    def is_equal(self, text: str) -> bool | None:
        if self.digest is None or self.fingerprint is None:
            return None
        if self.is_number:  # `1.0` and `1` are equal
            number = read_number(text)
            text = text if number is None else number_text(number)
        return self.fingerprint(text) == self.digest


class StandIns:
    """Makes synthetic events with texts where a conversion without them would show nothing.

    They replace invented values, and stand where the mapping reads what a sample may leave out. There the
    result is unclear.
    """

    def __init__(self, mapping: Mapping, profile: Profile, fingerprint: Fingerprint) -> None:
        self._sources = [(name, source, source.patterns) for name, source in mapping.sources if source.paths]
        self._profile, self._fingerprint = profile, fingerprint
        # Most samples have the same entries.
        self._is_certain: Callable[..., bool] = lru_cache(maxsize=10_000)(self._judge)
        sources = [source for _, source in mapping.sources]
        self._compared = {steps[0] for source in sources for steps in source.compared}
        self._paths = {path for source in sources for path in source.paths}
        # What is read in the members of lists by names that no sample has, with the path of the list.
        self._hidden = {
            (path, steps)
            for source in sources
            for path in source.paths
            for steps in (*source.members, *source.compared)
            if any(map(is_unsampled, steps))
        }

    def _replaced(self, entry: SampleEntry, value: Any) -> Any:
        """Return the value, or an `Invented` text if a source does not show the result with the value."""
        exact = isinstance(entry.word, str)
        if self._is_certain(entry.path, entry.kind, exact=exact, unmapped=False):
            return value
        text = StoredText(value)
        if self._is_certain(entry.path, entry.kind, exact=exact, unmapped=True):
            text.as_is = value
        text.digest = entry.word if isinstance(entry.word, bytes) else None
        text.fingerprint = self._fingerprint
        text.is_number = entry.kind in _NUMBERS or entry.kind is K.LARGE_NUMBER
        if text.is_number or entry.kind in _NUMBER_TEXTS:
            steps = parse_path(entry.path) or ()
            compared = (each for _, source, _ in self._sources for each in source.compared)
            if any(_covers(each, steps) for each in compared):  # other steps must not read its characters
                text.is_numeric = True
        return text

    def _judge(self, path: str, kind: ValueKind, *, exact: bool, unmapped: bool) -> bool:
        steps = parse_path(path) or ()
        return all(
            self._shows(field, source, kind, steps, exact=exact, unmapped=unmapped)
            for field, source, patterns in self._sources
            if any(_covers(each, steps) for each in patterns)
        )

    def _shows(
        self, field: str, source: Source, kind: ValueKind, steps: Path, *, exact: bool, unmapped: bool
    ) -> bool:
        """Return whether a stand-in for a value shows what the field's source does with the value.

        `exact` says that it is the value itself, `unmapped` that the steps `map` leave the value as it is.
        """
        if kind in (K.NULL, K.EMPTY_TEXT, K.BLANK, K.BOOLEAN, K.EMPTY_LIST, K.EMPTY_OBJECT):
            return True
        if kind in (K.OBJECT, K.LIST):
            return not source.functions
        if any(_covers(path, steps) for path in source.compared):
            return False
        if exact and kind not in PATTERN_TIMES:
            return True
        if kind in LISTED or kind is K.ODD_TEXT or (source.texts and not _may_join(field, source, kind)):
            return False
        certain = kind in _FIXED or kind in _CERTAIN.get(field, _CUSTOM if _is_custom(field) else _OTHER)
        if field == "phone" and kind is K.EMAIL:
            # The other profiles take the digits of an address, if it has any.
            certain = self._profile is Profile.AMAZON
        left = [PIPES[name] for name in source.functions - {WHERE, "map" if unmapped else ""}]
        shown = frozenset.intersection(ALWAYS, *(row.shows for row in left))  # by all steps
        if "text" in shown:
            return certain
        if "amount" in shown and field != "units_sold":
            return kind in _FIXED or kind in _NUMBERS or kind in _NUMBER_TEXTS
        if "count" in shown:
            return kind in _FIXED or kind in (K.INTEGER, K.NUMBER_TEXT) or "length" in shown
        if "time" in shown:
            return kind in _FIXED or kind in _TIMES
        return "hash" in shown and field in HASHED_FIELDS and certain

    def event(self, sample: SchemaSample, sampled: Set[str], now: datetime) -> dict[str, Any]:
        """Return the synthetic event of a sample, which has all values at the paths `sampled`."""
        content = synthetic_event(sample, now, self._replaced)
        # The members of a list or object that is itself in the sample were left out.
        closed = {entry.path for entry in sample if entry.kind in (K.OBJECT, K.LIST)}
        found = {entry.path for entry in sample} - closed
        below = tuple(path + sign for path in found for sign in ".[")  # where nothing can be
        unread = {path for path in self._paths - found if not path.startswith(below)}
        is_longer = any(entry.path.endswith(MORE_ITEMS) for entry in sample)
        for path in unread - (sampled - closed):
            steps = parse_path(path) or ()
            # `where` may select members of a list that the sample leaves out.
            if may_be_unsampled(path, sample) or (is_longer and steps[0] in self._compared):
                _put_unknown(content, steps)
        for path, steps in self._hidden:
            is_absent = path in sampled and walk(content, parse_path(path) or ()) is None
            if path in unread and not is_absent:
                _put_unknown(content, steps)
        return content


def _put_unknown(content: dict[str, Any], steps: Path) -> None:
    """Put a text that may be absent where a path leads, if no value is known there.

    It is put in the known members of a list that lack it. If none does, the list gets further members.
    """
    place = next((n for n, step in enumerate(steps) if _is_open(step, walk(content, steps[:n]))), len(steps))
    known, step, rest = walk(content, steps[:place]), (*steps, None)[place], steps[place + 1 :]
    if known is None or (step is None and type(known) in (dict, list)):
        put(content, steps[:place], _PossibleText("text"))
        return
    is_list = type(known) is list
    members = [] if step is not EACH else known if is_list else [known]
    lacking = [each for each in members if type(each) is dict and (EACH in rest or walk(each, rest) is None)]
    for member in lacking:
        _put_unknown(member, rest)
    if is_list and not lacking:
        last = step if isinstance(step, int) else -1
        known.extend([_PossibleText("text") for _ in range(len(known), max(len(known), last) + 1)])


def _is_open(step: Step, members: Any) -> bool:
    """Return whether a step may lead to a member of a list that is none of the known ones."""
    is_beyond = type(members) is list and isinstance(step, int) and step >= len(members)
    return step is EACH or step == -1 or is_beyond


class _PossibleText(StoredText):
    """Stands for a text or number that an event may have."""

    is_present = False
