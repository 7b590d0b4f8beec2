"""Visits of pages: the route class checks session, scopes and form token before the page gets its visit.

Like the API's routes, a page names its scopes after its path, or is marked `@public`. A page without either
cannot be built. Errors become error pages.

A page of a destination gets a `DestinationVisit`, which also has the header of these pages. The problems of a
form become sentences for its fields, with the status code of the page that shows them.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Annotated, Any, Final, Self
from urllib.parse import SplitResult, quote

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import URL, ImmutableMultiDict
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.admin import Caller, ErrorCode, Problem, Refusal, Scope
from app.admin.access.people import why_not
from app.admin.context import AppContext
from app.admin.destinations import reading
from app.admin.field_problems import field_problems
from app.admin.operations_home import read_condition
from app.api.access.secured_route import Context, SecuredRouter, scopes_of
from app.api.errors import problem_of, status_of
from app.api.http.headers import address_parts
from app.api.http.query_parameters import parameters_of, refused_parameters, without_blanks
from app.api.lists import PAGE_SIZE, Cursor, ListQuery
from app.console import confirmations, pages
from app.console.access import sessions
from app.console.access.sessions import Visitor
from app.console.wording import STATES, health_label, read_integer, state_key
from app.crypto import same_secret
from app.domain.destination import REGION_NAMES, Region, State
from app.domain.ids import DestinationId
from app.store import audit
from app.store.destinations.destinations import Destination

SIGN_IN = "/console/sign-in"
BACK_CHANNEL = "/console/oidc/back-channel-logout"
"""Its form comes from the sign-in service, not from a page of this console, and carries its own proof."""
PAGE = "/console/destinations/{destination_id}"
MAX_FIELDS = 1000
_UTF_8: Final = frozenset({b"utf-8", b"utf8"})
STEP_UP = timedelta(minutes=10)
"""Time after a sign-in in which a person may erase persons and manage keys and organisations."""
_SENSITIVE = frozenset({Scope.ERASE, Scope.KEYS_ADMIN, Scope.ORGANISATIONS_ADMIN})


class SecuredPage(APIRoute):
    """A console route.

    It checks session, scopes, query parameters, form origin and form token, in this order.
    """

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        endpoint = super().get_route_handler()
        # Open pages request the streams of live updates automatically. That keeps no session alive.
        scopes = scopes_of(self.endpoint)
        is_activity = not self.path.endswith("/live")
        parameters = parameters_of(self.dependant, self.endpoint)

        async def handle(request: Request) -> Response:
            context: AppContext = request.app.state.context
            request.state.visitor = None
            try:
                if scopes:
                    note = is_activity and "x-polled" not in request.headers
                    visitor = await sessions.visitor_of(context, request, note=note)
                    if visitor is None:
                        return _to_sign_in(request)
                    request.state.visitor = visitor
                    request.state.context = context.of_caller(visitor.caller)
                    if not visitor.caller.may(*scopes):
                        refusal = Problem(ErrorCode.FORBIDDEN, why_not(visitor.role, scopes))
                        return pages.problem(request, refusal)
                    if request.method == "POST" and _is_too_old(context, visitor, scopes):
                        # The form is not stored, and the page says so.
                        onward = _page_of_form(request)
                        return pages.show(request, "sign_in_afresh.html", status=403, onward=onward)
                if (refused := refused_parameters(request.scope["query_string"], parameters)) is not None:
                    return pages.problem(request, refused)
                # A form also sends its empty fields. Drop these, so that the defaults apply.
                request.scope["query_string"] = without_blanks(request.scope["query_string"])
                if request.method == "POST":
                    form = await _read_form(context, request, is_foreign=self.path == BACK_CHANNEL)
                    if scopes and not same_secret(request.state.visitor.csrf, form.text("csrf")):
                        return _ask_again(request, form)
                return await endpoint(request)
            except ClientDisconnect:
                raise
            except Exception as error:
                return pages.problem(request, problem_of(error))

        return handle


class PageRouter(SecuredRouter):
    """The pages of a module and the actions of their forms, with the scopes that they need."""

    def __init__(self) -> None:
        super().__init__(include_in_schema=False)
        self.route_class = SecuredPage


class PageForm(ImmutableMultiDict[str, str]):
    """The fields of a form that a page sent. A name stands for its last field."""

    def text(self, name: str) -> str:
        """Return a field without surrounding blanks and with LF line ends; empty if absent."""
        return self.get(name, "").replace("\r\n", "\n").strip()

    def number(self, name: str) -> float | str | None:
        """Return a field as a number; None if empty. Another text stays a text, which the models refuse."""
        text = self.text(name)
        if text.isascii() and "_" not in text:
            for read in (int, float) if len(text) < 300 else (float,):  # a longer integer exceeds each float
                with suppress(ValueError):
                    return read(text)
        return text or None

    def hours(self, choices: Sequence[int]) -> int:
        """Return the chosen number of hours, or 0. Raises Refusal for another text."""
        hours = self.text("hours")
        if hours not in map(str, (0, *choices)):
            raise Refusal(ErrorCode.INVALID, "Choose one of the listed times.")
        return int(hours)

    @property
    def version(self) -> frozenset[int] | None:
        """The version that the form showed, which the change expects; None if the form has no version."""
        version = read_integer(self.text("version"), 18)
        return None if version is None else frozenset({version})


def _to_sign_in(request: Request) -> Response:
    """Redirect to the sign-in page. After a GET, the sign-in leads back to this page."""
    if request.headers.get("hx-request"):
        # An open page requested a fragment. A redirect would discard the input that is not saved yet.
        return HTMLResponse(pages.part("session_ended_part.html"), 401)
    if request.method != "GET":
        # The form is lost. After the sign-in, return to the page that sent the form, if the browser names
        # that page.
        return RedirectResponse(f"{SIGN_IN}?unsent=true&next={_page_of_form(request)}", 303)
    return RedirectResponse(f"{SIGN_IN}?next={quote(_address(request.url))}", 303)


def _page_of_form(request: Request) -> str:
    """Return the address of the page that sent the form, quoted; that of the home page if it is unknown."""
    return quote(sessions.safe_next(_address(address_parts(request.headers.get("referer", "")))))


def _address(url: URL | SplitResult) -> str:
    return url.path + (f"?{url.query}" if url.query else "")


def _is_too_old(context: AppContext, visitor: Visitor, scopes: tuple[Scope, ...]) -> bool:
    """Return whether a person must sign in again before this action (erasure, keys, organisations)."""
    return (
        visitor.caller.person is not None
        and set(scopes) <= _SENSITIVE
        and context.now() - visitor.session.signed_in_at > STEP_UP
    )


def _ask_again(request: Request, form: PageForm) -> Response:
    """Ask the person to confirm a form that an earlier session sent. The page carries the input of the form.

    The form's origin was checked, so a console page sent it. Its token belongs to another session, so the
    person must confirm the change.
    """
    if request.headers.get("hx-request"):
        return HTMLResponse(pages.part("signed_in_anew_part.html"), 403)
    fields = [pair for pair in form.multi_items() if pair[0] != "csrf"]
    return pages.show(request, "once_more.html", status=403, action=_address(request.url), fields=fields)


async def _read_form(context: AppContext, request: Request, *, is_foreign: bool) -> PageForm:
    """Return the form, and store it in the request. Raises Refusal (403) if no console page sent it."""
    if not is_foreign and not sessions.comes_from_here(context, request):
        raise Refusal(ErrorCode.FORBIDDEN, "The form was not sent from a page of this console.")
    # The parser of multipart forms takes every codec of Python: some take quadratic time, some raise, some
    # give surrogates. That of URL-encoded forms ignores the charset, which some identity providers name.
    media_type, parameters = parse_options_header(request.headers.get("content-type"))
    charset = parameters.get(b"charset", b"utf-8").lower()
    if media_type == b"multipart/form-data" and charset not in _UTF_8:
        raise Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Send the form in UTF-8.")
    fields = await request.form(max_fields=MAX_FIELDS, max_files=0)
    form = PageForm([(name, str(value)) for name, value in fields.multi_items()])
    if any("\0" in name or "\0" in value for name, value in form.multi_items()):
        raise Refusal(ErrorCode.MALFORMED, "A field contains the character NUL, which is not allowed.")
    request.state.form = form
    return form


# What a form's input or its use case raises.
FormError = ValidationError | Refusal
FORM_ERRORS = (ValidationError, Refusal)
_STALE = "Someone else changed this after you opened the page. Review the change and try again."


def _sentence_of(problem: Problem) -> str:
    """Return the sentence of a problem for a page with a form."""
    return _STALE if problem.code is ErrorCode.STALE else problem.sentence


@dataclass(frozen=True, slots=True)
class Visit:
    """A request with its visitor. `context` acts for the organisation of the visitor."""

    request: Request
    context: AppContext
    visitor: Visitor
    error: FormError | None = field(default=None, kw_only=True)

    def refused(self, error: FormError) -> Self:
        """Return this visit with the error of its form. The page then shows the form again."""
        return replace(self, error=error)

    @property
    def typed(self) -> dict[str, str]:
        """The fields of a form that is shown again with its error; empty for any other page."""
        if self.error is None:
            return {}
        form: PageForm = self.request.state.form
        return {name: form.text(name) for name in form}

    @property
    def problems(self) -> tuple[dict[str, str], int]:
        """A sentence for each field of the refused form, and the status code of the page.

        The field "" means the complete form. A validator of this project may have its own message. That
        message is then the sentence.
        """
        if self.error is None:
            return {}, 200
        if isinstance(self.error, Refusal):
            problem = self.error.problem
            return pages.of_fields(problem.fields) or {"": _sentence_of(problem)}, status_of(problem)
        errors = self.error.errors(include_url=False, include_input=False)
        sentences = pages.of_fields(field_problems(errors))
        for each in errors:
            if each["type"] in ("invalid", "entity_id") and each["msg"] != each["type"]:
                sentences[".".join(map(str, each["loc"]))] = each["msg"]
        return sentences, 422

    @property
    def caller(self) -> Caller:
        """Return the visitor in the form in which use cases expect a caller."""
        return self.visitor.caller

    def sign_in_origin(self, region: Region) -> str:
        """Return the origin of Amazon's sign-in page. The connect button redirects to this page."""
        url = self.context.sign_in.authorize_url(region, state="-", code_verifier="-" * 43)
        return sessions.origin_of(url)

    async def renewed(self) -> Self:
        """Return this visit with what it loaded read again. Raises Refusal if it no longer exists."""
        return self

    async def header(self) -> dict[str, Any]:
        """Return the content that all pages of this kind have."""
        return {}

    async def show(self, template: str, **content: Any) -> HTMLResponse:
        """Return a page. `pages.show` has the arguments.

        The error of a form gives the page its status code, a sentence, the sentences at the fields, and the
        typed values.
        """
        problems, status = self.problems
        refused = _sentence_of(self.error.problem) if isinstance(self.error, Refusal) else None
        own = {"problems": problems, "status": status, "refused": refused, "typed": self.typed}
        return pages.show(self.request, template, **{**own, **await self.header(), **content})

    def part(self, template: str, **content: Any) -> HTMLResponse:
        """Return a fragment that an open page requests."""
        return HTMLResponse(pages.part(template, visitor=self.visitor, **content))

    def done(self, action: str, address: str, number: int | None = None) -> RedirectResponse:
        """Redirect after an action; the next page shows what it did. `confirmations` has the sentences.

        Names in braces in the address stand for the parameters of this request's path.
        """
        address = address.format(**self.request.path_params)
        return confirmations.redirect(self.context, address, action, number)

    async def names(self, ids: Iterable[str | None]) -> Mapping[str, str]:
        """Return the names of the keys, people, destinations and mappings with these ids."""
        if not (known := list(filter(None, ids))):
            return {}
        async with self.context.engine.connect() as connection:
            return await audit.names(connection, known)


@dataclass(frozen=True, slots=True)
class DestinationVisit(Visit):
    """A request for a page of a destination, which the visitor may see."""

    destination: Destination

    @property
    def on(self) -> tuple[AppContext, DestinationId]:
        """The first arguments of a use case: `delete_mapping(*visit.on, mapping_id, expected)`."""
        return self.context, self.destination.id

    @property
    def here(self) -> str:
        """The address of the destination's page."""
        return f"/console/destinations/{self.destination.id}"

    async def renewed(self) -> Self:
        """Return this visit with the destination as it is now. Raises Refusal if it no longer exists."""
        async with reading(self.context, self.destination.id) as (_, found):
            return replace(self, destination=found)

    async def header(self) -> dict[str, Any]:
        """Return the content of the header. Its template sets `tab`."""
        found = self.destination
        may_change = found.state is not State.ARCHIVED
        condition = await read_condition(self.context, found.id) if may_change else None
        return {
            "destination": found,
            "health": health_label(condition) if condition else STATES[state_key(found)],
            "region": REGION_NAMES[found.region],
            "may_write": may_change and self.caller.may(Scope.DESTINATIONS_WRITE),
            "may_replay": may_change and self.caller.may(Scope.REPLAY),
            "may_read_events": self.caller.may(Scope.EVENTS_READ),
            "development": self.context.development,
            "amazon": self.sign_in_origin(found.region),
        }


async def _visit(request: Request) -> Visit:
    return Visit(request, request.state.context, request.state.visitor)


async def _list_query(context: Context, cursor: Cursor = None) -> ListQuery:
    return ListQuery(context, PAGE_SIZE, cursor)


async def _form(request: Request) -> PageForm:
    form: PageForm = request.state.form
    return form


# Annotated types for the parameters of routes.
CurrentVisit = Annotated[Visit, Depends(_visit)]
Form = Annotated[PageForm, Depends(_form)]
Paging = Annotated[ListQuery, Depends(_list_query)]


async def _destination_visit(visit: CurrentVisit, destination_id: str) -> DestinationVisit:
    async with reading(visit.context, destination_id) as (_, found):
        return DestinationVisit(visit.request, visit.context, visit.visitor, found)


CurrentDestination = Annotated[DestinationVisit, Depends(_destination_visit)]
"""The visit of a page of a destination. Its route answers 404 if the visitor may not see the destination."""
