"""What a reading step of a mapping says in place of a value when it cannot read one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """A source found something it cannot use. `reason` is a word of `DOOR_REASONS`; no value is kept.

    `sentence` completes "The value at <path> …" and names types and steps only.
    """

    reason: str
    sentence: str


def wrong_type(sentence: str) -> SourceFailed:
    """Say that the value has another JSON type than the one that is read here."""
    return SourceFailed("wrong_type", sentence)


def json_type(value: object) -> str:
    """Name a value's JSON type for a sentence, never the value."""
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
