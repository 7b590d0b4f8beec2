"""The base of response models, responses with exact decimals, and documents that never change.

Such a document is computed once, and sent as bytes with an entity tag.
"""

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from app.admin import ErrorCode, Refusal
from app.admin.context import AppContext
from app.domain.strict_json import exact_json

CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"


class ResponseBody(BaseModel):
    """A JSON response, or a part of it. `model_validate` also accepts an object, such as a stored row."""

    model_config = ConfigDict(from_attributes=True, frozen=True, use_attribute_docstrings=True)


class ExactJsonResponse(Response):
    """A JSON response with exact decimals. The framework's own JSON response converts decimals to floats."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return exact_json(content)


@dataclass(frozen=True, slots=True)
class FixedDocument:
    """The content of a document, compressed and not."""

    plain: bytes
    compressed: bytes
    etag: str

    @classmethod
    def of(cls, content: bytes) -> "FixedDocument":
        """Compress a content. This takes some 20 ms for 500 kB."""
        digest = hashlib.sha256(content).hexdigest()
        return cls(content, gzip.compress(content, 6, mtime=0), f'W/"{digest[:20]}"')


async def fixed_document(
    request: Request,
    context: AppContext,
    build: Callable[[], bytes],
    media_type: str,
    headers: Mapping[str, str],
) -> Response:
    """Return the document of the request's path, which `build` computes at the first request.

    Raises Refusal (404) if this process does not publish its reference.
    """
    if not context.publishes_reference:
        raise Refusal(ErrorCode.NOT_FOUND)
    documents: dict[str, FixedDocument] = request.app.state.fixed_documents
    path = request.url.path
    if path not in documents:
        # Of simultaneous first requests, only one computes: `compute` runs them one after another.
        documents[path] = await context.compute(lambda: documents.get(path) or FixedDocument.of(build()))
    document = documents[path]
    headers = {**headers, "ETag": document.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if document.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers = document.compressed, {**headers, "Content-Encoding": "gzip"}
    else:
        content = document.plain
    return Response(content, media_type=media_type, headers=headers)
