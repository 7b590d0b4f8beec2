"""The API reference at /docs.

It shows the OpenAPI description in Swagger UI, without files from other hosts.
"""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.access.secured_route import Context, public
from app.api.http.fixed_documents import fixed_document
from app.console import pages
from app.console.access.secured_page import SecuredPage

router = APIRouter(route_class=SecuredPage, include_in_schema=False)


@router.get("/docs", response_model=None)
@public
async def page(request: Request, context: Context) -> Response:
    """Show the API reference. Without JavaScript, show the list of operations."""

    def build() -> bytes:
        groups = operations_by_tag(request.app.openapi())
        return pages.part("api_reference.html", groups=groups).encode()

    return await fixed_document(request, context, build, "text/html", pages.HEADERS)


def operations_by_tag(description: dict[str, Any]) -> list[tuple[str, list[dict[str, str]]]]:
    """Return the operations of each tag, in the order of the description. Pure."""
    groups: dict[str, list[dict[str, str]]] = {tag["name"]: [] for tag in description["tags"]}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            entry = {"method": method.upper(), "path": path, "summary": operation["summary"]}
            groups[operation["tags"][0]].append(entry)
    return list(groups.items())
