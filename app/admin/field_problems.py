"""Problem codes of request fields. The codes are stable and do not depend on the validation library."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.admin import FieldProblem

# The library's error types by our code. Any other type is `invalid`.
_TYPES: Mapping[str, Sequence[str]] = {
    "missing": ["missing"],
    "unknown_field": ["extra_forbidden", "none_required"],
    "not_a_string": ["string_type"],
    "too_short": ["string_too_short", "too_short"],
    "too_long": ["string_too_long", "too_long"],
    "invalid": ["string_pattern_mismatch"],
    "not_an_integer": ["int_type", "int_parsing", "int_from_float"],
    "not_a_number": ["float_type", "float_parsing", "finite_number"],
    "not_a_boolean": ["bool_type", "bool_parsing"],
    "not_a_list": ["list_type"],
    "not_an_object": ["dict_type", "model_type", "model_attributes_type"],
    "not_in_list": ["literal_error", "enum"],
    "out_of_range": ["greater_than", "greater_than_equal", "less_than", "less_than_equal"],
}
WORDS: Mapping[str, str] = {type_: code for code, types in _TYPES.items() for type_ in types}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)

# Codes that only the mapping language uses.
MAPPING_WORDS: Mapping[str, str] = {
    "wrong_type": "It has a JSON type that the mapping language does not accept here.",
    "const_stands_alone": "A constant cannot be combined with other members.",
    "path_invalid": "It is not a path of names and indexes such as `a.b[0].c` or `a.list[*].b`.",
    "template_invalid": "It is not a text with placeholders such as `{order.id}-{user.country | lower}`.",
    "pipe_invalid": "It is not a pipe function, or its arguments are wrong.",
    "ambiguous_formats": "Two formats of the pipe's time can read the same text as different times.",
    "event_name_invalid": "Amazon does not accept this event name.",
    "event_name_conflict": "Another name is pinned for this event type.",
    "custom_name_invalid": "Custom names have 1 to 256 letters, digits and underscores.",
    "personal_in_custom_data": "The path of a match key would be sent unhashed as custom data.",
    "too_many": "The list has too many items.",
}


# The first part of the framework's error location; callers do not need it.
_LOCATION_ROOTS = ("body", "query", "path", "header")
# Key in the context of our own validators' errors. Its value is the path from the validated value to the
# wrong member.
MEMBER_PATH = "member_path"


def field_problems(errors: Iterable[Mapping[str, Any]]) -> Sequence[FieldProblem]:
    """Convert the validation library's errors: return each invalid field once, without its value."""
    problems = dict.fromkeys(
        # Our own validators raise a PydanticCustomError whose type is already our code.
        FieldProblem(path_of(error), WORDS.get(error["type"], _own_code(error["type"])))
        for error in errors
    )
    return tuple(problems)


def path_of(error: Mapping[str, Any]) -> str:
    """Return the path of the wrong member of an error of the validation library."""
    return request_path((*error["loc"], *error.get("ctx", {}).get(MEMBER_PATH, ())))


def own_sentences(errors: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the sentences of our own validators, such as where to find the right id, or None.

    The library's sentences are left out: they may contain the value.
    """
    sentences = dict.fromkeys(
        error["msg"]
        for error in errors
        if error["type"] not in WORDS and _own_code(error["type"]) == error["type"] != error["msg"]
    )
    return " ".join(sentences) or None


def _own_code(error_type: str) -> str:
    return error_type if error_type in OWN_WORDS or error_type in WORDS.values() else "invalid"


# Codes that only our own validators and routes use. The documentation lists them together with `WORDS`.
OWN_WORDS: Mapping[str, str] = {
    "invalid": "It does not have the format of this field.",
    "blank": "It contains only white space.",
    "control_character": "It contains a control character or an invisible character.",
    "two_alphabets": "A word of the name mixes two alphabets, whose letters look alike.",
    "personal": "Looks like an email address or a phone number. Other people see names, notes and mappings.",
    "not_a_time": "It is not an RFC 3339 time with a zone.",
    "not_in_future": "The time is in the past.",
    "entity_id": "It is an entity ID; use the advertiser ID.",
    "unknown": "It does not exist, or this key cannot access it.",
    "duplicate": "It is given twice.",
    "unknown_parameter": "It is not a query parameter of this route; names are case-sensitive.",
    "nul_character": "It contains the character NUL.",
    "not_allowed": "It cannot be set here.",
    "empty": "The list is empty.",
    "taken": "It is already used by another resource.",
    "before_from": "The last day of the range is before the first day.",
    "too_long_ago": "The range of days is too long. Choose a later first day.",
}


def request_path(location: Sequence[str | int]) -> str:
    """Return a location in the form `rate_limit.burst` or `scopes[0]`; '' for the body itself."""
    parts = list(location)
    if parts and parts[0] in _LOCATION_ROOTS:
        parts = parts[1:]
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            # Show a caller's member name only if it looks like a name: anything else may be a value.
            name = part if _NAME.fullmatch(part) else "?"
            path += f".{name}" if path else name
    return path or "body"
