"""`/faults`: the fault menu as a page: available faults, active faults, and how often each fired."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sandbox import faults as menu
from sandbox.advertisers import Advertisers
from sandbox.pages import Pages, rfc3339
from sandbox.transport import MAX_FORM, TooLarge, read_body, read_form


@dataclass(frozen=True, slots=True)
class MenuItem:
    """One entry of the menu. `fault` fires on every request, unless the page limits how often it fires."""

    name: str
    label: str
    help: str
    fault: menu.AnyFault


MENU: Final[Sequence[MenuItem]] = (
    MenuItem("429", "429 without Retry-After", "429 and no Retry-After header.", menu.Throttled()),
    MenuItem(
        "429_retry_after",
        "429 with Retry-After 10 s",
        "429 with Retry-After: 10.",
        menu.Throttled(retry_after=10),
    ),
    MenuItem(
        "hidden_rate_limit",
        "A hidden rate limit",
        "More than two requests per second get 429.",
        menu.HiddenRateLimit(requests_per_second=2, burst=2),
    ),
    MenuItem(
        "partial_refused",
        "Half of the events refused permanently",
        "207; every second event is refused as invalid.",
        menu.Partial(code="BAD_REQUEST"),
    ),
    MenuItem(
        "partial_failed",
        "Half of the events failed temporarily",
        "207; every second event gets INTERNAL_ERROR.",
        menu.Partial(),
    ),
    MenuItem("400", "Complete request refused", "Every request gets 400.", menu.BadRequest()),
    MenuItem("401", "Access token refused", "Every request gets 401.", menu.Unauthorized()),
    MenuItem(
        "revoked",
        "Sign-in revoked by the user",
        "Existing sign-ins stop working; a new one works.",
        menu.Revoked(),
    ),
    MenuItem("403", "Not allowed for this advertiser", "Every request gets 403.", menu.Forbidden()),
    MenuItem("404", "Unknown address or account", "Every request gets 404.", menu.NotFound()),
    MenuItem("503", "Amazon's servers fail", "Every request gets 503.", menu.Broken()),
    MenuItem("slow", "Slow", "Every response takes three seconds.", menu.Slow(ms=3_000)),
    MenuItem("never", "Never answers", "The connection stays open without a response.", menu.Never()),
    MenuItem(
        "drop_after_accept",
        "Accepts the events, drops the connection",
        "The sender can't tell that the events arrived.",
        menu.DropAfterAccept(),
    ),
    MenuItem(
        "drop_before_accept",
        "Drops the connection, accepts nothing",
        "The sender can't tell that nothing arrived.",
        menu.DropBeforeAccept(),
    ),
    MenuItem(
        "malformed", "Unreadable response", "207 with garbage; the events are accepted.", menu.Malformed()
    ),
    MenuItem("empty_207", "Empty response", "207 with {}.", menu.Empty207()),
    MenuItem("token_5xx", "Token server fails", "503 for every token request.", menu.Token5xx()),
)
_BY_NAME: Final = {item.name: item for item in MENU}
_TIMES: Final = {"": None, "1": 1, "3": 3, "10": 10}


@dataclass(slots=True)
class FaultPage:
    """Show the menu; set or remove faults by the page's forms."""

    faults: menu.FaultBook
    advertisers: Advertisers
    pages: Pages

    async def __call__(self, request: Request) -> Response:
        """GET shows the menu; POST carries `fault`, `advertiser_id` and `times`, or `clear`."""
        if request.method != "POST":
            return self._show()
        try:
            form = read_form(await read_body(request, MAX_FORM))
        except (TooLarge, ValueError):
            return self.pages.problem(400, "The form cannot be read.")
        if "clear" in form:
            self.faults.clear(form["clear"] or None)
            return _redirect_to_page()
        item, owner = _BY_NAME.get(form.get("fault", "")), form.get("advertiser_id", "").strip()
        if item is None or form.get("times", "") not in _TIMES:
            return self.pages.problem(400, "Choose a fault from the menu.")
        if len(owner) > 200:
            return self.pages.problem(400, "The advertiser id is too long.")
        self.faults.set(owner or menu.EVERYONE, [replace(item.fault, times=_TIMES[form.get("times", "")])])
        return _redirect_to_page()

    def _show(self) -> Response:
        return self.pages.show(
            "faults.html",
            menu=MENU,
            advertisers=sorted({one.advertiser_id for one in self.advertisers.all()}),
            armed=[
                {
                    "owner": owner,
                    "everyone": owner == menu.EVERYONE,
                    "label": _label(one.fault),
                    "times": one.fault.times,
                    "fired": one.fired,
                    "ended": one.ended,
                    "set_at": rfc3339(one.set_at),
                }
                for owner, one in self.faults.all()
            ],
        )


def _label(fault: menu.AnyFault) -> str:
    """Return the menu's label of a fault, or its kind if the menu does not have this fault."""
    alike = (item.label for item in MENU if item.fault == replace(fault, times=None))
    return next(alike, menu.kind(fault))


def _redirect_to_page() -> Response:
    return RedirectResponse("/faults", 303)
