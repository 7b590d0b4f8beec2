"""The request bodies of match quality, dedupe, reconciliation, shadow and test conversions."""

from typing import Annotated, Literal

from pydantic import Field

from app.admin.inputs import RequestBody
from app.domain.identity import MATCH_KEYS


class ExplainHashRequest(RequestBody):
    """A value in clear and a digest of it. They appear in no error, log line or row."""

    field: Literal[tuple(rule.field for rule in MATCH_KEYS)]  # type: ignore[valid-type]
    value: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    hash: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    country: Annotated[str, Field(max_length=20)] = "US"
