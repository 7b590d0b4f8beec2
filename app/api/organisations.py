"""Organisations over HTTP: create, list, read, change, suspend, resume, usage.

Only platform keys may use it. Every key may read its own organisation.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Query, Response

from app.admin import Scope
from app.admin import organisations as use_cases
from app.admin.inputs import DayRange
from app.api.access.secured_route import Context, SecuredRouter
from app.api.http.headers import Expected, tagged
from app.api.http.responses import ResponseBody
from app.api.lists import Page, Paging
from app.store.organisations.organisations import Organisation, OrganisationLimits
from app.store.organisations.usage import DayUsage

router = SecuredRouter("organisations")


class UsageView(ResponseBody):
    """The accepted events, the requests to Amazon, and the bytes of the stored conversions."""

    events: int
    requests: int
    bytes: int

    @classmethod
    def of(cls, days: Sequence[DayUsage]) -> "UsageView":
        """Return the sums over some days."""
        return cls(**{name: sum(getattr(day, name) for day in days) for name in cls.model_fields})


class OwnOrganisationView(ResponseBody):
    """The organisation of a key, with its limits and its usage."""

    id: str
    name: str
    state: Literal["active", "suspended"]
    limits: OrganisationLimits
    destinations: int
    """The number of destinations, to compare with the limit."""
    usage: UsageView
    """The usage of the last 30 days."""


class OrganisationPage(Page[Organisation]):
    """A page of organisations."""


class UsagePage(Page[DayUsage]):
    """A page of daily usage. The sum covers the days of all pages."""

    total: UsageView


@router.post("/organisations", Scope.ORGANISATIONS_ADMIN, status_code=201, summary="Create an organisation")
async def create(context: Context, body: use_cases.NewOrganisation, response: Response) -> Organisation:
    """Create an organisation. Create its first key with `POST /keys?organisation_id=…`."""
    created = await use_cases.create_organisation(context, body)
    response.headers["Location"] = f"/organisations/{created.id}"
    return tagged(response, created)


@router.get("/organisations", Scope.ORGANISATIONS_ADMIN, summary="List organisations")
async def list_all(context: Context, paging: Paging) -> OrganisationPage:
    """List organisations, oldest first."""
    rows = await use_cases.list_organisations(context, limit=paging.most, after=paging.time_and_id)
    return OrganisationPage(**paging.listed(rows, lambda row: (row.created_at.isoformat(), row.id)))


@router.get("/organisations/self", *Scope, summary="Read the organisation of the key")
async def read_own(context: Context) -> OwnOrganisationView:
    """Read the limits and the usage of the key's own organisation. Every key may read them."""
    found = await use_cases.find_organisation(context, context.organisation)
    return OwnOrganisationView(
        id=found.id,
        name=found.name,
        state=found.state,
        limits=found.limits,
        destinations=await use_cases.count_destinations(context),
        usage=UsageView.of(await use_cases.organisation_usage_by_day(context, found.id, None, None)),
    )


@router.get("/organisations/{id}", Scope.ORGANISATIONS_ADMIN, summary="Read an organisation")
async def read(id: str, context: Context, response: Response) -> Organisation:
    """Read an organisation. To change it, send the `ETag` of this response as `If-Match`."""
    return tagged(response, await use_cases.find_organisation(context, id))


@router.patch("/organisations/{id}", Scope.ORGANISATIONS_ADMIN, summary="Change an organisation")
async def change(
    context: Context, id: str, body: use_cases.OrganisationChange, expected: Expected, response: Response
) -> Organisation:
    """Change the name or the limits. A lower limit on the number of destinations deletes no destination."""
    return tagged(response, await use_cases.change_organisation(context, id, body, expected))


@router.post("/organisations/{id}/suspend", Scope.ORGANISATIONS_ADMIN, summary="Suspend an organisation")
async def suspend(context: Context, id: str, response: Response) -> Organisation:
    """Reject new events with 403 `organisation_suspended`. Every process does so within five seconds.

    Accepted events wait. As in a paused destination, they expire at Amazon's age limit.
    """
    return tagged(response, await use_cases.set_suspended(context, id, suspended=True))


@router.post("/organisations/{id}/resume", Scope.ORGANISATIONS_ADMIN, summary="Resume an organisation")
async def resume(context: Context, id: str, response: Response) -> Organisation:
    """Accept events again, and deliver the events that wait."""
    return tagged(response, await use_cases.set_suspended(context, id, suspended=False))


@router.get(
    "/organisations/{id}/usage", Scope.ORGANISATIONS_ADMIN, summary="Read the usage of an organisation"
)
async def usage(id: str, context: Context, days: Annotated[DayRange, Query()], paging: Paging) -> UsagePage:
    """Return the accepted events, requests to Amazon and stored bytes of each day, by default of the last
    30, and the sums over all days.
    """
    found = await use_cases.organisation_usage_by_day(context, id, days.first, days.last)
    return paging.part(UsagePage, found, total=UsageView.of(found))
