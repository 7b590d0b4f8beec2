"""Hash tester: show how a typed value becomes a match key.

The value is only in the request body and never stored.
"""

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from app.admin import catalog
from app.admin.access import Scope
from app.admin.inputs import HashRequest
from app.admin.privacy.hash_value import RULES, HashResult, hash_value
from app.admin.refusals import Refusal
from app.api.access.secured_route import requires
from app.console import form_view, pages
from app.console.access.secured_page import Form, page_router
from app.domain.mapping.fields import FIELDS

router = page_router()

PAGE = "/console/hash-tester"
_DEFAULTS = {"field": "email", "country": "US", "identity_profile": "amazon"}
_FIELDS = [(name, FIELDS[name].label) for name in RULES if name in FIELDS]


@router.get(PAGE)
@requires(Scope.DESTINATIONS_READ)
async def page(request: Request) -> Response:
    """Show the form."""
    return _show(request, _DEFAULTS)


@router.post(PAGE)
@requires(Scope.DESTINATIONS_READ)
async def show_hash(request: Request, form: Form) -> Response:
    """Show the match key of the typed value in this response only."""
    chosen = {name: form.text(name) or default for name, default in _DEFAULTS.items()}
    body = {**chosen, "value": str(form.get("value") or "")}
    try:
        result = hash_value(HashRequest.model_validate(body))
    except (ValidationError, Refusal) as error:
        problems, status = form_view.problems_of(error)
        return _show(request, chosen, problems=problems, status=status)
    return _show(request, chosen, result=result)


def _show(
    request: Request,
    chosen: dict[str, str],
    *,
    result: HashResult | None = None,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    profiles = next(field.options for field in catalog.AMAZON.fields if field.name == "identity_profile")
    response = pages.show(
        request,
        "hash_tester.html",
        status=status,
        fields=_FIELDS,
        profiles=profiles,
        chosen=chosen,
        result=result,
        problems=problems or {},
    )
    response.headers["Cache-Control"] = "no-store"
    return response
