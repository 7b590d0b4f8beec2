"""Find the form in which a time is written: `iso`, an epoch, or the pattern of a local time.

Times that have words, names of months or days, or short years are made readable by steps of a pipe.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from app.domain.conversion.timestamps import read_rfc_2822
from app.domain.mapping.time_steps import COMPACT, SWAP, pattern_of
from app.domain.suggestions.names import WORDS, key_by_word, rank, table, words_in, words_of
from app.domain.suggestions.observations import ObservedPath

# --- Forms ----------------------------------------------------------------------------------------

_ZONE: Final = r"(?:Z|z|[+-]\d\d(?::?\d\d)?)"
_LOCAL: Final = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?"
_ISO: Final = re.compile(rf"{_LOCAL}(?P<zone>{_ZONE})?", re.ASCII)
LOCAL: Final = re.compile(_LOCAL, re.ASCII)
_TWO_DIGITS: Final = re.compile(r"([MDHh])\1")
_EPOCH_TEXT: Final = re.compile(r"\d{10}(?:\d{3}){0,3}(?:\.\d{1,9})?", re.ASCII)
# What the names of months leave behind when numbers replace them: `24 11 2026 10:00`, `11/24, 2026 10:00 AM`.
_NUMBERED: Final = re.compile(
    r"(?:(?P<first>\d\d?)(?P<dot>\.?) \d\d|\d\d/\d\d?(?P<comma>,?))(?P<year> \d{4})?(?P<gap>,? )"
    r"\d\d?:\d\d(?P<second>:\d\d)?(?P<half> ?[AaPp][Mm])?(?(year)| \d{4})",
    re.ASCII,
)
# `… 10:00:00 GMT+0100 (Central European Standard Time)`, `… 10:00:00 +0100`
OFFSET: Final = re.compile(r"(?: ?(?:GMT|UTC)| )[+-](?:0\d|1[0-4]):?(?:00|30)$", re.ASCII)
OFF: Final = "±"  # at the end of a form: an offset follows the local time
_DAYS: Final = (40_000, 60_000)
LOCAL_ISO: Final = "iso_local"
SERIAL: Final = "serial_days"
FRACTION: Final = {"epoch_s_fraction": "epoch_s", "epoch_ms_fraction": "epoch_ms"}
_WITH_FRACTION: Final = {form: name for name, form in FRACTION.items()}
UNITS: Final = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}


def form_of(value: Any) -> str | None:
    """Return the form of a time: `iso`, an epoch, `iso_local`, or the signs of a local date and clock."""
    if type(value) in (int, Decimal):
        return _epoch_form(value)
    if type(value) is not str:
        return None
    text = value.strip()
    if _EPOCH_TEXT.fullmatch(text):
        return _epoch_form(Decimal(text))
    if iso := _ISO.fullmatch(text):
        return "iso" if iso["zone"] else LOCAL_ISO
    if read_rfc_2822(text):
        return "rfc2822"
    if offset := OFFSET.search(text):
        local = _pattern(text[: offset.start()])
        return f"{local}{OFF}" if local else None
    return _pattern(text)


def _epoch_form(number: int | Decimal) -> str | None:
    if _DAYS[0] <= number < _DAYS[1] and number != int(number):
        return SERIAL
    for form, unit in UNITS.items():
        if 10**9 * unit <= number < 4 * 10**9 * unit:
            return form if number == int(number) else _WITH_FRACTION.get(form)
    return None


def _pattern(text: str) -> str | None:
    """Return the pattern of a local time such as `D.M.YYYY H:mm`, the day first, or None.

    A month that was a name is `MM`.
    """
    if month := _NUMBERED.fullmatch(text):
        date = f"D{month['dot']} MM" if month["first"] else f"MM/D{month['comma']}"
        half = month["half"] or ""
        clock = f"{'h' if half else 'H'}:mm{':ss' if month['second'] else ''}{half[:-2]}{'A' if half else ''}"
        if month["year"]:
            return f"{date} YYYY{month['gap']}{clock}"
        return f"{date}{month['gap']}{clock} YYYY"
    pattern = pattern_of(text)
    if pattern is None or pattern.startswith(COMPACT):
        return pattern
    return _TWO_DIGITS.sub(r"\1", pattern.translate(SWAP) if pattern[0] == "M" else pattern)


# --- Words in times -------------------------------------------------------------------------------

# A time with words: `/Date(1795514400000)/`, `24.11.2026 um 10:00 Uhr`, `24/11/2026 10h30`.
_WORDED: Final = re.compile(
    r"(?P<before>[^0-9]*)(?:(?P<certain>\d{13}|\d{10}"
    rf"|\d{{4}}-\d\d-\d\d[Tt ][0-9:.]{{5,18}}(?P<apart> )?{_ZONE})"
    r"|\d{1,4}[-/.]\d\d?[-/.]\d{1,4}(?P<gap>T|,? |,? [^\d ]{1,5} )\d\d?(?P<joint>[:.]| ?h ?)\d\d"
    r"(?:[:.]\d+){0,2}(?: ?[AaPp][Mm])?|\d{8}T?\d{4,6}"
    r"|(?:\d\d?\.? \d\d|\d\d/\d\d?,?) \d{4}(?:,|(?P<at> [^\d ]{1,5}))? \d\d?:\d\d(?::\d\d)?(?: ?[AaPp][Mm])?)"
    r"(?P<after>[^0-9].*)?",
    re.ASCII,
)
# `2026年11月24日 10時30分05秒`: a word after each part.
_WORD: Final = r" ?[^\W\d_]{1,2} ?"
_LETTERED: Final = re.compile(
    rf"\d{{4}}(?P<y>{_WORD})\d\d?(?P<mo>{_WORD})\d\d?(?P<d>[^\W\d_]{{1,2}})(?P<gap> ?)\d\d?(?P<h>{_WORD}|:)"
    rf"\d\d(?P<mi>{_WORD}|:)?(?:\d\d(?P<s>[^\W\d_]{{0,2}}))?"
)
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_MONTHS: Final = tuple(table("months").values())
_SPELLED: Final = [tuple(map(style, names)) for names in _MONTHS for style in (str, str.upper, str.lower)]
_ANY_MONTH: Final = frozenset(month.lower() for months in _MONTHS for month in months)
_DOT: Final = re.compile(r"\d\. [^\W\d_]")  # as German has it: `24. November`
_OF_C: Final = re.compile(r"\d \d{4}$")  # `Nov  4 10:00:00 2026`, whose days have two characters
_MONTHS_SEEN: Final = 20  # texts that are compared with the names of months
# `Tue Nov 24 …`, `Di., 24. …`: the name of a day at the beginning.
_DAY_NAME: Final = re.compile(r"([^\W\d_]{2,12})\.?,? +(?=\d|[^\W\d_]{3,9}\.? )")
_BRACKETS: Final = re.compile(r" \([^()]+\)$")
_UTC_INSIDE: Final = re.compile(r" (?:UTC|GMT) (?=\d{4}$)")  # `Nov 24 10:00:00 UTC 2026`
_SHORT_YEAR: Final = re.compile(r"\d{1,2}([./-])(?:\d{1,2}|(?P<month>[^\W\d_]{3,9}))\1(\d\d)(?=(,? |T))")
_YEARS: Final = 8
_YEARS_BESIDE_MONTHS: Final = 2  # the names of months take most of the steps of a pipe
_APART: Final = re.compile(r"\d{1,4}\. \d\d?\. \d", re.ASCII)
_ZONE_NAMES: Final = key_by_word("zones")
_ZONES_OF_A_COUNTRY: Final = 4  # such as EST and EDT, CST and CDT
_SIGNED: Final = re.compile(r"[+-]\d")
_HALVES: Final = {"a.m.": "AM", "p.m.": "PM", "a. m.": "AM", "p. m.": "PM"}
_ZONE_NAME: Final = re.compile(r"[A-Z]{1,5}")
_DIGITS: Final = re.compile(r"\d+")
_MAX_KINDS: Final = 4
_MAX_WORDS: Final = 6
_MAX_WORD: Final = 40


def readable_parts(each: ObservedPath, now: datetime) -> list[ObservedPath]:
    """Return the values that are times as they are, and each kind of other text with the steps it needs."""
    kinds = [_kind(value) for value in each.values]
    common = Counter(kind for kind in kinds if kind is not None).most_common(_MAX_KINDS)
    parts = [
        replace(each, values=tuple(v if k == kind else None for v, k in zip(each.values, kinds, strict=True)))
        for kind, _ in common
    ]
    return [_readable(part, now) for part in parts]


def _kind(value: object) -> str | None:
    """Return the same text for texts that differ only in letters and digits; empty for other times."""
    if type(value) is not str or form_of(value):
        return None if value is None else ""
    text = _LETTERS.sub("a", value.strip().partition(" (")[0].replace("+", "-"))
    return _DIGITS.sub("9", text)


def _readable(each: ObservedPath, now: datetime) -> ObservedPath:
    """Return a path of times with steps that replace the words around and in them.

    Digits of other scripts are replaced, too. The name of a zone that is no unique one is not cut off.
    """
    if not rank("event_timestamp", each.names):
        return each
    each = _without_days(each.with_plain_digits())
    for words_of_texts in (_long_years, _numbers_of_months, _offsets, _other_words):
        each = each.replacing(words_of_texts(each.texts, now))
    words: dict[str, str] = {}
    for text in each.texts:
        words |= {} if form_of(text) else _words_of_time(text.strip())
    for as_it_is in ("", " ", ":", ".", "T"):
        words.pop(as_it_is, None)
    if not 0 < len(words) <= _MAX_WORDS or any(len(word) > _MAX_WORD for word in words):
        return each
    return each.replacing({word: words[word] for word in sorted(words, key=len, reverse=True)}, "trim")


def _without_days(each: ObservedPath) -> ObservedPath:
    """Return a path with steps that cut the name of a day off, and what stands in brackets at the end."""
    texts = [text for text in each.texts if form_of(text) is None]
    found = [match for text in texts if (match := _DAY_NAME.match(text))]
    names = [match.end() for match in found if match[1].lower() not in _ANY_MONTH | WORDS["day_halves"]]
    if len(names) < len(each.texts) or len(set(names)) != 1:
        return each
    ends = {match.start() for text in texts if (match := _BRACKETS.search(text))}
    return each.through(["substring", names[0], *(ends if len(ends) == 1 else ())])


# --- Words that are replaced, by what replaces them -----------------------------------------------


def _numbers_of_months(all_texts: Sequence[str], _: datetime) -> dict[str, str]:
    """Return the names of months, in texts that are no times yet. One before the day gets a sign: `11/24`."""
    texts = [text for text in all_texts if form_of(text) is None][:_MONTHS_SEEN]
    months = _months_of(texts)
    if months is None:
        return {}
    first = all(_LETTERS.match(text) for text in texts)
    ends = (" ", "/") if first else ("", "")
    numbers = {f"{month}{ends[0]}": f"{n:02}{ends[1]}" for n, month in enumerate(months, 1)}
    of = {" de ": " "} if any(" de " in text for text in texts) else {}
    gaps = {"/ ": "/"} if first and _OF_C.search(texts[0]) else {}
    return numbers | of | gaps


def _months_of(texts: Sequence[str]) -> tuple[str, ...] | None:
    """Return the names of months in the most probable language in which all texts have one."""
    words = [frozenset(_LETTERS.findall(text)) for text in texts]
    spelled = _SPELLED[::-1] if any(_DOT.search(text) for text in texts) else _SPELLED
    return next((months for months in spelled if words and all(map(set(months).intersection, words))), None)


def _long_years(texts: Sequence[str], now: datetime) -> dict[str, str]:
    """Return the short years of some decades: `24.11.26` is `24.11.2026`."""
    dates = [match for text in texts if (match := _SHORT_YEAR.match(text))]
    is_named = any(match["month"] for match in dates)
    last = now.year + (_YEARS_BESIDE_MONTHS if is_named else _YEARS)
    years = {f"{year % 100:02}": year for year in range(now.year - 1, last)}
    same = {match.group(1, 4) for match in dates}
    if len(dates) < len(texts) or len(same) != 1 or not {match[3] for match in dates} <= {*years}:
        return {}
    ((sign, gap),) = same
    is_day_first = is_named or sign == "."
    if not is_day_first and all(
        int(match[0].split(sign)[0]) in (now.year % 100, now.year % 100 - 1) for match in dates
    ):
        return {}  # the year may be the first part
    return {f"{sign}{short}{gap}": f"{sign}{year}{gap}" for short, year in years.items()}


def _offsets(texts: Sequence[str], _: datetime) -> dict[str, str]:
    """Return the names of zones that are unique: ` EST` is `-0500`.

    Behind a time that is not in ISO 8601, the offset keeps its space.
    """
    ends = {text.rpartition(" ")[2] for text in texts}
    if not ends <= _ZONE_NAMES.keys() or len(ends) > _ZONES_OF_A_COUNTRY:
        return {}
    others = {name[:-2] + {"S": "D", "D": "S"}.get(name[-2], name[-2]) + name[-1] for name in ends}
    names = [*sorted(ends), *sorted(others & _ZONE_NAMES.keys() - ends)]
    gap = "" if all(_ISO.match(text) for text in texts) else " "
    return {f" {name}": f"{gap}{_ZONE_NAMES[name]}" for name in names}


def _other_words(texts: Sequence[str], _: datetime) -> dict[str, str]:
    """Return `UTC` before a year, the halves of a day with dots, and the gaps of `24. 11. 2026`."""
    inside = {match[0] for text in texts if (match := _UTC_INSIDE.search(text))}
    halves = _HALVES if any(half in text for text in texts for half in _HALVES) else {}
    gaps = {". ": "."} if any(map(_APART.match, texts)) else {}
    return dict.fromkeys(sorted(inside), " ") | halves | gaps


def _words_of_time(text: str) -> dict[str, str]:
    """Return what replaces the words around and in a time."""
    if match := _LETTERED.fullmatch(text):
        year, month, day, hour, minute, second = match.group("y", "mo", "d", "h", "mi", "s")
        rest = {minute: ":", second: ""} if second is not None else {minute or "": ""}
        return {year: "/", month: "/", day: "" if match["gap"] else " ", hour: ":"} | rest
    match = _WORDED.fullmatch(text)
    after = match["after"] or "" if match else ""
    name = after.strip(" ()[]")
    is_utc_name = name.lower() in WORDS["utc"]
    if match is None or not (match["certain"] or is_utc_name or not _ZONE_NAME.fullmatch(name)):
        return {}
    if not match["certain"] and any(
        map(_changes_time, (match["before"], match["gap"] or match["at"] or "", after))
    ):
        return {}
    signs = {f" {sign}": sign for sign in "+-Z"} if match["apart"] else {}
    utc = is_utc_name and LOCAL.fullmatch(text[match.end("before") : match.start("after")])
    return {
        match["before"]: "",
        after: "Z" if utc else "",
        match["gap"] or " ": " ",
        match["at"] or "": "",
        match["joint"] or ":": ":",
        **signs,
    }


def _changes_time(words: str) -> bool:
    """Return whether words beside a time are an offset, or say which half of the day it is."""
    return _SIGNED.search(words) is not None or WORDS["day_halves"].intersection(words_of(words)) != set()


def is_month_doubtful(each: ObservedPath) -> bool:
    """Return whether the replaced names of months fit several languages: `Nov`. Only English has `Nov 24`."""
    numbers = {step[1]: step[2] for step in each.source.get("pipe", ()) if step[0] == "replace"}
    if "01" not in numbers.values():
        return False
    seen = {month for month, number in numbers.items() if any(number in text for text in each.texts)}
    return any(seen & {*names} and not numbers.keys() >= {*names} for names in _SPELLED)


def is_utc(each: ObservedPath) -> bool:
    """Return whether the path or a word beside the times says that they are in UTC: `created_at_gmt`."""
    cut = [step[1] for step in each.source.get("pipe", ()) if step[0] == "replace"]
    return bool(WORDS["utc"] & (each.words | words_in(cut)))
