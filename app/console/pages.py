"""Pages rendered: one environment of templates, one policy on every page, one shape for what goes wrong."""

import re
from pathlib import Path
from typing import Any

import msgspec
from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from app.admin.refusals import Problem, error_body
from app.api.errors import error_response, status_of
from app.api.negotiation import wants
from app.console import assets
from app.console.form_view import of_fields
from app.console.sessions import Visitor

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals["asset"] = assets.address

_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC")


def timed(sentence: str) -> Markup:
    """Return a sentence of the API with its times marked as such, so that each viewer reads their own."""
    marked = r'<time datetime="\1T\2Z" data-seconds>\1 \2 UTC</time>'
    return Markup(_TIME.sub(marked, str(escape(sentence))))  # noqa: S704 - escaped before the marks are set


_TEMPLATES.filters["timed"] = timed

# Nothing from elsewhere, nothing inline: no name that a person typed can become a script here.
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)


def show(
    request: Request, template: str, *, status: int = 200, leads_to: str = "", **content: Any
) -> HTMLResponse:
    """Return a page. `leads_to` is an origin that one of its forms may lead to, besides our own.

    Browsers hold the redirect after a form to `form-action` as well, so the page with the button that opens
    Amazon's sign-in must name where that leads.
    """
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    html = _TEMPLATES.get_template(template).render(visitor=visitor, path=request.url.path, **content)
    policy = f"{POLICY} {leads_to}".rstrip()
    # Not no-referrer: with that, browsers send `Origin: null` from our own forms too.
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "same-origin"}
    return HTMLResponse(html, status, headers)


def part(template: str, **content: Any) -> str:
    """Return a part of a page, for a page that asks for it while it is open."""
    return _TEMPLATES.get_template(template).render(**content)


def problem(request: Request, found: Problem) -> Response:
    """Return the page that says what went wrong, with the status that the API would answer."""
    fragment = bool(request.headers.get("hx-request"))
    if not fragment and not wants(request, "text/html"):
        return error_response(found)  # who asks for no page gets the one shape that the API answers in
    body = error_body(found)
    content = {"title": _TITLES.get(status_of(found), "That did not work"), "detail": body["detail"]}
    # Fields have no marks on this page; what is wrong with them is told in its sentence.
    if told := of_fields(found.fields):
        content["detail"] = " ".join(f"{name}: {sentence}" for name, sentence in told.items())
    if fragment:
        return HTMLResponse(part("problem_part.html", **content), status_of(found))
    within = _DESTINATION.match(request.url.path) if status_of(found) != 404 else None
    back = within[0] if within else None
    return show(request, "problem.html", status=status_of(found), word=body["error"], back=back, **content)


_DESTINATION = re.compile(r"/console/destinations/dst_[0-9a-z]+", re.ASCII)


_TITLES = {
    403: "Not allowed",
    404: "Nothing is here",
    409: "That cannot be done now",
    412: "Somebody was faster",
    413: "Too large",
    503: "The database is away",
    500: "Something broke here",
}

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def plain(answered: Any) -> Any:
    """Return what an API route answers as its callers see it: JSON values, times as text."""
    body = answered.body if isinstance(answered, Response) else _ENCODER.encode(answered)
    return msgspec.json.decode(bytes(body))
