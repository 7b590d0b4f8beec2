"""Try a mapping over HTTP: list the paths of recent events, suggest one, preview an event, test a draft."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from app.admin import Scope
from app.admin.destinations.event_schemas import ObservedEvents, read_observed, suggest_mapping
from app.admin.inputs import RequestBody
from app.admin.mappings.schema import DOCUMENT_SCHEMA
from app.admin.mappings.trials import backtest_draft, preview_event, summary
from app.api.access.secured_route import OF_DESTINATIONS, ONE, OnDestination, OnMapping, SecuredRouter
from app.api.http.responses import ExactJsonResponse, ResponseBody
from app.api.lists import Page, Paging
from app.api.mappings import MAPPING, MAPPINGS
from app.domain.event import EventProblem
from app.domain.observed.event_schema import SchemaEntry
from app.domain.observed.preview import ConversionPreview, RejectionPreview
from app.domain.suggestions.suggest import SuggestedRow, Undecided, fields_by_path, paths_by_field

router = SecuredRouter("mappings")


class PreviewRequest(RequestBody):
    """An event to preview, with the saved draft or an unsaved mapping."""

    event: dict[str, Any]
    mapping: dict[str, Any] | None = None


class SuggestRequest(RequestBody):
    """Events for which a mapping is suggested, and the time zone of times that name none."""

    events: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=200)] | None = None
    zone: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class BacktestRequest(RequestBody):
    """The number of newest events to test, with the draft or an unsaved mapping."""

    events: Annotated[int, Field(ge=1, le=1000)] = 1000
    mapping: dict[str, Any] | None = None


class SuggestedMapping(ResponseBody):
    """A suggested mapping. It can be saved as it is."""

    mapping: dict[str, Any] = Field(json_schema_extra={"properties": DOCUMENT_SCHEMA["properties"]})
    """The mapping document; empty without events."""
    rows: list[SuggestedRow]
    undecided: list[Undecided]


@router.post(MAPPINGS + "/suggest", Scope.DESTINATIONS_WRITE, summary="Suggest a mapping")
async def suggest(
    on: OnDestination, body: SuggestRequest | None = None
) -> Annotated[Response, SuggestedMapping]:
    """Suggest a complete mapping from up to 200 events, each as `POST /events` takes it.

    Without `events`, the samples of the destination's recent events are used. `zone` is the time zone of
    times that name none. Nothing of the body is stored or logged. Without events and samples, `rows` is
    empty.
    """
    request = body or SuggestRequest()
    return ExactJsonResponse(await suggest_mapping(*on, request.events, request.zone))


@router.post(MAPPING + "/preview", *OF_DESTINATIONS, summary="Preview a conversion")
async def preview(on: OnMapping, body: PreviewRequest) -> ConversionPreview | RejectionPreview:
    """Convert one event and show each step. Nothing is stored or sent.

    The status is also 200 if the event would be rejected; `ok` is then false. 422 means that the request or
    the mapping is invalid.
    """
    return await preview_event(*on, body.event, body.mapping)


class EventCount(ResponseBody):
    """The number of events that the draft would reject, or whose result is unclear, for one reason."""

    reason: str
    field: str | None
    """The source path in the mapping."""
    mapping_field: str | None
    events: int


class BacktestResult(ResponseBody):
    """The effect of a draft on recent events."""

    published_version: int
    events: int
    """The number of events checked."""
    lost: dict[str, int]
    """Events that lose a match key, by key."""
    gained: dict[str, int]
    """Events that gain a match key, by key."""
    changed: list[str]
    """Mapping fields that would be sent with another value."""
    newly_rejected: list[EventCount]
    newly_accepted: int
    """Events that only the draft accepts."""
    unclear: list[EventCount]
    """Events with a result that depends on texts that are not stored."""
    repeated_event_ids: int
    """Events that would repeat the event id of an earlier event."""
    loss: float
    """The largest share of events that lose one match key or would be rejected (0 to 1)."""
    summary: str


@router.post(MAPPING + "/backtest", *OF_DESTINATIONS, summary="Test a draft on recent events")
async def run_backtest(on: OnMapping, body: BacktestRequest | None = None) -> BacktestResult:
    """Compare the draft (or `mapping` in the body) with the published version over the newest events.

    The result counts the events that would certainly lose a match key, gain a match key, or be newly
    rejected, and lists every field that would be sent with another value. The samples of events hold no
    texts, so `unclear` counts the events whose result depends on a text. Nothing is stored. 422 if the draft
    cannot be published, or if no version is published yet.
    """
    options = body or BacktestRequest()
    version, result = await backtest_draft(*on, document=options.mapping, limit=options.events)
    return BacktestResult(
        published_version=version,
        events=result.events,
        lost=dict(result.lost.most_common()),
        gained=dict(result.gained.most_common()),
        changed=sorted(result.changed),
        newly_rejected=_counts(result.rejected),
        newly_accepted=result.newly_accepted,
        unclear=_counts(result.unclear),
        repeated_event_ids=result.repeated_event_ids,
        loss=float(round(result.loss, 4)),
        summary=summary(result),
    )


def _counts(groups: Counter[EventProblem]) -> list[EventCount]:
    return [EventCount(**asdict(group), events=times) for group, times in groups.most_common()]


class PathView(ResponseBody):
    """A path that occurs in recent events."""

    path: str
    types: dict[str, float]
    """The share of each JSON type (0 to 1)."""
    forms: list[str]
    fill_rate: float
    suggested_for: list[str]


class EventSchemaView(Page[PathView]):
    """A page of the paths of recent events."""

    events: int
    """The number of events from which the figures are computed."""
    suggestions: dict[str, list[str]]
    """The paths that a suggested mapping reads, by field."""


@router.get(ONE + "/event-schema", Scope.DESTINATIONS_READ, summary="Read the event schema")
async def read(on: OnDestination, paging: Paging) -> EventSchemaView:
    """List the paths of the newest events, with types, fill rate and suggested fields.

    The paths come from stored samples, which contain no values.
    """
    return await paging.context.compute(_page, await read_observed(*on), paging)


def _page(observed: ObservedEvents, paging: Paging) -> EventSchemaView:
    schema, fields = observed.schema, fields_by_path(observed.suggestion)

    def view(entry: SchemaEntry) -> PathView:
        return PathView(
            path=entry.path,
            types={name: share(times, entry.present) for name, times in entry.types.items()},
            forms=sorted(entry.kinds),
            fill_rate=share(entry.filled, schema.events),
            suggested_for=fields.get(entry.path, []),
        )

    return paging.part(
        EventSchemaView,
        list(schema.entries.values()),
        view,
        events=schema.events,
        suggestions=paths_by_field(observed.suggestion),
    )


def share(part: int, whole: int) -> float:
    """Return a share between 0 and 1, rounded to four places."""
    return round(part / whole, 4) if whole else 0.0
