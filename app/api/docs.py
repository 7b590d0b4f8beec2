"""The API reference: one page rendered from the OpenAPI description, without external assets."""

import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.api.secured_route import SecuredRoute, public

router = APIRouter(route_class=SecuredRoute, include_in_schema=False)

_HERE = Path(__file__).parent
_TEMPLATES = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined
)
_STYLE = (_HERE / "assets" / "docs.css").read_text()
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_A_DAY = "public, max-age=86400"


@router.get("/openapi.json", summary="Read the OpenAPI description", response_model=None)
@public
async def description(request: Request) -> Response:
    """Return the OpenAPI description."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", summary="Read the API reference", response_model=None)
@public
async def page(request: Request) -> Response:
    """Return the API reference page."""
    return HTMLResponse(render(request.app.openapi()), headers={"Content-Security-Policy": POLICY})


@router.get("/docs/docs.css", summary="Read the reference's style sheet", response_model=None)
@public
async def style() -> Response:
    """Return the style sheet of the page."""
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": _A_DAY})


def render(described: dict[str, Any]) -> str:
    """Return the page of an OpenAPI description. Pure."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(path, method.upper(), operation))
    return _TEMPLATES.get_template("docs.html").render(
        title=described["info"]["title"],
        version=described["info"]["version"],
        introduction=_paragraphs(described["info"].get("description", "")),
        groups=[{"name": name, "operations": operations} for name, operations in groups.items()],
        schemas=[
            {"name": name, "schema": _pretty(schema)}
            for name, schema in sorted(described["components"]["schemas"].items())
        ],
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {})
    return {
        "anchor": operation["operationId"],
        "path": path,
        "method": method,
        "summary": operation.get("summary", ""),
        "description": _paragraphs(operation.get("description", "")),
        "parameters": [_parameter(parameter) for parameter in operation.get("parameters", ())],
        "body": "\n\n".join(
            f"{media_type}\n{_pretty(content.get('schema', {}))}" for media_type, content in body.items()
        ),
        "responses": [
            {"status": status, "meaning": response.get("description", "")}
            for status, response in sorted(operation.get("responses", {}).items())
        ],
    }


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    schema = parameter.get("schema", {})
    alternatives = [schema, *schema.get("anyOf", ())]
    return {
        "name": parameter["name"],
        "in": parameter["in"],
        "required": parameter.get("required", False),
        "type": ", ".join(
            str(each["type"]) for each in alternatives if each.get("type") not in (None, "null")
        ),
        "meaning": parameter.get("description", schema.get("description", "")),
    }


def _paragraphs(text: str) -> list[str]:
    return [paragraph.replace("`", "") for paragraph in text.split("\n\n") if paragraph.strip()]


def _pretty(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False)
