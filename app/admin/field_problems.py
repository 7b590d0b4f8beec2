"""Problem codes of request fields. The codes are stable and do not depend on the validation library."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from app.admin import FieldProblem
from app.domain.toml_files import read_toml

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

_FILE: Final = read_toml(__file__)
MAPPING_WORDS: Final[Mapping[str, str]] = _FILE["mapping"]


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


OWN_WORDS: Final[Mapping[str, str]] = _FILE["own"]


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
