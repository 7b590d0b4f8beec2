"""Which constants and defaults a mapping may have, by type of field."""

from collections.abc import Callable
from typing import Any, Final

from app.domain.conversion.countries import read_country
from app.domain.conversion.event_types import EVENT_SOURCES, EVENT_TYPES
from app.domain.conversion.numbers import as_integer, is_number

# For each type of field: whether a constant or default is valid, and what it must be.
CONSTANTS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "text": (lambda v: isinstance(v, str) or is_number(v), "a text"),
    "number": (is_number, "a number"),
    "integer": (lambda v: type(as_integer(v)) is int, "a whole number"),
    "boolean": (lambda v: str(v).lower() in ("true", "false"), "true or false"),
}

# The same for the fields outside `fields` that take one of Amazon's codes.
CHOICES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "event_type": (lambda v: v in EVENT_TYPES, "one of Amazon's event types"),
    "event_source": (lambda v: v in EVENT_SOURCES, "one of Amazon's event sources"),
    "country_code": (
        lambda v: isinstance(v, str) and read_country(v) is not None,
        "an ISO 3166-1 alpha-2 code",
    ),
}
