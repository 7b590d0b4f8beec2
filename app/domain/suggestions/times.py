"""Find the time of an event and the formats in which it is written."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from app.domain.mapping.pipes import MAX_PIPE_STEPS, run
from app.domain.mapping.reading import Reading, Step
from app.domain.mapping.sources import MAX_MEMBERS
from app.domain.mapping.time_steps import SWAP, zone_names
from app.domain.suggestions.names import WORDS, rank
from app.domain.suggestions.observations import FieldFinding, ObservedPath, ObservedPaths, Written, compiled
from app.domain.suggestions.time_texts import (
    FRACTION,
    LOCAL,
    LOCAL_ISO,
    OFF,
    OFFSET,
    SERIAL,
    UNITS,
    form_of,
    is_month_doubtful,
    is_utc,
    readable_parts,
)
from app.domain.suggestions.trial import Trial, one_of

ZONE_NEEDED: Final = "zone_needed"
_MAX_FORMATS: Final = 8
_MAX_PATHS: Final = 4
_MAX_COMPOSED: Final = 50  # pairs of members that are a time together
# A time further away from now is probably not the time of the event.
_PAST: Final = timedelta(days=400)
_FEW: Final = 3
_FUTURE: Final = timedelta(days=2)
_DAY: Final = 86_400

_DATE: Final = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})", re.ASCII)
_CLOCK: Final = re.compile(
    r"\d{1,2}(?P<sign>[:.h])\d\d(?P<second>(?P=sign)\d\d)?(?P<fraction>[.,]\d{1,3})?"
    r"(?P<half> ?[AaPp][Mm])?",
    re.ASCII,
)
_BARE_OFFSET: Final = re.compile(r"[+-](?:0\d|1[0-4]):?[0-5]\d|Z", re.ASCII)
_COMPACT_DATE: Final = re.compile(r"(?:19|20)\d{6}", re.ASCII)
_COMPACT_CLOCK: Final = re.compile(r"\d{4}(?:\d\d)?", re.ASCII)
_HALF_HOURS: Final = {"+05": "Asia/Kolkata", "+09": "Australia/Darwin"}  # without summer time
# Excel counts days since 1899-12-30. Its times name no zone.
_FROM_DAYS: Final = ("to_number", ["add", -25_569], ["multiply", 86_400], "round", "epoch_s")

# The forms that are read without the step `time` (interface §4.3).
_PLAIN: Final = frozenset({"iso", "rfc2822", "epoch_s", "epoch_ms"})
_FROM_NANOSECONDS: Final = ("to_string", ["substring", 0, 16], ["time", {"formats": ["epoch_us"]}])
# The steps that read the forms which are no format of the step `time`.
_STEPS: Final[Mapping[str, tuple[Any, ...]]] = {
    **{form: (step,) for form, step in FRACTION.items()},
    "epoch_ns": _FROM_NANOSECONDS,
    SERIAL: _FROM_DAYS,
}


def find_time(found: ObservedPaths, trial: Trial, zone: str | None, now: datetime) -> FieldFinding:
    """Return the source of the event's time."""
    country = Counter(trial.countries).most_common(1)[0][0]
    paths = (*islice(_composed_times(found), _MAX_COMPOSED), *found.values)
    read = [parts for each in paths if (parts := _parts_that_are_times(each, now))]
    read.sort(key=lambda parts: -max(score for score, _ in parts))
    if read and not is_utc(local := read[0][0][1]):
        certain = [parts for parts in read if _are_moments_of(local, parts[0][1])]
        read = [*certain, *read[bool(certain) :]]
    unread: list[str] = []  # why the paths before the first source cannot be read
    rows: list[tuple[list[Written], ObservedPath, list[str]]] = []
    for _, each in (part for parts in read[:_MAX_PATHS] for part in parts):
        sources, problems = _sources(each, found, zone, now, country)
        if sources:
            rows.append((sources, each, problems))
        elif not rows:
            unread += problems
    chosen = trial.first_of("event_timestamp", [one_of(sources) for sources, *_ in rows])
    if chosen is None:
        return FieldFinding(None, "", tuple(dict.fromkeys(unread)) or ("not_found",))
    used = chosen.get("first_of", [chosen])
    problems = [word for sources, _, words in rows if sources[0] in used for word in words]
    if not all(trial.usable("event_timestamp", chosen)):
        problems = [*unread, *problems]
    reason = f"Named {rows[0][1].label}; its values are recent times."
    return FieldFinding(chosen, reason, tuple(dict.fromkeys(problems)))


def _parts_that_are_times(each: ObservedPath, now: datetime) -> list[tuple[int, ObservedPath]]:
    """Return a path for the values that need no steps, and one for each kind of others, with their scores.

    The sources of those with the fewest steps are tried first: another one could read their texts wrongly.
    """
    scored = [(score, part) for part in readable_parts(each, now) if (score := _score(part, now))]
    if sum(len(part.found) for _, part in scored) * 2 < len(each.found):
        return []
    return sorted(scored, key=lambda row: len(row[1].source.get("pipe", ())))


def _are_moments_of(local: ObservedPath, each: ObservedPath) -> bool:
    """Return whether times with a zone are, in some zone, the moments of times that name none."""
    pairs = [(a, b) for a, b in zip(local.values, each.values, strict=True) if a is not None]
    if any(form_of(a) in {*_PLAIN, *UNITS} or form_of(b) not in _PLAIN for a, b in pairs):
        return False
    moments = [(_moment(a, form_of(a) or ""), _moment(b, form_of(b) or "")) for a, b in pairs]
    gaps = [round((a - b).total_seconds()) for a, b in moments if a and b]
    return len(gaps) == len(pairs) and all(gap % 900 == 0 and abs(gap) <= _DAY for gap in gaps)


def _sources(
    each: ObservedPath, found: ObservedPaths, zone: str | None, now: datetime, country: str
) -> tuple[list[Written], list[str]]:
    """Return the sources that read a path together, and what could not be decided."""
    forms = Counter(form for value in each.found for form in (form_of(value),) if form)
    formats, undecided = _ordered(list(forms), each, now, country)
    undecided += ["language_of_months"] if is_month_doubtful(each) else []
    if several := _by_zone(each, formats, found):
        return several, ["other_zones", *undecided]
    source, problems = _source(each, forms, "UTC" if is_utc(each) else zone, formats)
    return [source] if source else [], problems + undecided


def _by_zone(each: ObservedPath, formats: Sequence[str], found: ObservedPaths) -> list[Written]:
    """Return a source for each zone of local times, if an offset follows them, or a zone stands beside them.

    The offsets an hour before and after are read, too: those of summer.
    """
    if not all(form.endswith(OFF) for form in formats):
        return _by_zone_beside(each, formats, found)
    formats = [form.removesuffix(OFF) for form in formats]
    ends = Counter(end[0] for text in each.texts if (end := OFFSET.search(text)))
    often = [end for end, _ in ends.most_common()]
    near = [_shifted(end, hours) for end in often for hours in (1, -1)]
    return _within_limits(
        each.piped(["replace", end, ""], ["time", {"formats": formats, "zone": zone}])
        for end in dict.fromkeys([*often, *near])
        if (zone := _zone_of(end))
    )


def _by_zone_beside(each: ObservedPath, formats: Sequence[str], found: ObservedPaths) -> list[Written]:
    beside = next((other for other in found.values if _has_zones(other)), None)
    if beside is None or "path" not in each.source or set(formats) & {*_PLAIN, *UNITS, SERIAL}:
        return []
    formats = ["iso" if form == LOCAL_ISO else form for form in formats]
    return _within_limits(
        each.guarded_by(beside, [zone], ["time", {"formats": formats, "zone": zone}])
        for zone, _ in Counter(beside.texts).most_common()
    )


def _within_limits(sources: Iterable[Written]) -> list[Written]:
    return [source for source in sources if len(source["pipe"]) <= MAX_PIPE_STEPS][:MAX_MEMBERS]


def _has_zones(each: ObservedPath) -> bool:
    return None not in each.values and each.has_only(lambda text: "/" in text and text in zone_names())


def _shifted(end: str, hours: int) -> str:
    """Return an offset such as ` GMT+0100` that many hours later."""
    sign = max(end.rfind("+"), end.rfind("-"))
    offset = int(end[sign : sign + 3]) + hours
    return f"{end[:sign]}{offset:+03}{end[sign + 3 :]}"


def _zone_of(end: str) -> str | None:
    """Return a zone that always has an offset, if there is one."""
    sign = max(end.rfind("+"), end.rfind("-"))
    hours, minutes = end[sign : sign + 3], end[-2:]
    if minutes != "00":
        return _HALF_HOURS.get(hours)
    zone = f"Etc/GMT{-int(hours):+}" if int(hours) else "UTC"
    return zone if zone in zone_names() else None


def _score(each: ObservedPath, now: datetime) -> int:
    """Return how likely the values are the time of the event; 0 if they are not."""
    values = each.found
    forms = [form for value in values if (form := form_of(value))]
    named = rank("event_timestamp", each.names)
    if not values or len(forms) * 2 < len(values) or each.words & WORDS["never"]:
        return 0
    recent = sum(_is_recent(value, now) for value in values)
    if not named and any(form.startswith(("epoch", SERIAL)) for form in forms):
        # Digits alone can be any number, but hardly a recent time in each event.
        is_time = recent == len(values) > _FEW and SERIAL not in forms and len(set(values)) > 1
        return 1 if is_time else 0
    score = 20 + named + 30 * len(forms) // len(each.values)
    if recent * 2 < len(values):
        score -= 100
    if each.words & WORDS["later"]:
        score -= 50
    return max(score, 1)


@lru_cache(maxsize=256)
def _reader_of(form: str) -> tuple[Step, ...]:
    """Return the steps that read a form, a local time as if it were in UTC."""
    local = "iso" if form == LOCAL_ISO else form.removesuffix(OFF)
    return compiled(_STEPS.get(form, [["time", {"formats": [local], "zone": "UTC"}]]))


def _moment(value: Any, form: str) -> datetime | None:
    text = OFFSET.sub("", value.strip()) if form.endswith(OFF) else value
    read = run(_reader_of(form), text, Reading())
    return datetime.fromisoformat(read) if type(read) is str else None


def _is_recent(value: Any, now: datetime) -> bool:
    form = form_of(value) or ""
    forms = (form, form.translate(SWAP)) if _has_day_and_month(form) else (form,)
    moments = (_moment(value, each) for each in forms if each)
    return any(at and now - _PAST < at < now + _FUTURE for at in moments)


def _source(
    each: ObservedPath, forms: Counter[str], zone: str | None, formats: Sequence[str]
) -> tuple[Written | None, list[str]]:
    """Return the source for the forms, and what could not be decided."""
    found = [form for form, _ in forms.most_common()]
    if SERIAL in found:
        if zone is None:
            return None, [ZONE_NEEDED]
        in_zone = ["time", {"formats": ["iso"], "zone": zone}]
        return each.piped(*_FROM_DAYS, ["replace", "Z", ""], in_zone), []
    if forms.keys() & FRACTION.keys():
        units = {FRACTION.get(form, form) for form in found}
        problems = [] if len(units) == 1 else ["several_formats"]
        return each.piped(FRACTION.get(found[0], found[0])), problems
    if set(found) <= _PLAIN:
        return each.source, []
    if found == ["epoch_ns"]:
        return each.piped(*_FROM_NANOSECONDS), []
    certain = [form for form in found if form in _PLAIN or form == "epoch_us"]
    local = [form for form in formats if form not in certain]
    undecided = [ZONE_NEEDED] if local and zone is None else []
    if undecided and not certain:
        return None, undecided
    local = [] if undecided else local
    formats = [*certain, *("iso" if form == LOCAL_ISO else form for form in local)]
    # The other forms that have one meaning do no harm, and the next event may have them.
    formats = list(dict.fromkeys([*formats, "iso", "epoch_s", "epoch_ms", "rfc2822"]))
    options: dict[str, Any] = {"formats": formats[:_MAX_FORMATS]} | ({"zone": zone} if local else {})
    return each.piped(["time", options]), undecided


def _ordered(
    forms: list[str], each: ObservedPath, now: datetime, country: str
) -> tuple[list[str], list[str]]:
    """Return the forms of times with day and month in their order, and what could not be decided."""
    ordered, undecided = [], list[str]()
    for form in forms:
        day_first, is_proven = True, True
        if _has_day_and_month(form):
            texts = [text.strip() for text in each.texts if form_of(text) == form]
            day_first, is_proven = _day_comes_first(texts, form, now, country)
        ordered.append(form if day_first else form.translate(SWAP))
        undecided += [] if is_proven else ["order_of_day_and_month"]
    return ordered, undecided


def _has_day_and_month(form: str) -> bool:
    """Return whether a form begins with a day and a month, whose order it does not show."""
    return form.startswith("D") and "MM" not in form


def _day_comes_first(texts: Sequence[str], form: str, now: datetime, country: str) -> tuple[bool, bool]:
    """Return whether the day stands before the month, and whether the values prove it."""
    read = [(_moment(text, form), _moment(text, form.translate(SWAP))) for text in texts]
    pairs = [pair for pair in read if any(pair)]  # without dates that do not exist, such as `00/00/0000`
    by_day = [pair[0] for pair in pairs]
    by_month = [pair[1] for pair in pairs]
    if (None in by_day) is not (None in by_month):  # there are no 13 months
        return None in by_month, True
    if None in by_day or not pairs:  # both orders occur, or no date exists
        return country != "US", False
    # The dates of new events are close to now in the right order, and spread over months in the other.
    first, second = (max(abs(now - at) for at in times if at) for times in (by_day, by_month))
    if min(first, second) < timedelta(days=3) and max(first, second) > timedelta(days=20):
        return first < second, True
    return (True, True) if form[1] == "." else (country != "US", False)


# The forms of two members that are a time together, whether their names must be those of times, and the gap.
_COMPOSED: Final = (
    (_DATE, True, _CLOCK, False, " "),
    (_COMPACT_DATE, True, _COMPACT_CLOCK, True, " "),  # four digits can be any number
    (LOCAL, False, _BARE_OFFSET, False, ""),
)


def _composed_times(found: ObservedPaths) -> Iterator[ObservedPath]:
    """Yield a template for each time in two members: a date with a clock, a local time with an offset.

    Tables have them: `{date} {time}` and `{time}{offset}`.
    """

    def matching(form: re.Pattern[str], *, named: bool) -> list[ObservedPath]:
        return [
            each
            for each in found.values
            if each.has_only(lambda text: form.fullmatch(text.strip()))
            and (rank("event_timestamp", each.names) or not named)
        ]

    for first_form, is_first_named, second_form, is_second_named, gap in _COMPOSED:
        seconds = matching(second_form, named=is_second_named)
        for first in matching(first_form, named=is_first_named):
            yield from (_joined(first, each, gap) for each in seconds if each.names[:-1] == first.names[:-1])


def _joined(first: ObservedPath, second: ObservedPath, gap: str) -> ObservedPath:
    """Return a template of two paths."""
    source = {"template": f"{{{first.path} | trim}}{gap}{{{second.path} | trim}}"}
    both = tuple(
        None if a is None or b is None else f"{a.strip()}{gap}{b.strip()}"
        for a, b in zip(first.values, second.values, strict=True)
    )
    return ObservedPath(source, first.names, both)
