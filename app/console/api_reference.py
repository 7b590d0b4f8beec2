"""The API reference at /docs. A script shows the OpenAPI description and sends requests (ADR 0041)."""

from fastapi import Request
from starlette.responses import Response

from app.api.access.secured_route import Context, public
from app.api.http.fixed_documents import fixed_document
from app.console import pages
from app.console.access.secured_page import page_router
from app.domain.outcomes.reasons import REASONS

router = page_router()


@router.get("/docs")
@public
async def page(request: Request, context: Context) -> Response:
    """Show the API reference. Without JavaScript, show the list of operations."""

    def build() -> bytes:
        content = {"spec": request.app.openapi(), "reasons": REASONS.values()}
        return pages.part("api_reference.html", **content).encode()

    return await fixed_document(request, context, build, "text/html", pages.HEADERS)
