"""The preflight checklist: one function a line, each a pure judgement of what is known, in working order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.domain.destination import REGION_NAMES, State
from app.store.amazon_accounts import Account, Confirmation
from app.store.destinations import Destination

Status = Literal["ok", "failed", "unknown"]
CLOCK_TOLERANCE_S = 5.0
ENTITY_HINT = (
    "The advertiser id is the number beside the advertiser's name in the DSP console; "
    "an id that begins with ENTITY is another one."
)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to check: how it stands, what to do in a sentence, and who can do it."""

    name: str
    status: Status
    detail: str
    who: str


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that the lines look at. `asked` is what Amazon answered just now, None where not asked."""

    destination: Destination
    configured: bool
    account: Account | None
    asked: Visible | NotVisible | CannotTell | None
    confirmed: Mapping[str, Confirmation]
    accepted: bool
    delivered: int
    seconds_apart: float


def checklist(known: Known) -> list[Line]:
    """Return every line, in the order in which one would work through them."""
    return [
        _credentials(known),
        _sign_in(known),
        _account(known),
        _region(known),
        _currency(known),
        _permission(known),
        _terms(known),
        _mapping(known),
        _state(known),
        _first_event(known),
        _clock(known),
    ]


def _credentials(known: Known) -> Line:
    if known.configured:
        return Line("credentials", "ok", "The Amazon application's id and secret are set.", "operator")
    return Line(
        "credentials", "failed", "Set AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET and restart.", "operator"
    )


_REASONS = {
    "revoked": "The sign-in was revoked or has expired at Amazon.",
    "unauthorized": "Amazon refused the sign-in even with a fresh token.",
    "forbidden": "Amazon says that the signed-in user may not send for this advertiser.",
    "disconnected": "The destination was disconnected here.",
}
_NOT_FOUND = (
    "Amazon answers 404: it does not know this address or advertiser account. Check the region and the "
    "advertiser id. One request is tried every 5 minutes; sending resumes automatically."
)


def _sign_in(known: Known) -> Line:
    match known.destination.sign_in:
        case "valid":
            return Line("sign_in", "ok", "Amazon showed this advertiser to the signed-in user.", "advertiser")
        case "broken" if known.destination.sign_in_reason == "endpoint_not_found":
            return Line("sign_in", "ok", "The sign-in is in order; see account.", "advertiser")
        case "broken":
            why = _REASONS[known.destination.sign_in_reason or "revoked"]
            return Line("sign_in", "failed", f"{why} Connect again; events wait meanwhile.", "advertiser")
        case _:
            return Line(
                "sign_in", "failed", "Connect the destination and click Allow at Amazon.", "advertiser"
            )


def _account(known: Known) -> Line:
    if known.destination.sign_in_reason == "endpoint_not_found":
        return Line("account", "failed", _NOT_FOUND, "team")
    match known.asked:
        case Visible(name=name):
            called = _called(name)
            return Line("account", "ok", f"Amazon shows this advertiser{called}.", "advertiser")
        case NotVisible(ids=ids):
            return Line("account", "failed", not_visible(ids), "advertiser")
        case CannotTell():
            return Line("account", "unknown", "Amazon could not be asked just now. Look again.", "nobody")
        case None if known.account is not None:
            called = _called(known.account.name)
            day = known.account.seen_at.strftime("%Y-%m-%d")
            return Line("account", "ok", f"Amazon showed this advertiser{called}, on {day}.", "advertiser")
        case None:
            return Line(
                "account", "unknown", "Amazon is asked when the destination is connected.", "advertiser"
            )


def _called(name: str | None) -> str:
    # A name that was scrubbed of what might be a person's says nothing any more.
    return f", called {name}" if name and "***" not in name else ""


def not_visible(ids: tuple[str, ...]) -> str:
    """Say which advertisers the sign-in sees instead."""
    seen = f"It sees {', '.join(ids)}." if ids else "It sees no advertiser in this region."
    return f"The signed-in user does not see this advertiser id. {seen} {ENTITY_HINT}"


def _region(known: Known) -> Line:
    region = REGION_NAMES[known.destination.region]
    if isinstance(known.asked, NotVisible) and not known.asked.ids:
        detail = f"The signed-in user has no advertiser in {region}: is the account in another region?"
        return Line("region", "failed", detail, "team")
    if isinstance(known.asked, Visible) or known.account is not None:
        return Line("region", "ok", f"The account was found in {region}.", "team")
    return Line("region", "unknown", f"Whether the account is in {region} shows when connecting.", "team")


def _currency(known: Known) -> Line:
    ours = known.destination.currency
    said = known.asked.currency if isinstance(known.asked, Visible) else None
    theirs = said or (known.account.currency if known.account else None)
    if theirs is None:
        detail = f"Amazon has not said the account's currency. Check that it is {ours}."
        return Line("currency", "unknown", detail, "team")
    if theirs == ours:
        return Line("currency", "ok", f"The account is kept in {ours}, as here.", "team")
    detail = f"Amazon keeps the account in {theirs}, the destination says {ours}. Change it here."
    return Line("currency", "failed", detail, "team")


def _permission(known: Known) -> Line:
    if known.destination.sign_in_reason == "forbidden":
        detail = "Let the signed-in user edit in Amazon's Events manager, then connect again."
        return Line("permission", "failed", detail, "advertiser")
    if known.delivered:
        return Line("permission", "ok", "Amazon took events from the signed-in user.", "advertiser")
    return _confirmed(
        known,
        "permission",
        "the signed-in user may edit in Amazon's Events manager",
        "Amazon cannot be asked: confirm that the signed-in user may edit in its Events manager.",
    )


def _terms(known: Known) -> Line:
    if known.delivered:
        return Line("terms", "ok", "Amazon took events, so its terms were accepted.", "advertiser")
    return _confirmed(
        known,
        "terms",
        "the Events manager's terms were accepted for the account",
        "Amazon cannot be asked: accept the terms in its Events manager once, and confirm it here.",
    )


def _confirmed(known: Known, what: str, said: str, otherwise: str) -> Line:
    found = known.confirmed.get(what)
    if found is None:
        return Line(what, "unknown", otherwise, "advertiser")
    day = found.at.strftime("%Y-%m-%d")
    return Line(what, "ok", f"{found.by} confirmed on {day} that {said}.", "advertiser")


def _mapping(known: Known) -> Line:
    if number := known.destination.published_mappings:
        return Line("mapping", "ok", f"Published mappings: {number}.", "team")
    return Line("mapping", "failed", "Publish a mapping.", "team")


def _state(known: Known) -> Line:
    match known.destination.state:
        case State.ACTIVE:
            return Line("state", "ok", "Events are sent as they come.", "team")
        case State.PAUSED:
            return Line("state", "failed", "It is paused: events wait. Resume it.", "team")
        case State.ARCHIVED:
            return Line("state", "failed", "It was deleted; make a new one.", "team")
        case State.DRAFT | State.CONNECTED | State.NEEDS_RECONNECT:
            return Line("state", "failed", "The lines above say what is missing.", "team")


def _first_event(known: Known) -> Line:
    if known.delivered:
        detail = f"Amazon took {known.delivered:,}. Its Events manager shows them up to two hours later."
        return Line("first_event", "ok", detail, "journey")
    if known.accepted:
        return Line(
            "first_event", "unknown", "Events were accepted here; none has reached Amazon yet.", "journey"
        )
    return Line(
        "first_event",
        "unknown",
        "No event has come yet. Send one; Amazon's Events manager shows it up to two hours later.",
        "journey",
    )


def _clock(known: Known) -> Line:
    apart = abs(known.seconds_apart)
    if apart <= CLOCK_TOLERANCE_S:
        return Line("clock", "ok", "This machine and the database agree on the time.", "operator")
    return Line(
        "clock",
        "failed",
        f"This machine and the database are {apart:.0f} seconds apart: events may be refused as future ones. "
        "Set both by NTP.",
        "operator",
    )
