"""The base and the members of request bodies: unknown fields are refused and types are not coerced."""

import unicodedata
from collections.abc import Collection
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.admin import invalid
from app.admin.field_problems import MEMBER_PATH
from app.domain.conversion.amazon_codes import CURRENCIES, EVENT_TYPES
from app.domain.destination import Region, advertiser_id_problem, dataset_name_problem
from app.domain.identity.keys import Profile
from app.domain.mapping.event_name import mixes_alphabets
from app.domain.outcomes.reasons import REASONS
from app.domain.privacy.personal_text import holds_personal_text
from app.store.audit import AuditAction


def _plain_number(value: Any) -> Any:
    """Return an integer or a float for a number of the strict parser, which returns each as a Decimal."""
    if not isinstance(value, Decimal):
        return value
    # In JSON Schema, 140.0 and 1.4E2 are integers.
    return int(value) if value.adjusted() < 19 and value == value.to_integral_value() else float(value)


class RequestBody(BaseModel):
    """A request body. Unknown fields are refused, and `"5"` is not a number."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _convert_decimals(cls, value: Any) -> Any:
        # FastAPI validates with `from_attributes`, which refuses JSON values other than objects, except
        # fractions: a Decimal counts as an object without fields.
        if isinstance(value, Decimal):
            return float(value)
        return (
            {name: _plain_number(member) for name, member in value.items()} if type(value) is dict else value
        )


def validation_error(code: str, sentence: str = "", *path: str) -> PydanticCustomError:
    """Return a validation error with one of our codes; it never contains the value.

    `path` leads from the validated value to the wrong member.
    """
    return PydanticCustomError(code, sentence or code, {MEMBER_PATH: path} if path else None)


def _not_null(value: Any) -> Any:
    if value is None:
        raise validation_error("missing")
    return value


def _remove_null(schema: dict[str, Any]) -> None:
    """Remove null from the JSON schema of a member."""
    schema.update(schema.pop("anyOf")[0])


T = TypeVar("T")
Omittable = Annotated[T | None, BeforeValidator(_not_null), Field(json_schema_extra=_remove_null)]
"""A member that a body may omit, but that may not be null."""


def report_once(sentence: str) -> WrapValidator:
    """Return the validator of a field with a union type. It reports one error, with this sentence.

    Without it, pydantic reports an error for each member of the union, with the member's type in the path.
    """

    def check(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise validation_error("not_in_list", sentence) from None

    return WrapValidator(check)


def _require_digits(value: Any) -> Any:
    if isinstance(value, str) and not (value.isascii() and value.removeprefix("-").isdigit()):
        raise validation_error("not_an_integer")
    return value


# For a number in a query: only digits. Pydantic also accepts `1.0`, `+1` and `1_0`.
DIGITS = BeforeValidator(_require_digits)


# Controls, zero-width and direction marks, line ends, surrogates and unassigned characters.
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs", "Cn"})


def name_problem_code(text: str) -> str | None:
    """Return the problem code of a display name, or None."""
    if not text.strip():
        return "blank"
    if any(unicodedata.category(character) in _INVISIBLE for character in text):
        return "control_character"
    return "personal" if holds_personal_text(text) else None


MAX_NOTE: Final = 1000  # characters
Note = Annotated[str, Field(max_length=MAX_NOTE)]


def read_note(text: str | None) -> str | None:
    """Return a note without surrounding blanks, None if it is empty.

    Raises Refusal if it is too long or personal.
    """
    note = (text or "").strip()
    if len(note) > MAX_NOTE:
        raise invalid("note", "too_long", f"A note has at most {MAX_NOTE:,} characters.")
    if holds_personal_text(note):
        detail = "Other people see this note. It must not contain an email address or a phone number."
        raise invalid("note", "personal", detail)
    return note or None


def _printable(text: str) -> str:
    if code := name_problem_code(text):
        raise validation_error(code)
    return text


def _destination_name(text: str) -> str:
    if mixes_alphabets(text):
        raise validation_error("two_alphabets")
    return text


def _advertiser_id(text: str) -> str:
    if problem := advertiser_id_problem(text):
        raise validation_error("entity_id" if text.upper().startswith("ENTITY") else "invalid", problem)
    return text


def _dataset_name(text: str) -> str:
    if problem := dataset_name_problem(text):
        raise validation_error("invalid", problem)
    return text


def _instant(value: Any) -> Any:
    """Parse an RFC 3339 time with a zone. Anything else is refused, numbers too."""
    if not isinstance(value, str) or not 20 <= len(value) <= 40 or value[10] not in "Tt" or value[7] != "-":
        raise validation_error("not_a_time")
    try:
        parsed = datetime.fromisoformat(value.upper())
        # Exclude the extreme years: Postgres stores times that Python cannot read.
        if parsed.tzinfo is None or not 2000 <= parsed.year <= 9998:
            raise validation_error("not_a_time")
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise validation_error("not_a_time") from None


Printable = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
DestinationName = Annotated[Printable, AfterValidator(_destination_name)]
AdvertiserIdText = Annotated[
    str,
    AfterValidator(_advertiser_id),
    Field(description="Digits, or `amzn1.ads-account.g.…`.", examples=["580123456789012345"]),
]
DatasetName = Annotated[
    str,
    AfterValidator(_dataset_name),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{4,99}$"}),
]
RegionName: Any = Literal[tuple(each.value for each in Region)]
ProfileName: Any = Literal[tuple(each.value for each in Profile)]
Instant = Annotated[
    datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]


def _one_of(names: Collection[str], sentence: str = "") -> Any:
    """Return the type of a text that must be one of these names. `sentence` says where to find them."""

    def check(text: str) -> str:
        if text not in names:
            raise validation_error("not_in_list", sentence)
        return text

    return Annotated[str, AfterValidator(check), WithJsonSchema({"type": "string", "enum": sorted(names)})]


Currency = _one_of(CURRENCIES, "Use one of the currency codes listed in GET /catalog.")
ReasonName = _one_of(REASONS)
EventTypeName = _one_of(EVENT_TYPES)
AuditActionName = _one_of([action.value for action in AuditAction])
AuditKindName = _one_of({action.value.partition(".")[0] for action in AuditAction})


def _day(value: Any) -> Any:
    """Return a day, or the day (UTC) of a time."""
    if isinstance(value, str) and len(value) > len("2026-11-24"):
        return _instant(value).date()
    try:
        return _instant(f"{value}T00:00:00Z").date()
    except PydanticCustomError:
        raise validation_error("invalid") from None


Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]


class DayRange(BaseModel):
    """Days (UTC), both ends included."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    first: Day | None = Field(default=None, alias="from")
    """The first day (UTC)."""
    last: Day | None = Field(default=None, alias="to")
    """The last day (UTC), by default today."""
