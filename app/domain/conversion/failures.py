"""The failure to read a value of an event."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """Why a value of an event cannot be used. `reason` is a key of `INGEST_REASONS`.

    `sentence` completes "<field> is mapped to <path>, which …" and never contains the value.
    """

    reason: str
    sentence: str


def wrong_type(value: object, expectation: str) -> SourceFailed:
    """Return the failure for a value of the wrong JSON type. An `expectation` is "a text is expected"."""
    return SourceFailed("wrong_type", f"is {_json_type(value)}, where {expectation}")


def _json_type(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case str():
            return "a text"
        case dict():
            return "an object"
        case list():
            return "a list"
        case None:
            return "null"
        case _:
            return "a number"
