"""Search the catalog of destination types over HTTP."""

from typing import Annotated

from fastapi import Query

from app.admin.catalog import DestinationType, search
from app.api.access.secured_route import OF_DESTINATIONS, SecuredRouter
from app.api.lists import Page, Paging

router = SecuredRouter("catalog")


class CatalogPage(Page[DestinationType]):
    """A page of destination types."""


@router.get("/catalog", *OF_DESTINATIONS, summary="Search destination types")
async def catalog(
    paging: Paging,
    q: Annotated[str | None, Query(max_length=200, description="Search words, such as `amazon`.")] = None,
) -> CatalogPage:
    """List destination types with the labels, help texts and values that forms need."""
    return paging.part(CatalogPage, search(q))
