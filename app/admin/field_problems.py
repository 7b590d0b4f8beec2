"""What can be wrong with a field of a request: stable words, whatever the validating library calls it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.admin.refusals import FieldProblem

# The library's word to ours. What is not in the table is `invalid`.
WORDS: Mapping[str, str] = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "string_type": "not_a_string",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "string_pattern_mismatch": "invalid",
    "int_type": "not_an_integer",
    "int_parsing": "not_an_integer",
    "int_from_float": "not_an_integer",
    "float_type": "not_a_number",
    "float_parsing": "not_a_number",
    "finite_number": "not_a_number",
    "bool_type": "not_a_boolean",
    "bool_parsing": "not_a_boolean",
    "list_type": "not_a_list",
    "dict_type": "not_an_object",
    "model_type": "not_an_object",
    "model_attributes_type": "not_an_object",
    "literal_error": "not_in_list",
    "enum": "not_in_list",
    "too_short": "too_short",
    "too_long": "too_long",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
    "none_required": "unknown_field",
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)

# What only the mapping language says.
MAPPING_WORDS: Mapping[str, str] = {
    "wrong_type": "It has another JSON type than the language takes here.",
    "const_stands_alone": "A constant takes no path, pipe or default.",
    "path_invalid": "It is no path: names and indexes such as `a.b[0].c`.",
    "pipe_invalid": "It is no function of a pipe, or has the wrong arguments.",
    "event_name_invalid": "Amazon does not take this event name.",
    "event_name_conflict": "Another name is pinned for this event type.",
    "custom_name_invalid": "A custom name has 1 to 256 letters, digits and underscores.",
    "personal_in_custom_data": "A match key's path would leave in clear as custom data.",
    "too_many": "There are more members than the list takes.",
}


# Where the framework found it; the caller knows without being told.
_ROOMS = ("body", "query", "path", "header")


def field_problems(errors: Iterable[Mapping[str, Any]]) -> Sequence[FieldProblem]:
    """Return each refused field once, from a validation library's list. Never a value."""
    found = dict.fromkeys(
        # Our own validators raise a PydanticCustomError whose type is our word already.
        FieldProblem(request_path(error["loc"]), WORDS.get(error["type"], _own(error["type"])))
        for error in errors
    )
    return tuple(found)


def own_sentences(errors: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what our own validators say beside their words, such as where the right id is found; or None.

    A library's own sentences are left out: they may repeat what was sent.
    """
    said = dict.fromkeys(
        error["msg"]
        for error in errors
        if error["type"] not in WORDS and _own(error["type"]) == error["type"] != error["msg"]
    )
    return " ".join(said) or None


def _own(word: str) -> str:
    return word if word in OWN_WORDS or word in WORDS.values() else "invalid"


# Words that our own validators and routes say; the documentation lists them beside those above.
OWN_WORDS: Mapping[str, str] = {
    "invalid": "It does not have the form that this field takes.",
    "blank": "It holds nothing but white space.",
    "control_character": "It holds a control character or one that is not shown.",
    "not_a_time": "It is not an RFC 3339 time with a zone.",
    "not_in_future": "The time lies in the past.",
    "entity_id": "It is an entity id; the advertiser id is wanted.",
    "unknown": "It names something that does not exist, or that this key may not see.",
    "duplicate": "It stands there twice.",
    "unknown_parameter": "It is no query parameter of this address; names are case-sensitive.",
    "nul_character": "It holds the character NUL.",
    "not_allowed": "It may not be set here.",
}


def request_path(location: Sequence[str | int]) -> str:
    """Return a location as `rate_limit.burst` or `scopes[0]`; the empty path is the body itself."""
    parts = list(location)
    if parts and parts[0] in _ROOMS:
        parts = parts[1:]
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            # A caller's own names are shown only when they look like names: any other may be a value.
            name = part if _NAME.fullmatch(part) else "?"
            path += f".{name}" if path else name
    return path or "body"
