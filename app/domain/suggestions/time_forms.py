"""Find the form in which a time is written: `iso`, an epoch, or the pattern of a local time."""

import re
from decimal import Decimal
from typing import Any, Final

from app.domain.mapping.time_steps import COMPACT, pattern_of

ZONE: Final = r"(?:Z|z|[+-]\d\d(?::?\d\d)?)"
ISO: Final = re.compile(rf"\d{{4}}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?P<zone>{ZONE})?", re.ASCII)
_RFC2822: Final = re.compile(
    r"(?:[A-Za-z]{3}, )?\d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d(?::\d\d)? (?:[+-]\d{4}|GMT|UT|Z)", re.ASCII
)
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
SWAP: Final = str.maketrans("DM", "MD")  # of the first two parts of a date
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
    if iso := ISO.fullmatch(text):
        return "iso" if iso["zone"] else LOCAL_ISO
    if _RFC2822.fullmatch(text):
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
