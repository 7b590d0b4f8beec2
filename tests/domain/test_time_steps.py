"""The pipe function `time`, clause by clause (interface §4.2)."""

import re
from datetime import UTC, datetime
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.mapping.pipes import make_step
from app.domain.mapping.reading import Reading, SourceFailed, StepProblem
from tests.domain.readings import piped, read_with_notes
from tests.tables import cases

BERLIN = "Europe/Berlin"


def time(*formats: str, zone: str | None = BERLIN) -> list[Any]:
    return ["time", {"formats": list(formats), **({"zone": zone} if zone else {})}]


@cases(
    ("formats", "value", "expected"),
    {
        "German": (["DD.MM.YYYY HH:mm:ss"], "28.11.2026 14:05:09", "2026-11-28T13:05:09Z"),
        "without seconds": (["DD.MM.YYYY HH:mm"], " 28.11.2026 14:05 ", "2026-11-28T13:05:00Z"),
        "SSS": (["YYYY/MM/DDTHH:mm:ss.SSS"], "2026/11/28T14:05:09.5", "2026-11-28T13:05:09.500Z"),
        "without signs": (["YYYYMMDDHHmmss"], "20261128140509", "2026-11-28T13:05:09Z"),
        "one digit": (["D.M.YYYY H:mm"], "8.1.2026 9:05", "2026-01-08T08:05:00Z"),
        "with a leading zero": (["D.M.YYYY H:mm"], "08.01.2026 09:05", "2026-01-08T08:05:00Z"),
        "midnight": (["M/D/YYYY, h:mm A"], "1/8/2026, 12:05 am", "2026-01-07T23:05:00Z"),
        "noon": (["M/D/YYYY, h:mm A"], "1/8/2026, 12:05 PM", "2026-01-08T11:05:00Z"),
        "afternoon": (["M/D/YYYY h:mmA"], "1/8/2026 3:05pM", "2026-01-08T14:05:00Z"),
        "thirteen o'clock": (["M/D/YYYY h:mmA"], "1/8/2026 13:05PM", "transform_failed"),
        "zero o'clock": (["M/D/YYYY h:mmA"], "1/8/2026 0:05AM", "transform_failed"),
        "two digits are two": (["DD.MM.YYYY HH:mm"], "8.1.2026 9:05", "transform_failed"),
        "a day that is not": (["DD.MM.YYYY HH:mm"], "31.02.2026 10:00", "transform_failed"),
        "24 o'clock": (["DD.MM.YYYY HH:mm"], "01.01.2026 24:00", "transform_failed"),
        "the whole text": (["DD.MM.YYYY HH:mm"], "01.01.2026 10:00:00", "transform_failed"),
        "digits outside ASCII": (["DD.MM.YYYY HH:mm"], "٠١.01.2026 10:00", "transform_failed"),
        "the year 0": (["DD.MM.YYYY HH:mm"], "01.01.0000 10:00", "transform_failed"),
        "before the year 1": (["DD.MM.YYYY HH:mm"], "01.01.0001 00:00", "transform_failed"),
        "a number as its digits": (["DD.MM.YYYY HH:mm"], 20260101, "transform_failed"),
        "iso in the zone of the step": (["iso"], "2026-11-28T14:05:09", "2026-11-28T13:05:09Z"),
        "iso with a space": (["iso"], "2026-11-28 14:05", "2026-11-28T13:05:00Z"),
        "iso with its own zone": (["iso"], "2026-11-28T14:05:09.25Z", "2026-11-28T14:05:09.250Z"),
        "a date alone": (["iso"], "2026-11-28", "transform_failed"),
        "rfc2822": (["rfc2822"], "Sat, 28 Nov 2026 14:05:09 +0100", "2026-11-28T13:05:09Z"),
        "the name of a zone": (["rfc2822"], "Sat, 28 Nov 2026 14:05:09 EST", "transform_failed"),
        "epoch_s": (["epoch_s"], 1767225600, "2026-01-01T00:00:00Z"),
        "epoch_ms as text": (["epoch_ms"], "1767225600123", "2026-01-01T00:00:00.123Z"),
        "epoch_us is cut": (["epoch_us"], 1767225600123456, "2026-01-01T00:00:00.123Z"),
        "epoch_us": (["epoch_us"], "1767225600000000", "2026-01-01T00:00:00Z"),
        "another unit": (["epoch_s"], "1767225600000", "transform_failed"),
        "a fraction of an epoch": (["epoch_s"], "1767225600.5", "transform_failed"),
        "the unit that fits": (["epoch_s", "epoch_ms"], "1767225600123", "2026-01-01T00:00:00.123Z"),
        "in any order": (["epoch_ms", "epoch_s"], 1767225600, "2026-01-01T00:00:00Z"),
        "several": (["rfc2822", "DD.MM.YYYY HH:mm", "iso"], "01.02.2026 10:00", "2026-02-01T09:00:00Z"),
        "a boolean": (["iso"], True, "wrong_type"),
        "a list": (["iso"], ["2026-11-28T14:05:09Z"], "wrong_type"),
        "no value stays no value": (["iso"], None, None),
    },
)
def test_formats(formats: list[str], value: Any, expected: Any) -> None:
    assert piped(value, time(*formats)) == expected


def test_without_a_zone() -> None:
    """`iso` then needs its own."""
    assert piped("2026-11-28T14:05:09Z", time("iso", zone=None)) == "2026-11-28T14:05:09Z"
    assert piped("2026-11-28T14:05:09", time("iso", zone=None)) == "transform_failed"
    assert piped(1767225600, time("epoch_s", zone=None)) == "2026-01-01T00:00:00Z"


def test_date_takes_a_time() -> None:
    assert piped("01.01.2026 00:30", time("DD.MM.YYYY HH:mm"), "date") == "2025-12-31"
    assert piped("01.01.2026 00:30", time("DD.MM.YYYY HH:mm"), ["date", "YYYYMMDD"]) == "20251231"


@cases(
    ("text", "expected", "ambiguous"),
    {
        "before the clocks go forward": ("29.03.2026 01:59", "2026-03-29T00:59:00Z", False),
        "a time that is skipped": ("29.03.2026 02:30", "2026-03-29T01:30:00Z", True),
        "after": ("29.03.2026 03:00", "2026-03-29T01:00:00Z", False),
        "before the clocks go back": ("25.10.2026 01:59", "2026-10-24T23:59:00Z", False),
        "a time that is repeated": ("25.10.2026 02:30", "2026-10-25T00:30:00Z", True),
        "after that": ("25.10.2026 03:00", "2026-10-25T02:00:00Z", False),
    },
)
def test_hours_that_a_zone_skips_or_repeats(text: str, expected: str, ambiguous: bool) -> None:
    """They have the offset before the change."""
    source = {"path": "t", "pipe": [time("DD.MM.YYYY HH:mm")]}
    assert read_with_notes(source, {"t": text}) == (expected, ["time_ambiguous"] * ambiguous)


def test_iso_in_a_zone_notes_them_too() -> None:
    source = {"path": "t", "pipe": [time("iso")]}
    content = {"t": "2026-10-25T02:30"}
    assert read_with_notes(source, content) == ("2026-10-25T00:30:00Z", ["time_ambiguous"])
    assert read_with_notes(source, {"t": "2026-10-25T02:30Z"}) == ("2026-10-25T02:30:00Z", [])


@pytest.mark.parametrize(
    "options",
    [
        None,
        {},
        {"formats": []},
        {"formats": ["iso"] * 9},
        {"formats": "iso"},
        {"formats": ["ISO"]},
        {"formats": ["iso"], "zone": "CEST"},
        {"formats": ["iso"], "zone": "Europe/Nowhere"},
        {"formats": ["iso"], "zone": "../etc/passwd"},
        {"formats": ["iso"], "zone": "localtime"},
        {"formats": ["iso"], "other": 1},
        {"formats": ["DD.MM.YYYY HH:mm"]},
        {"formats": ["DD.MM.YYYY"], "zone": BERLIN},
        {"formats": ["MM.YYYY HH:mm"], "zone": BERLIN},
        {"formats": ["DD.MM HH:mm"], "zone": BERLIN},
        {"formats": ["DD.MM.YYYY DD HH"], "zone": BERLIN},
        {"formats": ["DD.MM.YYYY hh:mm A"], "zone": BERLIN},
        {"formats": ["DD.MM.YYYY h:mm"], "zone": BERLIN},
        {"formats": ["DD.MM.YYYY HH:mm A"], "zone": BERLIN},
        {"formats": ["DD.MM.YYYY HH:ss"], "zone": BERLIN},
        {"formats": ["DD.MM.YY HH:mm"], "zone": BERLIN},
        {"formats": ["DD.MM.YYYY HH:mm Z"], "zone": BERLIN},
        {"formats": ["DD\\MM\\YYYY HH"], "zone": BERLIN},
        {"formats": ["D" * 1000], "zone": BERLIN},
    ],
)
def test_options_that_are_refused(options: Any) -> None:
    problem = make_step(["time", options])
    assert isinstance(problem, StepProblem)
    assert problem.code == "pipe_invalid"


@cases(
    ("formats", "ambiguous"),
    {
        "day and month": (["DD/MM/YYYY HH:mm", "MM/DD/YYYY HH:mm"], True),
        "of one and two digits": (["D/M/YYYY HH:mm", "MM/DD/YYYY HH:mm"], True),
        "other signs": (["DD.MM.YYYY HH:mm", "MM/DD/YYYY HH:mm"], False),
        "the same parts": (["DD.MM.YYYY HH:mm", "D.M.YYYY H:mm"], False),
        "the year is longer": (["DD-MM-YYYY HH:mm", "YYYY-MM-DD HH:mm"], False),
        "more parts": (["DD.MM.YYYY HH:mm", "DD.MM.YYYY HH:mm:ss"], False),
        "iso reads it the same way": (["YYYY-MM-DD HH:mm", "iso"], False),
        "iso reads it another way": (["YYYY-DD-MM HH:mm", "iso"], True),
        "ten digits": (["YYYYMMDDHH", "epoch_s"], True),
        "fourteen digits": (["YYYYMMDDHHmmss", "epoch_s", "epoch_ms"], False),
        "fifteen to seventeen digits": (["YYYYMMDDHHmmssSSS", "epoch_us"], True),
        "without signs": (["YYYYMMDD HH", "YYYYDDMM HH"], True),
        "the same pattern twice": (["DD.MM.YYYY HH:mm", "DD.MM.YYYY HH:mm"], False),
        "one pattern whose digits can be split in two ways": (["YYYYMD HH"], True),
        "or in one": (["YYYYMMD HH"], False),
        "with and without half of the day": (["D.M.YYYY h:mm A", "D.M.YYYY H:mm"], False),
    },
)
def test_ambiguous_formats(formats: list[str], ambiguous: bool) -> None:
    problem = make_step(time(*formats))
    assert isinstance(problem, StepProblem) is ambiguous
    if isinstance(problem, StepProblem):
        assert problem.code == "ambiguous_formats"


DATES = [
    "DD.MM.YYYY",
    "D.M.YYYY",
    "MM.DD.YYYY",
    "M.D.YYYY",
    "YYYY.MM.DD",
    "YYYY.DD.MM",
    "YYYYMMDD",
    "YYYYDDMM",
]
CLOCKS = ["HH:mm", "H:mm", "HH:mm:ss", "h:mm A", "HHmm", "mm:HH", "HH"]
ALL_PATTERNS = [f"{date}{joint}{clock}" for date, joint, clock in product(DATES, " T.", CLOCKS)]
PATTERNS = st.sampled_from(ALL_PATTERNS)
TIMES = st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1)).map(lambda at: at.replace(microsecond=0))


def written(at: datetime, pattern: str) -> str:
    """Write a time in a pattern."""
    values = {
        "YYYY": at.year,
        "M": at.month,
        "D": at.day,
        "H": at.hour,
        "h": at.hour % 12 or 12,
        "MM": f"{at:%m}",
        "DD": f"{at:%d}",
        "HH": f"{at:%H}",
        "mm": f"{at:%M}",
        "ss": f"{at:%S}",
        "A": "AM" if at.hour < 12 else "PM",
    }
    return re.sub("YYYY|MM|DD|HH|mm|ss|[MDHhA]", lambda token: str(values[token[0]]), pattern)


@given(TIMES, PATTERNS)
def test_what_a_pattern_writes_it_reads(at: datetime, pattern: str) -> None:
    """In UTC, to the precision of the pattern."""
    outcome = piped(written(at, pattern), time(pattern, zone="UTC"))
    expected = at.replace(
        tzinfo=UTC, second=at.second if "ss" in pattern else 0, minute=at.minute if "mm" in pattern else 0
    )
    assert datetime.fromisoformat(outcome) == expected


@given(TIMES, PATTERNS, PATTERNS)
def test_formats_that_are_not_refused_agree(at: datetime, one: str, other: str) -> None:
    """A text that both read is the same time."""
    assume(not isinstance(make_step(time(one, other)), StepProblem))
    for pattern in (one, other):
        first, second = (piped(written(at, pattern), time(each)) for each in (one, other))
        if "transform_failed" not in (first, second):
            assert first == second


def test_formats_that_are_refused_disagree() -> None:
    """For each pair of patterns that is refused, some text is read as two times."""
    pairs = [
        pair
        for pair in combinations([pattern for pattern in ALL_PATTERNS if " " in pattern], 2)
        if isinstance(make_step(time(*pair)), StepProblem)
    ]
    assert len(pairs) > 20
    days = product((1012,), (1, 11), (3, 12), (2, 13), (5, 11))
    times = [datetime(year, month, day, hour, minute) for year, month, day, hour, minute in days]
    for one, other in pairs:
        outcomes = [[piped(written(at, one), time(each)) for each in (one, other)] for at in times]
        assert any("transform_failed" not in pair and pair[0] != pair[1] for pair in outcomes), (one, other)


@given(st.text(max_size=40) | st.integers() | st.decimals(allow_nan=False, allow_infinity=False))
def test_no_value_makes_it_raise(value: Any) -> None:
    step = make_step(time("iso", "rfc2822", "D.M.YYYY h:mm A", "epoch_s", "epoch_ms", "epoch_us"))
    assert not isinstance(step, StepProblem)
    assert isinstance(step(value, Reading()), str | SourceFailed)
