"""Preview over HTTP: convert an event with the saved draft or with a mapping in the request."""

from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from app.admin.access import Scope
from app.admin.events.records import WarningView
from app.admin.inputs import PreviewRequest
from app.admin.mappings.previewing import preview_event
from app.api.access.secured_route import Context, CurrentCaller, SecuredRoute, requires
from app.api.http.response_body import ResponseBody
from app.api.mappings import MAPPING
from app.domain.event import EventProblem
from app.domain.outcomes.reasons import JourneyCode
from app.store.events.rejections import ALSO

router = APIRouter(route_class=SecuredRoute, tags=["mappings"])


class PreviewStep(ResponseBody):
    """One step of a conversion."""

    field: str = Field(description="The field of the mapping.")
    source: str | None = Field(description="The path in the event; null for a constant.")
    found: bool
    rule: str
    result: Any = Field(
        description="For a personal value, only the start of its hash; `…` for an unhashed id."
    )


class ConversionPreview(ResponseBody):
    """The preview of an event that would be sent."""

    ok: Literal[True]
    event_id: str
    amazon_event: dict[str, Any] = Field(description="The exact JSON that would be sent.")
    steps: list[PreviewStep]
    warnings: list[WarningView]


class RejectionPreview(ResponseBody):
    """The preview of an event that would be rejected."""

    ok: Literal[False]
    code: JourneyCode
    reason: str
    field: str | None
    mapping_field: str | None
    detail: str
    also: Sequence[EventProblem] = Field(default=(), description=ALSO)


@router.post(MAPPING + "/preview", summary="Preview a conversion", response_model_exclude_unset=True)
@requires(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def preview(
    destination_id: str, mapping_id: str, body: PreviewRequest, caller: CurrentCaller, context: Context
) -> ConversionPreview | RejectionPreview:
    """Convert one event and show each step. Nothing is stored or sent.

    The status is also 200 if the event would be rejected; `ok` is then false. 422 means that the request or
    the mapping is invalid.
    """
    result = await preview_event(context, caller, destination_id, mapping_id, body.event, body.mapping)
    if result["ok"]:
        return ConversionPreview.model_validate(result)
    return RejectionPreview.model_validate(result)
