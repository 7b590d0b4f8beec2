"""Problems of a form as sentences for its fields, and the status code of the page that shows them. Pure."""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from app.admin.mappings.field_problems import MAPPING_WORDS, OWN_WORDS, field_problems
from app.admin.refusals import ErrorCode, FieldProblem, Problem, Refusal
from app.api.errors import status_of

# What a form's input or its use case raises.
FormError = ValidationError | Refusal
FORM_ERRORS = (ValidationError, Refusal)

# Sentences for problem codes in forms. A code without an own sentence here has that of the API
# documentation.
_SENTENCES: Mapping[str, str] = {
    **MAPPING_WORDS,
    **OWN_WORDS,
    "missing": "Required.",
    "too_short": "Required.",
    "too_long": "Too long.",
    "not_in_list": "Choose an option from the list.",
    "not_a_number": "Enter a number.",
    "not_an_integer": "Enter a whole number.",
    "out_of_range": "Out of range. See the help text.",
    "blank": "Required.",
    "two_alphabets": "A word mixes two alphabets, whose letters look alike. Type it again.",
    "control_character": "Contains an invisible character, such as a direction mark. Type it again.",
    "not_allowed": "Can't be changed after the destination was connected or accepted events.",
    "not_in_future": "Must be in the future.",
}


_STALE = "Someone else changed this after you opened the page. Review the change and try again."


def sentence_of(problem: Problem) -> str:
    """Return the sentence of a problem for a page with a form."""
    return _STALE if problem.code is ErrorCode.STALE else problem.sentence


def of_fields(fields: Sequence[FieldProblem]) -> dict[str, str]:
    """Return a sentence for each field, about its first problem."""
    sentences: dict[str, str] = {}
    for field in fields:
        sentences.setdefault(field.field, _SENTENCES.get(field.problem, f"Invalid: {field.problem}."))
    return sentences


def problems_of(error: FormError | None) -> tuple[dict[str, str], int]:
    """Return a sentence for each field, and the status code of the page. The field "" means the complete
    form.

    A validator of this project may have its own message. That message is then the sentence. Without an error
    there are no sentences.
    """
    if error is None:
        return {}, 200
    if isinstance(error, Refusal):
        problem = error.problem
        return of_fields(problem.fields) or {"": sentence_of(problem)}, status_of(problem)
    errors = error.errors(include_url=False, include_input=False)
    sentences = of_fields(field_problems(errors))
    for each in errors:
        if each["type"] in ("invalid", "entity_id") and each["msg"] != each["type"]:
            sentences[".".join(map(str, each["loc"]))] = each["msg"]
    return sentences, 422
