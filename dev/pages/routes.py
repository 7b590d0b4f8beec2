"""docs/routes.md: routes, errors and problems."""

from collections.abc import Iterator, Mapping
from typing import Final

from app.admin import ErrorCode
from app.admin.field_problems import MAPPING_WORDS, OWN_WORDS
from app.api.access.secured_route import SecuredRoute, scopes_of
from app.api.errors import STATUSES
from app.processes.application import ROUTERS

PROBLEMS: Final[Mapping[str, str]] = {
    "missing": "It is required.",
    "unknown_field": "No field has this name here.",
    "not_a_string": "It must be a text.",
    "not_an_integer": "It must be a whole number, without quotes.",
    "not_a_number": "It must be a number, without quotes.",
    "not_a_boolean": "It must be true or false.",
    "not_a_list": "It must be a list.",
    "not_an_object": "It must be an object.",
    "not_in_list": "It is not one of the values that the field accepts.",
    "out_of_range": "The number is too small or too large.",
    "too_short": "It has too few characters or members.",
    "too_long": "It has too many characters or members.",
    **OWN_WORDS,
    **MAPPING_WORDS,
}
"""The meaning of each value of `problem`."""

_INTRODUCTION: Final = """# Routes, errors and problems

Generated from the code by `./run docs --update`. A test keeps it up to date.
[API](api.md) explains the rules of all routes; the API reference has the bodies.

## Routes
"""


def page() -> str:
    """Return docs/routes.md."""
    return "\n".join([_INTRODUCTION, *_routes(), *_errors(), *_problems(), ""])


def _routes() -> Iterator[str]:
    yield "| route | scope | what it does |\n|---|---|---|"
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, SecuredRoute):
                scopes = " or ".join(f"`{scope}`" for scope in scopes_of(route.endpoint))
                for method in sorted(route.methods or ()):
                    yield f"| `{method} {route.path_format}` | {scopes or 'open to all'} | {route.summary} |"


def _errors() -> Iterator[str]:
    yield "\n## Errors\n\n| error | status | what it means |\n|---|---|---|"
    for word in sorted(ErrorCode, key=lambda code: (STATUSES[code], code)):
        yield f"| `{word}` | {STATUSES[word]} | {word.sentence} |"


def _problems() -> Iterator[str]:
    yield "\n## Problems of fields\n\n| problem | what it means |\n|---|---|"
    for word, meaning in sorted(PROBLEMS.items()):
        yield f"| `{word}` | {meaning.replace('|', chr(92) + '|')} |"
