"""List administrative actions over HTTP."""

from functools import partial
from typing import Annotated

from fastapi import Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.admin import Scope
from app.admin.inputs import AuditActionName, AuditKindName, Instant
from app.api.access.secured_route import SecuredRouter
from app.api.lists import Listing
from app.api.pages import AuditPage, audit_page
from app.store.audit import AuditEntry, AuditFilter

router = SecuredRouter("audit")


class AuditQuery(BaseModel):
    """The filter of a list of administrative actions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    destination: Annotated[str, Field(max_length=64)] | None = Field(default=None, alias="destination_id")
    """Only entries of this destination."""
    action: AuditActionName | None = None
    """Only this action, such as `mapping.published`."""
    kind: AuditKindName | None = None
    """Only actions with this prefix, such as `mapping`."""
    actor: Annotated[str, Field(max_length=200)] | None = None
    """Only actions of this key, or of people whose name contains this text."""
    target: Annotated[str, Field(max_length=200)] | None = None
    """Only actions on this id, or on this destination."""
    since: Instant | None = None
    """Only actions at or after this time."""
    until: Instant | None = None
    """Only actions before this time."""


@router.get("/audit", Scope.KEYS_ADMIN, summary="List administrative actions")
async def list_all(wanted: Annotated[AuditQuery, Query()], listing: Listing) -> AuditPage | StreamingResponse:
    """List administrative actions and what they changed, newest first. Entries contain no secrets."""
    page_at = partial(audit_page, AuditFilter(**wanted.model_dump()))
    return await listing.answer(AuditEntry, page_at, name="audit")
