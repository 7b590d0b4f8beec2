"""`/faults`: the fault menu for people: what can go wrong, what is set, and how often it struck."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sandbox import faults as menu
from sandbox.advertisers import Advertisers
from sandbox.pages import Pages, rfc3339
from sandbox.transport import MAX_FORM, TooLarge, read_body, read_form


@dataclass(frozen=True, slots=True)
class Dish:
    """One line of the menu; `make` takes how many times it shall strike, None for always."""

    name: str
    label: str
    help: str
    make: Callable[[int | None], menu.AnyFault]


MENU: Final[Sequence[Dish]] = (
    Dish(
        "429",
        "Too many requests, without a hint",
        "429 and no Retry-After.",
        lambda times: menu.Throttled(times=times),
    ),
    Dish(
        "429_retry_after",
        "Too many requests, wait 10 s",
        "429 with Retry-After: 10.",
        lambda times: menu.Throttled(times=times, retry_after=10),
    ),
    Dish(
        "hidden_rate_limit",
        "A hidden rate limit",
        "More than two requests a second are answered 429.",
        lambda times: menu.HiddenRateLimit(times=times, requests_per_second=2, burst=2),
    ),
    Dish(
        "partial_refused",
        "Half of the events refused for good",
        "207; every second event is refused as invalid.",
        lambda times: menu.Partial(times=times, code="BAD_REQUEST"),
    ),
    Dish(
        "partial_failed",
        "Half of the events to be sent again",
        "207; every second event gets INTERNAL_ERROR.",
        lambda times: menu.Partial(times=times),
    ),
    Dish("400", "The whole request refused", "400.", lambda times: menu.BadRequest(times=times)),
    Dish("401", "Access token refused", "401.", lambda times: menu.Unauthorized(times=times)),
    Dish(
        "revoked",
        "Sign-in revoked by the user",
        "Sign-ins made until now are dead; a new one works.",
        lambda times: menu.Revoked(times=times),
    ),
    Dish("403", "Not allowed for this advertiser", "403.", lambda times: menu.Forbidden(times=times)),
    Dish("404", "Unknown address or account", "404.", lambda times: menu.NotFound(times=times)),
    Dish("503", "Amazon's servers fail", "503.", lambda times: menu.Broken(times=times)),
    Dish("slow", "Slow", "Every answer takes three seconds.", lambda times: menu.Slow(times=times, ms=3_000)),
    Dish(
        "never", "Never answers", "The connection stays open, silent.", lambda times: menu.Never(times=times)
    ),
    Dish(
        "drop_after_accept",
        "Takes the events, drops the connection",
        "The sender cannot know that they arrived.",
        lambda times: menu.DropAfterAccept(times=times),
    ),
    Dish(
        "drop_before_accept",
        "Drops the connection, takes nothing",
        "The sender cannot know that either.",
        lambda times: menu.DropBeforeAccept(times=times),
    ),
    Dish(
        "malformed",
        "An answer that cannot be read",
        "207 with garbage; the events were taken.",
        lambda times: menu.Malformed(times=times),
    ),
    Dish("empty_207", "An empty answer", "207 with {}.", lambda times: menu.Empty207(times=times)),
    Dish(
        "token_5xx",
        "Token server fails",
        "503 for every token request.",
        lambda times: menu.Token5xx(times=times),
    ),
)
_BY_NAME: Final = {dish.name: dish for dish in MENU}
_TIMES: Final = {"": None, "1": 1, "3": 3, "10": 10}


@dataclass(slots=True)
class FaultPage:
    """Show the menu; set or take away a fault by the page's forms."""

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
            return _again()
        dish, owner = _BY_NAME.get(form.get("fault", "")), form.get("advertiser_id", "").strip()
        if dish is None or form.get("times", "") not in _TIMES:
            return self.pages.problem(400, "Choose a fault of the menu.")
        if len(owner) > 200:
            return self.pages.problem(400, "An advertiser id is shorter than that.")
        self.faults.set(owner or menu.EVERYONE, [dish.make(_TIMES[form.get("times", "")])])
        return _again()

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
    """Return what the menu calls a fault; one that was set through the API in another form, its own word."""
    alike = (dish.label for dish in MENU if dish.make(fault.times) == fault)
    return next(alike, menu.kind(fault))


def _again() -> Response:
    return RedirectResponse("/faults", 303)
