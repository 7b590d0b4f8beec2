"""The failure to read a value of an event."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """Why a value of an event cannot be used. `reason` is a key of `INGEST_REASONS`.

    `sentence` completes "<field> is mapped to <path>, which …" and never contains the value. `drop` is the
    reason that a dropped match key is counted with, if it is another one.
    """

    reason: str
    sentence: str
    drop: str = ""


class Invented(str):
    """A text that stands for a text of an event of which no character is stored, in a backtest.

    `form` is `number` or `time` if the characters have the form of the event's text, so that a reader of that
    form may read them; else None. It is a subclass, so that `type(value) is str` is false: code that reads
    the characters must decide what it does.
    """

    form: str | None = None
    is_present = True  # in the event, for certain
    as_is: object = None
    """A value that every check treats like the event's if no step changes it, or None."""

    def is_equal(self, text: str) -> bool | None:
        """Return whether the event's text is this one; None if that is unknown."""
        return None


# The result if it depends on a text that is not stored. Conversions of real events never have it.
UNCLEAR: Final = SourceFailed("unclear", "is not stored, and the result depends on it")


_JSON_TYPES: Final = {bool: "a boolean", str: "a text", dict: "an object", list: "a list", type(None): "null"}


def wrong_type(value: object, expectation: str) -> SourceFailed:
    """Return the failure for a value of the wrong JSON type. An `expectation` is "a text is expected"."""
    if isinstance(value, Invented):
        return UNCLEAR
    return SourceFailed("wrong_type", f"is {_JSON_TYPES.get(type(value), 'a number')}, where {expectation}")


def unreadable(what: str) -> SourceFailed:
    """Return the failure for a value that a step cannot read."""
    return SourceFailed("transform_failed", what)


def characters(value: object, form: str) -> object:
    """Return a value for a reader of `form`: an invented text of that form as a plain text."""
    return str(value) if isinstance(value, Invented) and value.form == form else value
