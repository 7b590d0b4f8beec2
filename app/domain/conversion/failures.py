"""The failure of a mapping step that cannot read a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """A source found a value that it cannot use. `reason` is one of `INGEST_REASONS`; no value is stored.

    `sentence` completes "The value at <path> …" and names types and steps only.
    """

    reason: str
    sentence: str


def wrong_type(sentence: str) -> SourceFailed:
    """Return the failure for a value of another JSON type than the expected one."""
    return SourceFailed("wrong_type", sentence)


def json_type(value: object) -> str:
    """Return the name of a value's JSON type for a sentence, never the value."""
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
