"""The request bodies of match quality, dedupe, reconciliation, shadow and test conversions."""

from typing import Annotated, Literal

from pydantic import Field

from app.admin.inputs import NUMBER, DatasetName, Day, Instant, RequestBody
from app.domain.identity import MATCH_KEYS


class ExplainHashRequest(RequestBody):
    """A value in clear and a digest of it. They appear in no error, log line or row."""

    field: Literal[tuple(rule.field for rule in MATCH_KEYS)]  # type: ignore[valid-type]
    value: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    hash: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    country: Annotated[str, Field(max_length=20)] = "US"


class ExplainGapRequest(RequestBody):
    """The number that Amazon shows for an event name on a UTC day."""

    day: Day
    event_name: Annotated[str, Field(min_length=1, max_length=256)]
    amazon_count: Annotated[int, Field(ge=0, le=10**12)]


class CompareIdsRequest(RequestBody):
    """The event ids that the tag sent, and the time range of their events."""

    ids: Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=100_000)]
    since: Instant | None = None
    until: Instant | None = None


class ShadowRequest(RequestBody):
    """The share of the live events to convert with the draft, and for how long."""

    share: Annotated[float, Field(ge=0.01, le=1, allow_inf_nan=False), NUMBER]
    minutes: Annotated[int, Field(ge=1, le=1440)]


class TestConversionsRequest(RequestBody):
    """How many marked conversions to send, and the data set and the event name of their own."""

    count: Annotated[int, Field(ge=1, le=3)] = 1
    dataset_name: DatasetName
    event_name: Annotated[str, Field(min_length=1, max_length=256)]
