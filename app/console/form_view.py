"""What is wrong with a field, in a sentence beside it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.admin.field_problems import MAPPING_WORDS, OWN_WORDS
from app.admin.refusals import FieldProblem

# The words of the API in the words of a form; what is not here is said as the API documents it.
_SENTENCES: Mapping[str, str] = {
    "missing": "This is needed.",
    "too_short": "This is needed.",
    "too_long": "This is too long.",
    "not_in_list": "Choose one of the list.",
    "not_a_number": "This takes a number.",
    "not_an_integer": "This takes a whole number.",
    "out_of_range": "This is outside the range that the help names.",
    "blank": "This is needed.",
    "control_character": "It holds a character that cannot be seen, such as a direction mark. Type it anew.",
    "not_allowed": "This cannot be changed any more: it was connected, or has taken events.",
    "not_in_future": "This lies in the past.",
}


def sentence(word: str) -> str:
    """Return a word for what is wrong as a sentence."""
    return _SENTENCES.get(word) or OWN_WORDS.get(word) or MAPPING_WORDS.get(word) or f"Not right: {word}."


def of_fields(fields: Sequence[FieldProblem]) -> dict[str, str]:
    """Return the sentence for each field of a refusal, the first where there are several."""
    told: dict[str, str] = {}
    for field in fields:
        told.setdefault(field.field, sentence(field.problem))
    return told


def of_errors(errors: Iterable[Mapping[str, Any]], fields: Sequence[FieldProblem]) -> dict[str, str]:
    """Return the sentence for each field of a model; where a validator of ours said its own, that one."""
    told = of_fields(fields)
    for error in errors:
        path = ".".join(str(part) for part in error["loc"])
        if error["type"] in ("invalid", "entity_id") and error["msg"] != error["type"]:
            told[path] = str(error["msg"])
    return told
