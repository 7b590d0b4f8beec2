"""Preview over HTTP: what an event would become, with the draft as saved or one that is not saved yet."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from app.admin import publishing
from app.admin.access import Scope
from app.admin.destinations import find_visible
from app.admin.refusals import Word
from app.api.json_response import ExactJson
from app.api.mappings import MAPPING, found
from app.api.schemas import Preview
from app.api.secured_route import CallerOf, Door, Wired, needs
from app.domain.conversion.consent import ConsentSettings
from app.domain.conversion.convert import Rules
from app.domain.event import Event, content_digest, derived_event_id, judge_event_id
from app.domain.identity import Profile
from app.domain.observed.preview import preview as show
from app.domain.observed.preview import refusal
from app.store import event_names
from app.store.destinations import Destination
from app.store.mappings import StoredMapping

router = APIRouter(route_class=Door, tags=["mappings"])


class Standards(Protocol):
    """What an event is judged by beside its destination and mapping: settings of the deployment."""

    @property
    def max_event_age(self) -> timedelta: ...

    @property
    def warn_event_age(self) -> timedelta: ...

    @property
    def consent(self) -> ConsentSettings: ...

    @property
    def now(self) -> Callable[[], datetime]: ...


async def rules_of(
    connection: AsyncConnection, standards: Standards, destination: Destination, mapping: StoredMapping
) -> Rules:
    """Return what the door would judge by, with the names pinned now."""
    pins = await event_names.of_advertiser(connection, destination.advertiser_id)
    return Rules(
        destination_id=destination.id,
        mapping_id=mapping.id,
        mapping_version=mapping.published_version or 0,
        region=destination.region,
        profile=Profile(destination.identity_profile),
        currency=destination.currency,
        dataset_name=destination.dataset_name,
        pins={pin.event_type: pin.name for pin in pins},
        max_age=standards.max_event_age,
        warn_age=standards.warn_event_age,
        consent_settings=standards.consent,
    )


@router.post(MAPPING + "/preview", summary="Show what an event would become", response_model=None)
@needs(Scope.DESTINATIONS_READ, Scope.DESTINATIONS_WRITE)
async def preview(
    destination_id: str, mapping_id: str, body: Preview, caller: CallerOf, wired: Wired
) -> Response:
    """Convert one event and show the result step by step; nothing is stored, nothing is sent.

    200 also when the event would be refused (`ok` is false), 422 only for a request or mapping that is wrong.
    """
    async with wired.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        mapping = await found(connection, destination, mapping_id)
        rules = await rules_of(connection, wired, destination, mapping)
    if body.mapping is None:
        made = publishing.compiled(mapping.draft)
    else:
        made = publishing.compiled(body.mapping, Word.INVALID, at="mapping")
    given = body.event.get("event_id")
    if given is not None and (wrong := judge_event_id(given)):
        return ExactJson(refusal(wrong))
    event_id = given or derived_event_id(content_digest(body.event, wired.pepper))
    event = Event(0, given, destination.id, mapping.id, body.event)
    shown: dict[str, Any] = show(event, event_id, made, rules, now=wired.now())
    if given is None and shown["ok"]:
        shown["warnings"] = [{"code": "event_id_derived", "field": "event_id"}, *shown["warnings"]]
    return ExactJson(shown)
