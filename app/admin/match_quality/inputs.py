"""The request bodies of match quality, dedupe, reconciliation, shadow and test conversions."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from app.admin.inputs import RequestBody, validation_error
from app.domain.identity import MATCH_KEYS


def _day(value: Any) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise validation_error("invalid") from None


UtcDay = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]


class ExplainHashRequest(RequestBody):
    """A value in clear and a digest of it. They appear in no error, log line or row."""

    field: Literal[tuple(rule.field for rule in MATCH_KEYS)]  # type: ignore[valid-type]
    value: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    hash: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    country: Annotated[str, Field(max_length=20)] = "US"


class ExplainGapRequest(RequestBody):
    """The number that Amazon shows for an event name on a UTC day."""

    day: UtcDay
    event_name: Annotated[str, Field(min_length=1, max_length=256)]
    amazon_count: Annotated[int, Field(ge=0, le=10**12)]
