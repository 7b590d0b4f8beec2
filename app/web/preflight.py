"""Preflight over HTTP: what stands between a destination and its first event at Amazon, as a checklist."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from fastapi import APIRouter

from app.domain.destination import State
from app.store import destinations, readiness
from app.store.destinations import Destination
from app.web.auth import Scope
from app.web.destinations import seen
from app.web.door import CallerOf, Door, Wired, needs

router = APIRouter(route_class=Door, tags=["destinations"])

Status = Literal["ok", "failed", "unknown"]
CLOCK_TOLERANCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to check: how it stands, what to do in a sentence, and who can do it."""

    name: str
    status: Status
    detail: str
    who: str


_REASONS = {
    "revoked": "The sign-in was revoked or has expired at Amazon.",
    "unauthorized": "Amazon refused the sign-in even with a fresh token.",
    "forbidden": "Amazon says that the signed-in user may not send for this advertiser.",
    "disconnected": "The destination was disconnected here.",
}


def checklist(
    destination: Destination, *, configured: bool, accepted: bool, seconds_apart: float
) -> list[Line]:
    """Return every line, in the order in which one would work through them. Pure."""
    return [
        _credentials(configured),
        _sign_in(destination),
        _mapping(destination),
        _state(destination),
        _first_event(accepted),
        _clock(seconds_apart),
    ]


def _credentials(configured: bool) -> Line:
    if configured:
        return Line("credentials", "ok", "The Amazon application's id and secret are set.", "operator")
    return Line(
        "credentials", "failed", "Set AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET and restart.", "operator"
    )


def _sign_in(destination: Destination) -> Line:
    match destination.sign_in:
        case "valid":
            return Line("sign_in", "ok", "Amazon showed this advertiser to the signed-in user.", "advertiser")
        case "broken":
            why = _REASONS[destination.sign_in_reason or "revoked"]
            return Line("sign_in", "failed", f"{why} Connect again; events wait meanwhile.", "advertiser")
        case _:
            return Line(
                "sign_in", "failed", "Connect the destination and click Allow at Amazon.", "advertiser"
            )


def _mapping(destination: Destination) -> Line:
    if destination.published_mappings:
        return Line("mapping", "ok", f"Published mappings: {destination.published_mappings}.", "team")
    return Line("mapping", "failed", "Publish a mapping.", "team")


def _state(destination: Destination) -> Line:
    match destination.state:
        case State.ACTIVE:
            return Line("state", "ok", "Events are sent as they come.", "team")
        case State.PAUSED:
            return Line("state", "failed", "It is paused: events wait. Resume it.", "team")
        case State.ARCHIVED:
            return Line("state", "failed", "It was deleted; make a new one.", "team")
        case State.DRAFT | State.CONNECTED | State.NEEDS_RECONNECT:
            return Line("state", "failed", "The lines above say what is missing.", "team")


def _first_event(accepted: bool) -> Line:
    if accepted:
        return Line("first_event", "ok", "Events were accepted here.", "journey")
    return Line(
        "first_event",
        "unknown",
        "No event has come yet. Send one; Amazon's Events manager shows it up to two hours later.",
        "journey",
    )


def _clock(seconds_apart: float) -> Line:
    if abs(seconds_apart) <= CLOCK_TOLERANCE_S:
        return Line("clock", "ok", "This machine and the database agree on the time.", "operator")
    return Line(
        "clock",
        "failed",
        f"This machine and the database are {abs(seconds_apart):.0f} seconds apart: events may be refused as "
        "future ones. Set both by NTP.",
        "operator",
    )


@router.get("/destinations/{destination_id}/preflight", summary="What is still missing?")
@needs(Scope.DESTINATIONS_READ)
async def preflight(destination_id: str, caller: CallerOf, wired: Wired) -> dict[str, Any]:
    """Go through all that must be right before events arrive at Amazon. `ready` when no line has failed."""
    async with wired.engine.connect() as connection:
        destination = await seen(connection, caller, destination_id)
        accepted = await destinations.ever_accepted(connection, destination.number)
        apart = await readiness.seconds_apart(connection, wired.now().timestamp())
    lines = checklist(destination, configured=wired.amazon_configured, accepted=accepted, seconds_apart=apart)
    return {
        "ready": all(line.status != "failed" for line in lines),
        "checks": [asdict(line) for line in lines],
    }
