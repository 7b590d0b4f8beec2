"""Find the time of an event and the formats in which it is written."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from app.domain.mapping.time_steps import COMPACT, pattern_of
from app.domain.suggestions.names import rank, word_set
from app.domain.suggestions.observations import FieldFinding, ObservedPath, ObservedPaths, Written
from app.domain.suggestions.trial import Trial

ZONE_NEEDED: Final = "zone_needed"
_MAX_FORMATS: Final = 8
_MAX_PATHS: Final = 4
# A time further away from now is probably not the time of the event.
_PAST: Final = timedelta(days=400)
_FUTURE: Final = timedelta(days=2)
_LATER: Final = word_set("later")
_NEVER: Final = word_set("never")

_ZONE: Final = r"(?: ?(?:Z|z|[+-]\d\d(?::?\d\d)?))"
_ISO: Final = re.compile(
    rf"\d{{4}}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?P<zone>{_ZONE})?", re.ASCII
)
_RFC2822: Final = re.compile(
    r"(?:[A-Za-z]{3}, )?\d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d(?::\d\d)? (?:[+-]\d{4}|GMT|UT|Z)", re.ASCII
)
_UTC: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)? UTC", re.ASCII)
_DATE: Final = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})", re.ASCII)
_CLOCK: Final = re.compile(
    r"\d{1,2}(?P<sign>[:.])\d\d(?P<second>(?P=sign)\d\d)?(?P<fraction>[.,]\d{1,3})?"
    r"(?P<half> ?[AaPp][Mm])?",
    re.ASCII,
)
_TWO_DIGITS: Final = re.compile(r"([MDHh])\1")

_PLAIN: Final = frozenset(
    {"iso", "rfc2822", "epoch_s", "epoch_ms"}
)  # read without the step `time` (interface §4.3)
_LOCAL_ISO: Final = "iso_local"
_UTC_WORD: Final = "utc_word"
_SWAP: Final = str.maketrans("DM", "MD")
_FRACTION: Final = {"epoch_s_fraction": "epoch_s", "epoch_ms_fraction": "epoch_ms"}


def find_time(
    found: ObservedPaths, trial: Trial, zone: str | None, now: datetime, country: str
) -> FieldFinding:
    """Return the source of the event's time. `country` is the most frequent country of the events."""
    paths = (*found.values, *_dates_with_clocks(found))
    scored = [(score, each) for each in paths if (score := _score(each, now))]
    candidates = [each for _, each in sorted(scored, key=lambda row: -row[0])[:_MAX_PATHS]]
    undecided: list[str] = []
    sources: list[Written] = []
    for each in candidates:
        forms = Counter(form for value in each.found for form in (_form(value),) if form)
        source, problems = _source(each, forms, zone, now, country)
        undecided += () if sources else problems
        sources += () if source is None else (source,)
    chosen = trial.first_of("event_timestamp", sources)
    if chosen is None:
        return FieldFinding(None, "", tuple(undecided) or ("not_found",))
    return FieldFinding(
        chosen, f"Named {candidates[0].label}; its values are recent times.", tuple(undecided)
    )


def _score(each: ObservedPath, now: datetime) -> int:
    """Return how likely the values are the time of the event; 0 if they are not."""
    values = each.found
    forms = [form for value in values if (form := _form(value))]
    named = rank("event_timestamp", each.names)
    if not values or len(forms) * 2 < len(values) or each.words & _NEVER:
        return 0
    if not named and any(form.startswith("epoch") for form in forms):
        return 0  # digits alone can be any number
    recent = sum(_is_recent(value, now) for value in values)
    score = 20 + named + 30 * len(forms) // len(each.values)
    if recent * 2 < len(values):
        score -= 60
    if each.words & _LATER:
        score -= 50
    return max(score, 1)


def _form(value: Any) -> str | None:
    """Return the form of a time: `iso`, an epoch, `iso_local`, or the signs of a local date and clock."""
    if type(value) in (int, Decimal):
        return _epoch_form(value)
    if type(value) is not str:
        return None
    text = value.strip()
    if text.isdecimal() and text.isascii() and len(text) in (10, 13, 16):
        return _epoch_form(int(text))
    if iso := _ISO.fullmatch(text):
        return "iso" if iso["zone"] else _LOCAL_ISO
    if _RFC2822.fullmatch(text):
        return "rfc2822"
    if _UTC.fullmatch(text):
        return _UTC_WORD
    return _pattern(text)


def _epoch_form(number: int | Decimal) -> str | None:
    for form, unit in (("epoch_s", 1), ("epoch_ms", 10**3), ("epoch_us", 10**6)):
        if 10**9 * unit <= number < 4 * 10**9 * unit:
            whole = number == int(number)
            return form if whole else f"{form}_fraction" if form != "epoch_us" else None
    return None


def _pattern(text: str) -> str | None:
    """Return the pattern of a local time such as `D.M.YYYY H:mm`, the day first, or None."""
    pattern = pattern_of(text)
    if pattern is None or pattern.startswith(COMPACT):
        return pattern
    return _TWO_DIGITS.sub(r"\1", pattern.translate(_SWAP) if pattern[0] == "M" else pattern)


def _local_moment(text: str, *, day_first: bool) -> datetime | None:
    """Read the date and hour of a local time as if it were UTC, to compare it with now."""
    date = _DATE.match(text)
    if date is None:
        return None
    first, _, second, third = date.groups()
    year, month, day = (first, second, third) if len(first) == 4 else (third, second, first)
    if len(first) != 4 and not day_first:
        month, day = day, month
    try:
        return datetime(int(year), int(month), int(day), tzinfo=UTC)
    except ValueError:
        return None


def _is_recent(value: Any, now: datetime) -> bool:
    form = _form(value)
    if form is None:
        return False
    if form.startswith("epoch"):
        unit = {"s": 1, "m": 10**3, "u": 10**6}[form[6]]
        at = datetime.fromtimestamp(int(Decimal(str(value).strip()) / unit), UTC)
        return now - _PAST < at < now + _FUTURE
    if form == "rfc2822" or form.startswith("YYYYMMDD"):
        return str(now.year) in value or str(now.year - 1) in value
    moments = [_local_moment(value.strip(), day_first=first) for first in (True, False)]
    return any(at and now - _PAST < at < now + _FUTURE for at in moments)


def _source(
    each: ObservedPath, forms: Counter[str], zone: str | None, now: datetime, country: str
) -> tuple[Written | None, list[str]]:
    """Return the source for the forms, and what could not be decided."""
    pipe: list[Any] = [["replace", " UTC", "Z"]] if _UTC_WORD in forms else []
    if forms.keys() & _FRACTION.keys():
        form, _ = forms.most_common(1)[0]
        problems = [] if len(forms) == 1 else ["several_formats"]
        return each.piped(*pipe, _FRACTION.get(form, form)), problems
    found = [form for form, _ in forms.most_common() if form != _UTC_WORD]
    if set(found) <= _PLAIN:
        return each.piped(*pipe), []
    certain = [form for form in found if form in _PLAIN or form == "epoch_us"]
    local = [form for form in found if form not in certain]
    undecided: list[str] = []
    if any("D" in form and not form.startswith("Y") for form in local):
        day_first, is_proven = _day_comes_first([text.strip() for text in each.texts], now, country)
        if not is_proven:
            undecided.append("order_of_day_and_month")
        if not day_first:
            local = [form.translate(_SWAP) if form[0] == "D" else form for form in local]
    if local and zone is None:
        undecided.append(ZONE_NEEDED)
        if not certain:
            return None, undecided
        local = []
    formats = [*certain, *("iso" if form == _LOCAL_ISO else form for form in local)]
    # The other forms that have one meaning do no harm, and the next event may have them.
    formats = list(dict.fromkeys([*formats, "iso", "epoch_s", "epoch_ms", "rfc2822"]))
    options: dict[str, Any] = {"formats": formats[:_MAX_FORMATS]} | ({"zone": zone} if local else {})
    return each.piped(*pipe, ["time", options]), undecided


def _day_comes_first(texts: Sequence[str], now: datetime, country: str) -> tuple[bool, bool]:
    """Return whether the day stands before the month, and whether the values prove it."""
    dates = [date for text in texts if (date := _DATE.match(text)) and len(date[4]) == 4]
    if any(int(date[1]) > 12 for date in dates):
        return True, True
    if any(int(date[3]) > 12 for date in dates):
        return False, True
    distance = {
        first: _distance((_local_moment(date[0], day_first=first) for date in dates), now)
        for first in (True, False)
    }
    # The dates of new events are close to now in the right order, and spread over months in the other.
    near, far = sorted(distance.values())
    if near < timedelta(days=3) and far > timedelta(days=20):
        return distance[True] < distance[False], True
    if dates and dates[0][2] == ".":
        return True, True
    return country != "US", False


def _distance(moments: Iterable[datetime | None], now: datetime) -> timedelta:
    found = [abs(now - at) for at in moments if at is not None]
    return max(found, default=timedelta(days=10_000))


def _dates_with_clocks(found: ObservedPaths) -> list[ObservedPath]:
    """Return a template for each date that has a clock beside it, as tables have: `{date} {time}`."""
    pairs = []
    for date in found.values:
        if not _all_match(date, _DATE) or not rank("event_timestamp", date.names):
            continue
        for clock in found.values:
            if clock.names[:-1] == date.names[:-1] and _all_match(clock, _CLOCK):
                source = {"template": f"{{{date.path} | trim}} {{{clock.path} | trim}}"}
                both = tuple(
                    None if day is None or hour is None else f"{day.strip()} {hour.strip()}"
                    for day, hour in zip(date.values, clock.values, strict=True)
                )
                pairs.append(ObservedPath(source, date.names, both))
    return pairs


def _all_match(each: ObservedPath, pattern: re.Pattern[str]) -> bool:
    texts = each.texts
    is_plain = "pipe" not in each.source and 0 < len(texts) == len(each.found)
    return is_plain and all(pattern.fullmatch(text.strip()) for text in texts)
