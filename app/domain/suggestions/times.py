"""Find the time of an event and the formats in which it is written."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from app.domain.mapping.time_steps import COMPACT, pattern_of
from app.domain.suggestions.names import rank, table, word_set, words_in
from app.domain.suggestions.observations import FieldFinding, ObservedPath, ObservedPaths, Written
from app.domain.suggestions.trial import Trial

ZONE_NEEDED: Final = "zone_needed"
_MAX_FORMATS: Final = 8
_MAX_PATHS: Final = 4
# A time further away from now is probably not the time of the event.
_PAST: Final = timedelta(days=400)
_FEW: Final = 3
_FUTURE: Final = timedelta(days=2)
_LATER: Final = word_set("later")
_NEVER: Final = word_set("never")
_UTC: Final = word_set("utc")

_ZONE: Final = r"(?:Z|z|[+-]\d\d(?::?\d\d)?)"
_ISO: Final = re.compile(
    rf"\d{{4}}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?P<zone>{_ZONE})?", re.ASCII
)
_RFC2822: Final = re.compile(
    r"(?:[A-Za-z]{3}, )?\d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d(?::\d\d)? (?:[+-]\d{4}|GMT|UT|Z)", re.ASCII
)
_DATE: Final = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})", re.ASCII)
_CLOCK: Final = re.compile(
    r"\d{1,2}(?P<sign>[:.h])\d\d(?P<second>(?P=sign)\d\d)?(?P<fraction>[.,]\d{1,3})?"
    r"(?P<half> ?[AaPp][Mm])?",
    re.ASCII,
)
_TWO_DIGITS: Final = re.compile(r"([MDHh])\1")
_EPOCH_TEXT: Final = re.compile(r"\d{10}(?:\d{3}){0,3}(?:\.\d{1,9})?", re.ASCII)
_COMPACT_DATE: Final = re.compile(r"(?:19|20)\d{6}", re.ASCII)
_COMPACT_CLOCK: Final = re.compile(r"\d{4}(?:\d\d)?", re.ASCII)
# A time with words: `/Date(1795514400000)/`, `24.11.2026 um 10:00 Uhr`, `24/11/2026 10h30`.
_WORDED: Final = re.compile(
    r"(?P<before>[^0-9]*)(?:(?P<certain>\d{13}|\d{10}"
    rf"|\d{{4}}-\d\d-\d\d[Tt ][0-9:.]{{5,18}}(?P<apart> )?{_ZONE})"
    r"|\d{1,4}[-/.]\d\d?[-/.]\d{1,4}(?P<gap>[T ]|,? [^\d ]{1,5} )\d\d?(?P<joint>[:.]| ?h ?)\d\d"
    r"(?:[:.]\d+){0,2}(?: ?[AaPp][Mm])?|\d{8}T?\d{4,6})"
    r"(?P<after>[^0-9].*)?",
    re.ASCII,
)
# `2026年11月24日 10時30分05秒`: a word after each part.
_WORD: Final = r" ?[^\W\d_]{1,2} ?"
_LETTERED: Final = re.compile(
    rf"\d{{4}}(?P<y>{_WORD})\d\d?(?P<mo>{_WORD})\d\d?(?P<d>[^\W\d_]{{1,2}})(?P<gap> ?)\d\d?(?P<h>{_WORD})"
    rf"\d\d(?P<mi>{_WORD})?(?:\d\d(?P<s>[^\W\d_]{{1,2}}))?"
)
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_MONTHS: Final = tuple(table("months").values())
_MONTHS_SEEN: Final = 20  # texts that are compared with the names of months
# What the names of months leave behind when numbers replace them: `24 11 2026 10:00`, `11 24, 2026 10:00 AM`.
_NUMBERED: Final = re.compile(
    r"(?:(?P<first>\d\d?)(?P<dot>\.?) \d\d|\d\d \d\d?(?P<comma>,?)) \d{4}(?P<gap>,? )"
    r"\d\d?:\d\d(?P<second>:\d\d)?(?P<half> ?[AaPp][Mm])?",
    re.ASCII,
)
_ZONE_NAME: Final = re.compile(r"[A-Z]{1,5}")
_MAX_WORDS: Final = 6
_MAX_WORD: Final = 40
# Excel counts days since this day. Its times name no zone.
_DAY_ZERO: Final = datetime(1899, 12, 30, tzinfo=UTC)
_DAYS: Final = (40_000, 60_000)
_FROM_DAYS: Final = ("to_number", ["add", -25_569], ["multiply", 86_400], "round")

_PLAIN: Final = frozenset(
    {"iso", "rfc2822", "epoch_s", "epoch_ms"}
)  # read without the step `time` (interface §4.3)
_LOCAL_ISO: Final = "iso_local"
_SERIAL: Final = "serial_days"
_SWAP: Final = str.maketrans("DM", "MD")
_FRACTION: Final = {"epoch_s_fraction": "epoch_s", "epoch_ms_fraction": "epoch_ms"}
_WITH_FRACTION: Final = {form: name for name, form in _FRACTION.items()}
_UNITS: Final = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
_FROM_NANOSECONDS: Final = ("to_string", ["substring", 0, 16], ["time", {"formats": ["epoch_us"]}])


def find_time(
    found: ObservedPaths, trial: Trial, zone: str | None, now: datetime, country: str
) -> FieldFinding:
    """Return the source of the event's time. `country` is the most frequent country of the events."""
    paths = map(_readable, (*found.values, *_dates_with_clocks(found)))
    scored = [(score, each) for each in paths if (score := _score(each, now))]
    candidates = [each for _, each in sorted(scored, key=lambda row: -row[0])[:_MAX_PATHS]]
    unread: list[str] = []  # why the paths before the first source cannot be read
    sources: list[tuple[Written, ObservedPath, list[str]]] = []
    for each in candidates:
        forms = Counter(form for value in each.found for form in (_form(value),) if form)
        source, problems = _source(each, forms, "UTC" if _is_utc(each) else zone, now, country)
        if source is not None:
            sources.append((source, each, problems))
        elif not sources:
            unread += problems
    chosen = trial.first_of("event_timestamp", [source for source, *_ in sources])
    if chosen is None:
        return FieldFinding(None, "", tuple(dict.fromkeys(unread)) or ("not_found",))
    first = chosen.get("first_of", [chosen])[0]
    each, problems = next(row[1:] for row in sources if row[0] == first)
    if not all(trial.usable("event_timestamp", chosen)):
        problems = [*unread, *problems]
    reason = f"Named {each.label}; its values are recent times."
    return FieldFinding(chosen, reason, tuple(dict.fromkeys(problems)))


def _is_utc(each: ObservedPath) -> bool:
    """Return whether the path or a word beside the times says that they are in UTC: `created_at_gmt`."""
    cut = [step[1] for step in each.source.get("pipe", ()) if step[0] == "replace"]
    return bool(_UTC & (each.words | words_in(cut)))


def _readable(each: ObservedPath) -> ObservedPath:
    """Return a path of times with steps that replace the words around and in them.

    Digits of other scripts are replaced, too. The name of a zone other than UTC is not cut off.
    """
    if not rank("event_timestamp", each.names):
        return each
    each = _with_numbers_of_months(each.with_plain_digits())
    words: dict[str, str] = {}
    for text in each.texts:
        words |= {} if _form(text) else _words_of_time(text.strip())
    for as_it_is in ("", " ", ":", ".", "T"):
        words.pop(as_it_is, None)
    if not 0 < len(words) <= _MAX_WORDS or any(len(word) > _MAX_WORD for word in words):
        return each
    return each.replacing({word: words[word] for word in sorted(words, key=len, reverse=True)}, "trim")


def _words_of_time(text: str) -> dict[str, str]:
    """Return what replaces the words around and in a time."""
    if match := _LETTERED.fullmatch(text):
        year, month, day, hour, minute, second = match.group("y", "mo", "d", "h", "mi", "s")
        rest = {minute: ":", second: ""} if second else {minute or "": ""}
        return {year: "/", month: "/", day: "" if match["gap"] else " ", hour: ":"} | rest
    match = _WORDED.fullmatch(text)
    after = match["after"] or "" if match else ""
    name = after.strip(" ()[]")
    if match is None or not (match["certain"] or name.lower() in _UTC or not _ZONE_NAME.fullmatch(name)):
        return {}
    signs = {f" {sign}": sign for sign in "+-Z"} if match["apart"] else {}
    return {match["before"]: "", after: "", match["gap"] or " ": " ", match["joint"] or ":": ":", **signs}


def _with_numbers_of_months(each: ObservedPath) -> ObservedPath:
    """Return a path with steps that replace the names of months in texts that are no times yet."""
    texts = [text for text in each.texts if _form(text) is None]
    words = {word for text in texts for word in _LETTERS.findall(text)}
    for names in _MONTHS:
        for style in (str, str.upper, str.lower):
            months = tuple(map(style, names))
            if all(any(month in _LETTERS.findall(text) for month in months) for text in texts[:_MONTHS_SEEN]):
                of = {" de ": " "} if "de" in words else {}
                return (
                    each.replacing({month: f"{n:02}" for n, month in enumerate(months, 1)} | of)
                    if words
                    else each
                )
    return each


def _score(each: ObservedPath, now: datetime) -> int:
    """Return how likely the values are the time of the event; 0 if they are not."""
    values = each.found
    forms = [form for value in values if (form := _form(value))]
    named = rank("event_timestamp", each.names)
    if not values or len(forms) * 2 < len(values) or each.words & _NEVER:
        return 0
    recent = sum(_is_recent(value, now) for value in values)
    if not named and any(form.startswith(("epoch", _SERIAL)) for form in forms):
        # Digits alone can be any number, but hardly a recent time in each event.
        is_time = recent == len(values) > _FEW and _SERIAL not in forms and len(set(values)) > 1
        return 1 if is_time else 0
    score = 20 + named + 30 * len(forms) // len(each.values)
    if recent * 2 < len(values):
        score -= 100
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
    if _EPOCH_TEXT.fullmatch(text):
        return _epoch_form(Decimal(text))
    if iso := _ISO.fullmatch(text):
        return "iso" if iso["zone"] else _LOCAL_ISO
    if _RFC2822.fullmatch(text):
        return "rfc2822"
    return _pattern(text)


def _epoch_form(number: int | Decimal) -> str | None:
    if _DAYS[0] <= number < _DAYS[1] and number != int(number):
        return _SERIAL
    for form, unit in _UNITS.items():
        if 10**9 * unit <= number < 4 * 10**9 * unit:
            return form if number == int(number) else _WITH_FRACTION.get(form)
    return None


def _pattern(text: str) -> str | None:
    """Return the pattern of a local time such as `D.M.YYYY H:mm`, the day first, or None.

    A month that was a name is `MM`.
    """
    if month := _NUMBERED.fullmatch(text):
        date = f"D{month['dot']} MM" if month["first"] else f"MM D{month['comma']}"
        half = month["half"] or ""
        clock = f"{'h' if half else 'H'}:mm{':ss' if month['second'] else ''}{half[:-2]}{'A' if half else ''}"
        return f"{date} YYYY{month['gap']}{clock}"
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
        unit = _UNITS[_FRACTION.get(form, form)]
        at = datetime.fromtimestamp(int(Decimal(str(value).strip()) / unit), UTC)
        return now - _PAST < at < now + _FUTURE
    if form == _SERIAL:
        at = _DAY_ZERO + timedelta(days=float(value))
        return now - _PAST < at < now + _FUTURE
    if form == "rfc2822" or "MM" in form:
        return str(now.year) in value or str(now.year - 1) in value
    moments = [_local_moment(value.strip(), day_first=first) for first in (True, False)]
    return any(at and now - _PAST < at < now + _FUTURE for at in moments)


def _source(
    each: ObservedPath, forms: Counter[str], zone: str | None, now: datetime, country: str
) -> tuple[Written | None, list[str]]:
    """Return the source for the forms, and what could not be decided."""
    found = [form for form, _ in forms.most_common()]
    if _SERIAL in found:
        if zone is None:
            return None, [ZONE_NEEDED]
        in_zone = ["time", {"formats": ["iso"], "zone": zone}]
        return each.piped(*_FROM_DAYS, "epoch_s", ["replace", "Z", ""], in_zone), []
    if forms.keys() & _FRACTION.keys():
        units = {_FRACTION.get(form, form) for form in found}
        problems = [] if len(units) == 1 else ["several_formats"]
        return each.piped(_FRACTION.get(found[0], found[0])), problems
    if set(found) <= _PLAIN:
        return each.source, []
    if found == ["epoch_ns"]:
        return each.piped(*_FROM_NANOSECONDS), []
    certain = [form for form in found if form in _PLAIN or form == "epoch_us"]
    local = [form for form in found if form not in certain]
    undecided: list[str] = []
    if any(_has_day_and_month(form) for form in local):
        day_first, is_proven = _day_comes_first([text.strip() for text in each.texts], now, country)
        if not is_proven:
            undecided.append("order_of_day_and_month")
        if not day_first:
            local = [form.translate(_SWAP) if _has_day_and_month(form) else form for form in local]
    if local and zone is None:
        undecided.append(ZONE_NEEDED)
        if not certain:
            return None, undecided
        local = []
    formats = [*certain, *("iso" if form == _LOCAL_ISO else form for form in local)]
    # The other forms that have one meaning do no harm, and the next event may have them.
    formats = list(dict.fromkeys([*formats, "iso", "epoch_s", "epoch_ms", "rfc2822"]))
    options: dict[str, Any] = {"formats": formats[:_MAX_FORMATS]} | ({"zone": zone} if local else {})
    return each.piped(["time", options]), undecided


def _has_day_and_month(form: str) -> bool:
    """Return whether a form begins with a day and a month, whose order it does not show."""
    return form[0] == "D" and "MM" not in form


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
        is_compact = _all_match(date, _COMPACT_DATE)
        if not (is_compact or _all_match(date, _DATE)) or not rank("event_timestamp", date.names):
            continue
        for clock in found.values:
            fits = _all_match(clock, _COMPACT_CLOCK if is_compact else _CLOCK)
            if is_compact and not rank("event_timestamp", clock.names):
                continue  # four digits can be any number
            if fits and clock.names[:-1] == date.names[:-1]:
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
