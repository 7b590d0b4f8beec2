"""The pipe functions that read times: `time` with formats and a zone, `epoch_s`, `epoch_ms`, `date`."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache, partial
from itertools import product
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from app.domain.conversion import timestamps
from app.domain.conversion.numbers import is_number, number_text, read_amount
from app.domain.conversion.timestamps import EventTime
from app.domain.mapping.reading import Reading, SourceFailed, Step, StepProblem, on_text, wrong_type

MAX_FORMATS: Final = 8
MAX_PATTERN_LENGTH: Final = 64

Format = Callable[[str, Reading], EventTime | None]

# The tokens of a pattern, longest first: the part of the time that each one reads, and its widths in digits.
_TOKENS: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    "YYYY": ("year", (4,)),
    "SSS": ("fraction", (1, 2, 3)),
    "MM": ("month", (2,)),
    "DD": ("day", (2,)),
    "HH": ("hour", (2,)),
    "mm": ("minute", (2,)),
    "ss": ("second", (2,)),
    "M": ("month", (1, 2)),
    "D": ("day", (1, 2)),
    "H": ("hour", (1, 2)),
    "h": ("hour", (1, 2)),
    "A": ("half", (2,)),
}
_TOKEN: Final = re.compile("|".join(_TOKENS) + "|[-/.:, T]")
_REQUIRED: Final = frozenset({"year", "month", "day", "hour"})
_NEEDS: Final = {"second": "minute", "fraction": "second"}
# The units in a second, and the digits of a time between 2001 and 2286.
_EPOCHS: Final = {"epoch_s": (1, 10), "epoch_ms": (1000, 13), "epoch_us": (1_000_000, 16)}
_NAMED: Final = frozenset({"iso", "rfc2822", *_EPOCHS})
_DIGITS: Final = frozenset({*_EPOCHS, *(part for part, _ in _TOKENS.values())} - {"half"})
# What `iso` reads in the zone of the step, as patterns.
_LOCAL_ISO: Final = tuple(
    f"YYYY-MM-DD{joint}HH:mm{rest}" for joint in "T " for rest in ("", ":ss", ":ss.SSS")
)
_FORMATS: Final = "iso, rfc2822, epoch_s, epoch_ms, epoch_us, or a pattern such as DD.MM.YYYY HH:mm"


def time_step(arguments: list[Any]) -> Step | StepProblem | str:
    """Compile `["time", {"formats": […], "zone": "Europe/Berlin"}]`. The first format that reads wins."""
    options = arguments[0] if len(arguments) == 1 else None
    if type(options) is not dict or not options.keys() <= {"formats", "zone"}:
        return "takes one object with formats and zone"
    formats, name = options.get("formats"), options.get("zone")
    if type(formats) is not list or not 1 <= len(formats) <= MAX_FORMATS:
        return f"takes a list of 1 to {MAX_FORMATS} formats"
    if name is not None and not (isinstance(name, str) and name in zone_names()):
        return "takes as zone a name of the IANA time zone database, such as Europe/Berlin"
    zone = ZoneInfo(name) if name is not None else None
    readers: list[Format] = []
    for written in formats:
        reader = _format(written, zone) if isinstance(written, str) else f"takes as formats {_FORMATS}"
        if isinstance(reader, str):
            return reader
        readers.append(reader)
    if _are_ambiguous(formats, zone):
        return StepProblem("time has two formats that read the same text differently.", "ambiguous_formats")

    def step(value: Any, reading: Reading) -> Any:
        text = number_text(value) if is_number(value) else value
        if type(text) is not str:
            return wrong_type(value, "the pipe's time takes a text or number")
        text = text.strip(" ")
        for read in readers:
            if (time := read(text, reading)) is not None:
                return time.text
        return SourceFailed("transform_failed", "has none of the formats of the pipe's time")

    return step


@cache
def zone_names() -> frozenset[str]:
    """Return the names of the IANA time zone database, which are read from many files."""
    return frozenset(available_timezones() - {"localtime"})  # the zone of this machine


def _format(written: str, zone: tzinfo | None) -> Format | str:
    """Compile a format to its reader, or return its problem."""
    if written == "iso":
        return lambda text, reading: _read_iso(text, zone, reading)
    if written == "rfc2822":
        return lambda text, _reading: timestamps.read_rfc_2822(text)
    if written in _EPOCHS:
        per_second, digits = _EPOCHS[written]
        matches = re.compile(rf"[1-9][0-9]{{{digits - 1}}}").fullmatch
        read_epoch = partial(timestamps.from_epoch, per_second=per_second)
        return lambda text, _reading: read_epoch(int(text)) if matches(text) else None
    tokens = _TOKEN.findall(written)
    if len(written) > MAX_PATTERN_LENGTH or "".join(tokens) != written:
        return f"takes as formats {_FORMATS}"
    parts = [_TOKENS[token][0] for token in tokens if token in _TOKENS]
    if len(set(parts)) < len(parts) or not set(parts) >= _REQUIRED:
        return "takes patterns with a year, a month, a day and an hour, each part once"
    if any(part in parts and needed not in parts for part, needed in _NEEDS.items()):
        return "takes patterns with ss only after mm, and SSS only after ss"
    if ("h" in tokens) is not ("A" in tokens):
        return "takes patterns with h and A together"
    if zone is None:
        return "takes a pattern only together with a zone"
    return _pattern(tokens, zone)


def _pattern(tokens: list[str], zone: tzinfo) -> Format:
    matcher = re.compile("".join(map(_expression, tokens)), re.ASCII).fullmatch

    def read(text: str, reading: Reading) -> EventTime | None:
        match = matcher(text)
        if match is None:
            return None
        digits = match.groupdict()
        half, fraction = digits.pop("half", None), digits.pop("fraction", "")
        hour = int(digits.pop("hour"))
        if half is not None:
            if not 1 <= hour <= 12:
                return None
            hour = hour % 12 + (12 if half[0] in "Pp" else 0)
        parts = {name: int(number) for name, number in digits.items()}
        try:
            at = datetime(**parts, hour=hour, microsecond=int(fraction.ljust(6, "0")), tzinfo=zone)
        except ValueError:  # such as 30 February
            return None
        return timestamps.in_utc(_local(at, reading), bool(fraction))

    return read


def _expression(token: str) -> str:
    if token not in _TOKENS:
        return re.escape(token)
    part, widths = _TOKENS[token]
    return rf"(?P<{part}>[AaPp][Mm])" if part == "half" else rf"(?P<{part}>\d{{{widths[0]},{widths[-1]}}})"


def _read_iso(text: str, zone: tzinfo | None, reading: Reading) -> EventTime | None:
    parsed = timestamps.parse_iso(text)
    if parsed is None:
        return None
    at, fraction = parsed
    if at.tzinfo is None:
        if zone is None:
            return None
        at = _local(at.replace(tzinfo=zone), reading)
    return timestamps.in_utc(at, fraction)


def _local(at: datetime, reading: Reading) -> datetime:
    """Return a time of a zone. If the zone skips or repeats it, it has the offset before the change."""
    if at.utcoffset() != at.replace(fold=1).utcoffset():
        reading.note("time_ambiguous")
    return at


# --- Ambiguous formats ----------------------------------------------------------------------------


def _are_ambiguous(formats: list[str], zone: tzinfo | None) -> bool:
    """Return whether a text of the same digits and signs can be read as different times."""
    layouts = {layout for form in formats for layout in _layouts(form, zone)}
    shapes = {tuple("digit" if part in _DIGITS else part for part in layout) for layout in layouts}
    return len(shapes) < len(layouts)


def _layouts(form: str, zone: tzinfo | None) -> Iterator[tuple[str, ...]]:
    """Yield each way in which a format reads a text: for each character, a part of the time or a sign."""
    if form in _EPOCHS:
        yield (form,) * _EPOCHS[form][1]
    patterns = (form,) if form not in _NAMED else _LOCAL_ISO if form == "iso" and zone else ()
    for pattern in patterns:
        tokens = [_TOKENS.get(token, (token, (1,))) for token in _TOKEN.findall(pattern)]
        for widths in product(*(widths for _, widths in tokens)):
            yield tuple(part for (part, _), width in zip(tokens, widths, strict=True) for _ in range(width))


# --- Patterns of texts ----------------------------------------------------------------------------

_LOCAL: Final = re.compile(
    r"(?P<a>\d{1,4})(?P<sign>[-/.])(?P<b>\d{1,2})(?P=sign)(?P<c>\d{1,4})(?P<gap>[-/.:, T]{1,3})"
    r"(?P<hour>\d{1,2})(?P<joint>[:.])\d\d(?P<second>(?P=joint)\d\d)?(?P<fraction>[.,]\d{1,3})?"
    r"(?P<half> ?[AaPp][Mm])?",
    re.ASCII,
)
_COMPACT: Final = re.compile(r"(?:19[7-9]|20\d)\d\d{4}(?P<gap>[T -]?)\d{4}(?P<second>\d\d)?", re.ASCII)
COMPACT: Final = "YYYYMMDD"
SWAP: Final = str.maketrans("DM", "MD")  # of the first two parts of a date


@lru_cache(maxsize=64)  # a kind of a value and its word need the same pattern
def pattern_of(text: str) -> str | None:
    """Return the pattern of a local time, with a letter for each digit; None for other texts.

    If the day may be the month, the pattern begins with the day. `hh` stands for an `h` of two digits.
    """
    if compact := _COMPACT.fullmatch(text):
        return f"{COMPACT}{compact['gap']}HHmm{'ss' if compact['second'] else ''}"
    match = _LOCAL.fullmatch(text)
    if match is None:
        return None
    a, b, c, joint = match["a"], match["b"], match["c"], match["joint"]
    if len(a) == 4 and len(c) <= 2:
        date = ("YYYY", "M" * len(b), "D" * len(c))
    elif len(c) == 4 and len(a) <= 2:
        day, month = ("D", "M") if int(b) <= 12 else ("M", "D")
        date = (day * len(a), month * len(b), "YYYY")
    else:
        return None
    half, fraction = match["half"] or "", match["fraction"] or ""
    hour = ("h" if half else "H") * len(match["hour"])
    clock = (
        f"{hour}{joint}mm{joint + 'ss' if match['second'] else ''}{fraction[:1] + 'SSS' if fraction else ''}"
    )
    return f"{match['sign'].join(date)}{match['gap']}{clock}{half[:-2]}{'A' if half else ''}"


def local_times(text: str) -> list[datetime]:
    """Return the times that a text with a pattern can mean in UTC: the day may stand before the month."""
    pattern = (pattern_of(text) or "").replace("hh", "h")
    readers = (_pattern(_TOKEN.findall(each), UTC) for each in {pattern, pattern.translate(SWAP)})
    return [time.at for read in readers if (time := read(text, Reading())) is not None]


# --- Other steps ----------------------------------------------------------------------------------


def epoch_step(per_second: int, unit: str) -> Step:
    failed = SourceFailed("transform_failed", f"is not a time in epoch {unit} between 1970 and 2286")

    def step(value: Any, reading: Reading) -> Any:
        number = read_amount(value, None)
        if isinstance(number, SourceFailed):
            return number
        time = timestamps.from_epoch(number, per_second=per_second)
        return failed if time is None else time.text

    return step


_DATE_SIGNS: Final = {"YYYY-MM-DD": "-", "YYYY_MM_DD": "_", "YYYYMMDD": ""}


def date_step(arguments: list[Any]) -> Step | str:
    form = arguments[0] if arguments else "YYYY-MM-DD"
    if len(arguments) > 1 or not isinstance(form, str) or form not in _DATE_SIGNS:
        return f"takes one of {', '.join(_DATE_SIGNS)}"

    def shape(text: str) -> Any:
        moment = timestamps.read_time(text)
        if moment is None:
            return SourceFailed("transform_failed", "is not a time that has one meaning")
        return moment.at.date().isoformat().replace("-", _DATE_SIGNS[form])

    return on_text("date", shape)
