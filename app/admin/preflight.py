"""The preflight checklist: one function a line, each a pure judgement of what is known, in working order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.domain.destination import REGION_NAMES, State
from app.store.amazon_accounts import AmazonAccount, Confirmation
from app.store.destinations import Destination

Status = Literal["ok", "failed", "unknown"]
CLOCK_TOLERANCE_S = 5.0
ENTITY_HINT = (
    "The advertiser id is the number beside the advertiser's name in the DSP console; "
    "an id that begins with ENTITY is another one."
)


@dataclass(frozen=True, slots=True)
class PreflightCheck:
    """One thing to check: how it stands, what to do in a sentence, and who can do it."""

    name: str
    status: Status
    detail: str
    who: str


@dataclass(frozen=True, slots=True)
class PreflightFacts:
    """Everything that the lines look at. `asked` is what Amazon answered just now, None where not asked."""

    destination: Destination
    configured: bool
    account: AmazonAccount | None
    asked: Visible | NotVisible | CannotTell | None
    confirmed: Mapping[str, Confirmation]
    accepted: bool
    delivered: int
    seconds_apart: float


def run_preflight(known: PreflightFacts) -> list[PreflightCheck]:
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


def _credentials(known: PreflightFacts) -> PreflightCheck:
    if known.configured:
        return PreflightCheck(
            "credentials", "ok", "The Amazon application's id and secret are set.", "operator"
        )
    return PreflightCheck(
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


def _sign_in(known: PreflightFacts) -> PreflightCheck:
    match known.destination.sign_in:
        case "valid":
            return PreflightCheck(
                "sign_in", "ok", "Amazon showed this advertiser to the signed-in user.", "advertiser"
            )
        case "broken" if known.destination.sign_in_reason == "endpoint_not_found":
            return PreflightCheck("sign_in", "ok", "The sign-in is in order; see account.", "advertiser")
        case "broken":
            why = _REASONS[known.destination.sign_in_reason or "revoked"]
            return PreflightCheck(
                "sign_in", "failed", f"{why} Connect again; events wait meanwhile.", "advertiser"
            )
        case _:
            return PreflightCheck(
                "sign_in", "failed", "Connect the destination and click Allow at Amazon.", "advertiser"
            )


def _account(known: PreflightFacts) -> PreflightCheck:
    if known.destination.sign_in_reason == "endpoint_not_found":
        return PreflightCheck("account", "failed", _NOT_FOUND, "team")
    match known.asked:
        case Visible(name=name):
            called = _called(name)
            return PreflightCheck("account", "ok", f"Amazon shows this advertiser{called}.", "advertiser")
        case NotVisible(ids=ids):
            return PreflightCheck("account", "failed", not_visible_sentence(ids), "advertiser")
        case CannotTell():
            return PreflightCheck(
                "account", "unknown", "Amazon could not be asked just now. Look again.", "nobody"
            )
        case None if known.account is not None:
            called = _called(known.account.name)
            day = known.account.seen_at.strftime("%Y-%m-%d")
            return PreflightCheck(
                "account", "ok", f"Amazon showed this advertiser{called}, on {day}.", "advertiser"
            )
        case None:
            return PreflightCheck(
                "account", "unknown", "Amazon is asked when the destination is connected.", "advertiser"
            )


def _called(name: str | None) -> str:
    # A name that was scrubbed of what might be a person's says nothing any more.
    return f", called {name}" if name and "***" not in name else ""


def not_visible_sentence(ids: tuple[str, ...]) -> str:
    """Say which advertisers the sign-in sees instead."""
    seen = f"It sees {', '.join(ids)}." if ids else "It sees no advertiser in this region."
    return f"The signed-in user does not see this advertiser id. {seen} {ENTITY_HINT}"


def _region(known: PreflightFacts) -> PreflightCheck:
    region = REGION_NAMES[known.destination.region]
    if isinstance(known.asked, NotVisible) and not known.asked.ids:
        detail = f"The signed-in user has no advertiser in {region}: is the account in another region?"
        return PreflightCheck("region", "failed", detail, "team")
    if isinstance(known.asked, Visible) or known.account is not None:
        return PreflightCheck("region", "ok", f"The account was found in {region}.", "team")
    return PreflightCheck(
        "region", "unknown", f"Whether the account is in {region} shows when connecting.", "team"
    )


def _currency(known: PreflightFacts) -> PreflightCheck:
    ours = known.destination.currency
    said = known.asked.currency if isinstance(known.asked, Visible) else None
    theirs = said or (known.account.currency if known.account else None)
    if theirs is None:
        detail = f"Amazon has not said the account's currency. Check that it is {ours}."
        return PreflightCheck("currency", "unknown", detail, "team")
    if theirs == ours:
        return PreflightCheck("currency", "ok", f"The account is kept in {ours}, as here.", "team")
    detail = f"Amazon keeps the account in {theirs}, the destination says {ours}. Change it here."
    return PreflightCheck("currency", "failed", detail, "team")


def _permission(known: PreflightFacts) -> PreflightCheck:
    if known.destination.sign_in_reason == "forbidden":
        detail = "Let the signed-in user edit in Amazon's Events manager, then connect again."
        return PreflightCheck("permission", "failed", detail, "advertiser")
    if known.delivered:
        return PreflightCheck("permission", "ok", "Amazon took events from the signed-in user.", "advertiser")
    return _confirmed(
        known,
        "permission",
        "the signed-in user may edit in Amazon's Events manager",
        "Amazon cannot be asked: confirm that the signed-in user may edit in its Events manager.",
    )


def _terms(known: PreflightFacts) -> PreflightCheck:
    if known.delivered:
        return PreflightCheck("terms", "ok", "Amazon took events, so its terms were accepted.", "advertiser")
    return _confirmed(
        known,
        "terms",
        "the Events manager's terms were accepted for the account",
        "Amazon cannot be asked: accept the terms in its Events manager once, and confirm it here.",
    )


def _confirmed(known: PreflightFacts, what: str, said: str, otherwise: str) -> PreflightCheck:
    found = known.confirmed.get(what)
    if found is None:
        return PreflightCheck(what, "unknown", otherwise, "advertiser")
    day = found.at.strftime("%Y-%m-%d")
    return PreflightCheck(what, "ok", f"{found.by} confirmed on {day} that {said}.", "advertiser")


def _mapping(known: PreflightFacts) -> PreflightCheck:
    if number := known.destination.published_mappings:
        return PreflightCheck("mapping", "ok", f"Published mappings: {number}.", "team")
    return PreflightCheck("mapping", "failed", "Publish a mapping.", "team")


def _state(known: PreflightFacts) -> PreflightCheck:
    match known.destination.state:
        case State.ACTIVE:
            return PreflightCheck("state", "ok", "Events are sent as they come.", "team")
        case State.PAUSED:
            return PreflightCheck("state", "failed", "It is paused: events wait. Resume it.", "team")
        case State.ARCHIVED:
            return PreflightCheck("state", "failed", "It was deleted; make a new one.", "team")
        case State.DRAFT | State.CONNECTED | State.NEEDS_RECONNECT:
            return PreflightCheck("state", "failed", "The lines above say what is missing.", "team")


def _first_event(known: PreflightFacts) -> PreflightCheck:
    if known.delivered:
        detail = f"Amazon took {known.delivered:,}. Its Events manager shows them up to two hours later."
        return PreflightCheck("first_event", "ok", detail, "journey")
    if known.accepted:
        return PreflightCheck(
            "first_event", "unknown", "Events were accepted here; none has reached Amazon yet.", "journey"
        )
    return PreflightCheck(
        "first_event",
        "unknown",
        "No event has come yet. Send one; Amazon's Events manager shows it up to two hours later.",
        "journey",
    )


def _clock(known: PreflightFacts) -> PreflightCheck:
    apart = abs(known.seconds_apart)
    if apart <= CLOCK_TOLERANCE_S:
        return PreflightCheck("clock", "ok", "This machine and the database agree on the time.", "operator")
    return PreflightCheck(
        "clock",
        "failed",
        f"This machine and the database are {apart:.0f} seconds apart: events may be refused as future ones. "
        "Set both by NTP.",
        "operator",
    )
