"""The entrance of every page: who comes in is settled first, and what goes wrong is told on a page.

A page says whom it is for by `@needs(scope)` or `@open_to_all`, as the API's routes do; one that says neither
cannot be built. A form is read here, after its origin and its token were checked.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response

from app.web.console import pages, visitors
from app.web.console.visitors import Visitor
from app.web.door import scopes_of
from app.web.errors import Problem, Refusal, Word, problem_of
from app.web.wiring import Wiring

logger = logging.getLogger("app.web.console")

SIGN_IN = "/console/sign-in"
MOST_FIELDS = 400
_NOT_YOURS = Problem(Word.FORBIDDEN, "Your key does not allow this. Ask an admin for another.")


class Entrance(APIRoute):
    """A route of the console."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        if not hasattr(endpoint, "__scopes__"):
            raise TypeError(f"{path}: say who may come in, with @needs(...) or @open_to_all")
        super().__init__(path, endpoint, **settings)

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        within = super().get_route_handler()
        scopes = scopes_of(self.endpoint)

        async def handle(request: Request) -> Response:
            wired: Wiring = request.app.state.wiring
            request.state.visitor = None
            try:
                if scopes:
                    visitor = await visitors.visitor_of(wired, request)
                    if visitor is None:
                        return _to_sign_in(request)
                    request.state.visitor, request.state.caller = visitor, visitor.caller
                    if not visitor.caller.may(*scopes):
                        return pages.problem(request, _NOT_YOURS)
                if request.method == "POST":
                    await _read_form(wired, request)
                return await within(request)
            except ClientDisconnect:
                raise
            except Exception as error:
                return pages.problem(request, problem_of(error))

        return handle


def _to_sign_in(request: Request) -> Response:
    """Lead to the sign-in page, and back here afterwards where that is harmless."""
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    address = f"{SIGN_IN}?next={quote(back)}" if request.method == "GET" else SIGN_IN
    if request.headers.get("hx-request"):
        # A fragment of a page: the whole page must go, or the sign-in would appear inside it.
        return Response(status_code=204, headers={"HX-Redirect": SIGN_IN})
    return RedirectResponse(address, 303)


async def _read_form(wired: Wiring, request: Request) -> None:
    """Leave the form where routes find it. Raises Refusal (403) for one that no page of ours sent."""
    if not visitors.comes_from_here(wired, request):
        raise Refusal(Word.FORBIDDEN, "The form was not sent from a page of this console.")
    form = await request.form(max_fields=MOST_FIELDS, max_files=0)
    visitor: Visitor | None = request.state.visitor
    if visitor is not None and form.get("csrf") != visitor.csrf:
        raise Refusal(Word.FORBIDDEN, "The page was older than your session. Open it again and repeat it.")
    if any("\0" in name or "\0" in str(value) for name, value in form.multi_items()):
        raise Refusal(Word.MALFORMED, "A field holds the character NUL, which none takes.")
    request.state.form = form


async def _visitor(request: Request) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


async def _form(request: Request) -> FormData:
    form: FormData = request.state.form
    return form


# What routes take as arguments.
Visiting = Annotated[Visitor, Depends(_visitor)]
Form = Annotated[FormData, Depends(_form)]


def text(form: FormData, name: str) -> str:
    """Return a field of a form with the line ends that JSON and people expect, or nothing."""
    value = form.get(name)
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else ""


def matching(request: Request, version: str) -> Request:
    """Return the request as if it carried If-Match: a form is a change to what its page had shown."""
    if not version.isascii() or not version.isdigit():
        return request
    headers = [*request.scope["headers"], (b"if-match", f'"{version}"'.encode())]
    return Request({**request.scope, "headers": headers})
