"""Serving style sheets and scripts, to anyone: they hold nothing of anybody's."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.admin.refusals import ErrorCode, Refusal
from app.api.secured_route import public
from app.console.assets import ASSETS
from app.console.secured_page import SecuredPage

router = APIRouter(route_class=SecuredPage, include_in_schema=False)

# Changes with the file; the answer is the same without it.
Version = Annotated[str, Query(max_length=64)]
_FOR_EVER = "public, max-age=31536000, immutable"


@router.get("/console/static/{name}", response_model=None)
@public
async def asset(name: str, request: Request, v: Version = "") -> Response:
    """Return a file, compressed for those who take that. `v` is for caches only."""
    del v
    found = ASSETS.get(name)
    if found is None:
        raise Refusal(ErrorCode.NOT_FOUND)
    headers = {"Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, media_type=found.kind, headers={**headers, "Content-Encoding": "gzip"})
    return Response(found.plain, media_type=found.kind, headers=headers)
