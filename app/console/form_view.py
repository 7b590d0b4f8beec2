"""Present field problems as sentences next to the fields. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from pydantic_core import ErrorDetails

from app.admin.field_problems import MAPPING_WORDS, OWN_WORDS
from app.admin.refusals import FieldProblem

# Sentences for forms. A code that is missing here gets the sentence of the API documentation.
_SENTENCES: Mapping[str, str] = {
    "missing": "Required.",
    "too_short": "Required.",
    "too_long": "Too long.",
    "not_in_list": "Choose an option from the list.",
    "not_a_number": "Enter a number.",
    "not_an_integer": "Enter a whole number.",
    "out_of_range": "Out of range. See the help text.",
    "blank": "Required.",
    "control_character": "Contains an invisible character, such as a direction mark. Type it again.",
    "not_allowed": "Can't be changed after the destination was connected or accepted events.",
    "not_in_future": "Must be in the future.",
}


def sentence(code: str) -> str:
    """Return the sentence of a problem code."""
    return _SENTENCES.get(code) or OWN_WORDS.get(code) or MAPPING_WORDS.get(code) or f"Invalid: {code}."


def of_fields(fields: Sequence[FieldProblem]) -> dict[str, str]:
    """Return one sentence for each field of a refusal: that of its first problem."""
    sentences: dict[str, str] = {}
    for field in fields:
        sentences.setdefault(field.field, sentence(field.problem))
    return sentences


def of_errors(errors: Iterable[ErrorDetails], fields: Sequence[FieldProblem]) -> dict[str, str]:
    """Return one sentence for each field of a model. A validator's own message takes precedence."""
    sentences = of_fields(fields)
    for error in errors:
        path = ".".join(str(part) for part in error["loc"])
        if error["type"] in ("invalid", "entity_id") and error["msg"] != error["type"]:
            sentences[path] = str(error["msg"])
    return sentences
