"""Suggestions over HTTP: a complete mapping from events as they come."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from app.admin.access import Scope
from app.admin.inputs import SuggestRequest
from app.admin.mappings.schema import DOCUMENT_SCHEMA
from app.admin.mappings.suggestions import suggest_mapping
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.json_response import ExactJsonResponse
from app.api.http.response_body import ResponseBody
from app.api.mappings import MAPPINGS

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])


class SuggestedSource(ResponseBody):
    """The suggested source of one field."""

    field: str = Field(description="The field of the mapping, such as `email` or `custom_data.brand`.")
    source: Any = Field(description="The source, as in the mapping.")
    reason: str = Field(description="Why this source was chosen, as a sentence.")
    share: float = Field(description="The share of the events for which the source has a usable value.")


class UndecidedField(ResponseBody):
    """What a person has to decide or confirm."""

    field: str
    reason: str = Field(description="A word, such as `zone_needed` or `confirm_that_all_consented`.")


class SuggestedMapping(ResponseBody):
    """A suggested mapping. It can be saved as it is."""

    mapping: dict[str, Any] = Field(
        description="The mapping document; empty without events.",
        json_schema_extra={"properties": DOCUMENT_SCHEMA["properties"]},
    )
    rows: list[SuggestedSource]
    undecided: list[UndecidedField]


@router.post(MAPPINGS + "/suggest", summary="Suggest a mapping", response_model=SuggestedMapping)
@requires(Scope.DESTINATIONS_WRITE)
async def suggest(
    destination_id: str, caller: CurrentCaller, context: Context, body: SuggestRequest | None = None
) -> Response:
    """Suggest a complete mapping from up to 200 events, each as `POST /events` takes it.

    Without `events`, the samples of the destination's recent events are used. `zone` is the time zone of
    times that name none. Nothing of the body is stored or logged. Without events and samples, `rows` is
    empty.
    """
    request = body or SuggestRequest()
    found = await suggest_mapping(context, caller, destination_id, request.events, request.zone)
    return ExactJsonResponse(asdict(found))
