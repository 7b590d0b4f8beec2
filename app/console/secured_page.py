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
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.admin.context import AppContext
from app.admin.refusals import ErrorCode, Problem, Refusal
from app.api.errors import problem_of
from app.api.headers import address_parts
from app.api.query_parameters import parameters_of, refused_parameters, without_blanks
from app.api.secured_route import scopes_of
from app.console import pages, sessions
from app.console.sessions import Visitor

logger = logging.getLogger("app.console")

SIGN_IN = "/console/sign-in"
MOST_FIELDS = 400
_NOT_YOURS = Problem(ErrorCode.FORBIDDEN, "Your key does not allow this. Ask an admin for another.")


class SecuredPage(APIRoute):
    """A route of the console."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        if not hasattr(endpoint, "__scopes__"):
            raise TypeError(f"{path}: say who may come in, with @needs(...) or @open_to_all")
        super().__init__(path, endpoint, **settings)

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        within = super().get_route_handler()
        scopes = scopes_of(self.endpoint)
        parameters = parameters_of(self.dependant, self.endpoint)

        async def handle(request: Request) -> Response:
            context: AppContext = request.app.state.context
            request.state.visitor = None
            try:
                if scopes:
                    visitor = await sessions.visitor_of(context, request)
                    if visitor is None:
                        return _to_sign_in(request)
                    request.state.visitor, request.state.caller = visitor, visitor.caller
                    if not visitor.caller.may(*scopes):
                        return pages.problem(request, _NOT_YOURS)
                if (refused := refused_parameters(request.scope["query_string"], parameters)) is not None:
                    return pages.problem(request, refused)
                # A form sends its empty fields too: what they leave out has its default.
                request.scope["query_string"] = without_blanks(request.scope["query_string"])
                if request.method == "POST":
                    await _read_form(context, request)
                    if scopes and request.state.form.get("csrf") != request.state.visitor.csrf:
                        return _once_more(request)
                return await within(request)
            except ClientDisconnect:
                raise
            except Exception as error:
                return pages.problem(request, problem_of(error))

        return handle


def _to_sign_in(request: Request) -> Response:
    """Lead to the sign-in page, and back here afterwards where that is harmless."""
    if request.headers.get("hx-request"):
        # A fragment of a page that somebody may have typed into: leading away would lose that.
        return HTMLResponse(pages.part("session_ended_part.html"), 401)
    if request.method != "GET":
        # What was sent is not kept, but its page is opened again, where the browser says which that was.
        page = address_parts(request.headers.get("referer", ""))
        back = page.path + (f"?{page.query}" if page.query else "")
        return RedirectResponse(f"{SIGN_IN}?unsent=1&next={quote(sessions.safe_next(back))}", 303)
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{SIGN_IN}?next={quote(back)}", 303)


def _once_more(request: Request) -> Response:
    """Ask whether a form of an earlier session shall be sent in this one; what was typed is in the question.

    Its origin was checked, so a page of ours sent it; without its session's token nothing is done unasked.
    """
    if request.headers.get("hx-request"):
        return HTMLResponse(pages.part("signed_in_anew_part.html"), 403)
    form: FormData = request.state.form
    fields = [
        (name, value) for name, value in form.multi_items() if name != "csrf" and isinstance(value, str)
    ]
    action = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return pages.show(request, "once_more.html", status=403, action=action, fields=fields)


async def _read_form(context: AppContext, request: Request) -> None:
    """Leave the form where routes find it. Raises Refusal (403) for one that no page of ours sent."""
    if not sessions.comes_from_here(context, request):
        raise Refusal(ErrorCode.FORBIDDEN, "The form was not sent from a page of this console.")
    form = await request.form(max_fields=MOST_FIELDS, max_files=0)
    if any("\0" in name or "\0" in str(value) for name, value in form.multi_items()):
        raise Refusal(ErrorCode.MALFORMED, "A field holds the character NUL, which none takes.")
    request.state.form = form


async def _visitor(request: Request) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


async def _form(request: Request) -> FormData:
    form: FormData = request.state.form
    return form


# What routes take as arguments.
CurrentVisitor = Annotated[Visitor, Depends(_visitor)]
Form = Annotated[FormData, Depends(_form)]


def form_text(form: FormData, name: str) -> str:
    """Return a field of a form with the line ends that JSON and people expect, or nothing."""
    value = form.get(name)
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else ""


def with_if_match(request: Request, version: str) -> Request:
    """Return the request as if it carried If-Match: a form is a change to what its page had shown."""
    if not version.isascii() or not version.isdigit():
        return request
    headers = [*request.scope["headers"], (b"if-match", f'"{version}"'.encode())]
    return Request({**request.scope, "headers": headers})
