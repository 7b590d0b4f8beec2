"""Render pages: one template environment, one navigation, one content security policy, one error page.

The navigation has the pages that a visitor may open, and says what each locked page needs. Also the sentences
for invalid fields of a form.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from app.admin import FieldProblem, Problem, Scope, error_body
from app.admin.access.people import roles_with
from app.admin.context import AppContext
from app.admin.field_problems import MAPPING_WORDS, OWN_WORDS
from app.api.errors import error_response, status_of
from app.api.events.filters import JOURNEY_LABELS
from app.api.http.headers import wants
from app.console import assets, confirmations, wording
from app.console.access.sessions import Visitor
from app.domain.conversion.amazon_codes import EVENT_TYPES
from app.domain.destination import REGION_NAMES
from app.domain.toml_files import read_toml
from app.store.access.sessions import ABSOLUTE, IDLE

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# JSON in attributes: as short as can be.
TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
TEMPLATES.globals |= {
    "Scope": Scope,
    "asset": assets.address,
    "journey_labels": JOURNEY_LABELS,
    "statuses": wording.EVENT_STATUSES,
    "regions": REGION_NAMES,
    "types": EVENT_TYPES,
    "session_limits": (IDLE.total_seconds(), ABSOLUTE.total_seconds()),
    "most_listed": 200,  # destinations in a menu; with more, their id is typed
}

_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC")


def timed(sentence: str) -> Markup:
    """Return a sentence of the API as HTML.

    Its times become `<time>` elements, which browsers show in local time.
    """
    element = r'<time datetime="\1T\2Z" data-seconds>\1 \2 UTC</time>'
    return Markup(_TIME.sub(element, str(escape(sentence))))  # noqa: S704 - escaped before the elements are added


def quoted(text: str) -> Markup:
    """Return JSON for an HTML attribute in single quotes, or for the text of an element.

    Quotation marks are not escaped, because each escaped mark would take five bytes more.
    """
    return Markup(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;"))  # noqa: S704 - escaped here


TEMPLATES.filters |= {function.__name__: function for function in (*wording.FILTERS, timed, quoted)}


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """A page of the navigation. If the visitor may not open it, `needs` says what is needed."""

    address: str
    label: str
    is_current: bool
    needs: str = ""


_ANY: Final = tuple(Scope)
# The address, label and scopes of each page. A visitor needs one of the scopes. The first line is always
# visible.
MAIN: Final[Sequence[tuple[str, str, tuple[Scope, ...]]]] = (
    ("/console", "Destinations", (Scope.DESTINATIONS_READ,)),
    ("/console/events", "Events", (Scope.EVENTS_READ,)),
    ("/console/incidents", "Incidents", (Scope.DESTINATIONS_READ,)),
    ("/console/privacy", "Privacy", (Scope.ERASE,)),
    ("/console/audit", "Audit", (Scope.KEYS_ADMIN,)),
    ("/console/settings", "Settings", _ANY),
)
MORE: Final[Sequence[tuple[str, str, tuple[Scope, ...]]]] = (
    ("/console/event-names", "Event names", (Scope.DESTINATIONS_READ,)),
    ("/console/notifications", "Notifications", (Scope.DESTINATIONS_READ,)),
    ("/console/system", "System", (Scope.DESTINATIONS_READ, Scope.ORGANISATIONS_ADMIN)),
    ("/console/hash-tester", "Hash tester", (Scope.DESTINATIONS_READ,)),
    ("/console/keys", "Keys", (Scope.KEYS_ADMIN,)),
    ("/console/sessions", "Sessions", (Scope.KEYS_ADMIN,)),
    ("/console/organisations", "Organisations", (Scope.ORGANISATIONS_ADMIN,)),
)
_OF_ALL_DESTINATIONS: Final = ("/console/privacy", "/console/system")
_OF_ORGANISATION: Final = ("/console/keys", "/console/sessions", "/console/organisations")


@dataclass(frozen=True, slots=True)
class Navigation:
    """The navigation of a visitor. `locked` contains the pages that the visitor's role may not open."""

    main: Sequence[NavigationItem]
    more: Sequence[NavigationItem]
    locked: Sequence[NavigationItem]

    @property
    def organisation(self) -> list[NavigationItem]:
        """The pages about the organisation and who has access to it, for the menu at its name."""
        return [item for item in self.more if item.address in _OF_ORGANISATION]


def navigation_of(visitor: Visitor, path: str) -> Navigation:
    """Return the navigation of a visitor. Only the platform role sees Organisations."""
    main = [_item(visitor, path, *row) for row in MAIN]
    more = [
        _item(visitor, path, *row)
        for row in MORE
        if visitor.caller.is_platform or row[2] != (Scope.ORGANISATIONS_ADMIN,)
    ]
    return Navigation(
        main=[item for item in main if not item.needs],
        more=[item for item in more if not item.needs],
        locked=[item for item in (*main, *more) if item.needs],
    )


def _item(visitor: Visitor, path: str, address: str, label: str, scopes: tuple[Scope, ...]) -> NavigationItem:
    below = "/console/destinations" if address == "/console" else address
    is_current = path == address or path.startswith(below)
    needs = "" if visitor.caller.may(*scopes) else f"the role {', '.join(roles_with(scopes))}"
    if not needs and address in _OF_ALL_DESTINATIONS and visitor.caller.destination_ids is not None:
        needs = "a key for all destinations"
    return NavigationItem(address, label, is_current, needs)


# Pages load no external and no inline resources. So text from users cannot run as a script.
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
# With no-referrer, browsers would send `Origin: null` even from this console's own forms.
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}


def show(
    request: Request, template: str, *, status: int = 200, leads_to: str = "", **content: Any
) -> HTMLResponse:
    """Return a page. `leads_to` are other origins, separated by blanks, that its forms redirect to.

    Browsers apply `form-action` to the redirect after a form too, so the page whose button opens Amazon's
    sign-in must name its origin.
    """
    context: AppContext = request.app.state.context
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    done = confirmations.confirmation_of(request) if visitor is not None else None
    html = TEMPLATES.get_template(template).render(
        visitor=visitor,
        navigation=None if visitor is None else navigation_of(visitor, request.url.path),
        later="cursor" in request.query_params,
        context=context,
        done=done,
        **content,
    )
    headers = {**HEADERS, "Content-Security-Policy": f"{POLICY} {leads_to}".rstrip()}
    response = HTMLResponse(html, status, headers)
    if done is not None:
        confirmations.forget(context, response)
    return response


def part(template: str, **content: Any) -> str:
    """Return a fragment that an open page requests."""
    return TEMPLATES.get_template(template).render(**content)


def problem(request: Request, found: Problem) -> Response:
    """Return the error page of a problem. It has the same status code as in the API."""
    fragment = bool(request.headers.get("hx-request"))
    if not fragment and not wants(request, "text/html"):
        return error_response(found)  # a client that accepts no HTML gets JSON
    body = error_body(found)
    content = {"title": _TITLES.get(status_of(found), "Something went wrong"), "detail": body["detail"]}
    # This page has no form, so its sentence must name the invalid fields.
    if sentences := of_fields(found.fields):
        content["detail"] = " ".join(f"{name}: {sentence}" for name, sentence in sentences.items())
    if fragment:
        return HTMLResponse(part("problem_part.html", **content), status_of(found))
    destination = _DESTINATION.match(request.url.path) if status_of(found) != 404 else None
    back = destination[0] if destination else None
    return show(request, "problem.html", status=status_of(found), code=body["error"], back=back, **content)


_DESTINATION = re.compile(r"/console/destinations/dst_[0-9a-z]+", re.ASCII)


_TITLES = {
    403: "Not allowed",
    404: "Page not found",
    409: "Not possible now",
    412: "Changed by someone else",
    413: "Too large",
    422: "Check your input",
    429: "Too many at once",
    503: "Database unavailable",
    500: "Internal error",
}


# Sentences for problem codes in forms. A code without an own sentence here has that of the API
# documentation.
_SENTENCES: Mapping[str, str] = {**MAPPING_WORDS, **OWN_WORDS, **read_toml(__file__)}


def of_fields(fields: Sequence[FieldProblem]) -> dict[str, str]:
    """Return a sentence for each field, about its first problem."""
    sentences: dict[str, str] = {}
    for field in fields:
        usual = _SENTENCES.get(field.problem, f"Invalid: {field.problem}.")
        sentences.setdefault(field.field, field.sentence or usual)
    return sentences
