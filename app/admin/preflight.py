"""The preflight checklist: its use cases, and one pure function per check, in the order to fix them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.admin.access import Caller
from app.admin.context import AppContext
from app.admin.destinations import find_visible, lock_visible
from app.admin.refusals import ErrorCode, Refusal
from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.crypto import CannotDecrypt
from app.domain.destination import REGION_NAMES, State
from app.domain.outcomes.missing_endpoint import PROBE_EVERY
from app.domain.outcomes.outcome import Unauthorized
from app.store import amazon_accounts, audit, destinations, readiness, sign_ins, token_leases
from app.store.amazon_accounts import AmazonAccount, Confirmation
from app.store.destinations import Destination

Status = Literal["ok", "failed", "unknown"]
MANUAL_CHECKS = ("permission", "terms")  # not available from Amazon's API; people confirm them
CLOCK_TOLERANCE_SECONDS = 5.0
ENTITY_HINT = (
    "The advertiser ID is the numeric ID next to the advertiser name in the DSP console; "
    "an ID that begins with ENTITY is not an advertiser ID."
)


@dataclass(frozen=True, slots=True)
class PreflightCheck:
    """One requirement for delivery: its status, what to do in one sentence, and the role that owns the
    fix.
    """

    name: str
    status: Status
    detail: str
    who: str


@dataclass(frozen=True, slots=True)
class PreflightFacts:
    """The input of the checks. `live_answer` is Amazon's response to this request, None when it was not
    called.
    """

    destination: Destination
    configured: bool
    account: AmazonAccount | None
    live_answer: Visible | NotVisible | CannotTell | None
    confirmed: Mapping[str, Confirmation]
    accepted: bool
    delivered: int
    seconds_apart: float


@dataclass(frozen=True, slots=True)
class Preflight:
    """Every check, in the order in which to fix them."""

    checks: Sequence[PreflightCheck]

    @property
    def ready(self) -> bool:
        """Return whether no check has failed."""
        return all(check.status != "failed" for check in self.checks)


async def check_setup(
    context: AppContext, caller: Caller, destination_id: str, *, ask: bool = False
) -> Preflight:
    """Check every requirement for delivery. With `ask`, call Amazon, which may take ten seconds."""
    async with context.engine.connect() as connection:
        destination = await find_visible(connection, caller, destination_id)
        sealed = await sign_ins.access_token(connection, destination.id) if ask else None
    # No transaction is open during the call to Amazon.
    live_answer = None if sealed is None else await _find_advertiser(context, destination, sealed)
    async with context.engine.connect() as connection:
        facts = PreflightFacts(
            destination=destination,
            configured=context.amazon_configured,
            account=await amazon_accounts.find(connection, destination.id),
            live_answer=live_answer,
            confirmed=await amazon_accounts.confirmations(connection, destination.id),
            accepted=await destinations.ever_accepted(connection, destination.number),
            delivered=await destinations.delivered(connection, destination.number),
            seconds_apart=await readiness.seconds_apart(connection, _local_clock(context)),
        )
    return Preflight(run_preflight(facts))


async def _find_advertiser(
    context: AppContext, destination: Destination, sealed: bytes
) -> Visible | NotVisible | CannotTell:
    try:
        token = context.vault.open(sealed, place=token_leases.access_place(destination.id)).decode()
    except CannotDecrypt:
        return CannotTell("unreadable")
    answer = await context.find_advertiser(destination.region, token, destination.advertiser_id)
    # An expired access token says nothing about the sign-in: the next delivery refreshes it.
    return CannotTell("unauthorized") if isinstance(answer, Unauthorized) else answer


def _local_clock(context: AppContext) -> float:
    """Return the time of this machine's clock in epoch seconds; `context.now` is the database's time."""
    return context.now().timestamp() - (context.clock.offset if context.clock is not None else 0.0)


async def confirm_check(
    context: AppContext, caller: Caller, destination_id: str, check: str, *, confirmed: bool
) -> Preflight:
    """Confirm a check that Amazon's API cannot answer, or withdraw the confirmation; return all checks."""
    if check not in MANUAL_CHECKS:
        raise Refusal(ErrorCode.INVALID, "This check cannot be confirmed manually.")
    async with context.engine.begin() as connection:
        destination = await lock_visible(connection, caller, destination_id)
        if confirmed:
            changed = await amazon_accounts.confirm(connection, destination.id, check, caller.actor)
        else:
            changed = await amazon_accounts.withdraw(connection, destination.id, check)
        if changed:
            await audit.record(
                connection,
                caller.actor,
                audit.AuditAction.PREFLIGHT_CONFIRMED if confirmed else audit.AuditAction.PREFLIGHT_WITHDRAWN,
                destination.id,
                destination=destination.id,
                after={"check": check},
            )
    return await check_setup(context, caller, destination_id)


def run_preflight(facts: PreflightFacts) -> list[PreflightCheck]:
    """Return every check, in the order in which to fix them."""
    return [
        _credentials(facts),
        _sign_in(facts),
        _account(facts),
        _region(facts),
        _currency(facts),
        _permission(facts),
        _terms(facts),
        _mapping(facts),
        _state(facts),
        _first_event(facts),
        _clock(facts),
    ]


def _credentials(facts: PreflightFacts) -> PreflightCheck:
    if facts.configured:
        return PreflightCheck(
            "credentials", "ok", "The Amazon application's id and secret are set.", "operator"
        )
    return PreflightCheck(
        "credentials", "failed", "Set AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET and restart.", "operator"
    )


_REASONS = {
    "revoked": "Amazon access was revoked or has expired.",
    "unauthorized": "Amazon rejected the sign-in even with a new token.",
    "forbidden": "The signed-in user has no permission to send events for this advertiser.",
    "disconnected": "The destination was disconnected.",
}
_NOT_FOUND = (
    "Amazon returns 404: the endpoint or the advertiser account does not exist. Check the region and the "
    f"advertiser ID. One request is sent {PROBE_EVERY}; delivery resumes automatically."
)


def _sign_in(facts: PreflightFacts) -> PreflightCheck:
    match facts.destination.sign_in:
        case "valid":
            return PreflightCheck(
                "sign_in", "ok", "The signed-in user has access to this advertiser.", "advertiser"
            )
        case "broken" if facts.destination.sign_in_reason == "endpoint_not_found":
            return PreflightCheck(
                "sign_in", "ok", "The sign-in is valid; see the advertiser account.", "advertiser"
            )
        case "broken":
            reason = _REASONS[facts.destination.sign_in_reason or "revoked"]
            return PreflightCheck(
                "sign_in", "failed", f"{reason} Connect again; events wait until then.", "advertiser"
            )
        case _:
            return PreflightCheck("sign_in", "failed", "Connect to Amazon and click Allow.", "advertiser")


def _account(facts: PreflightFacts) -> PreflightCheck:
    if facts.destination.sign_in_reason == "endpoint_not_found":
        return PreflightCheck("account", "failed", _NOT_FOUND, "team")
    match facts.live_answer:
        case Visible(name=name):
            suffix = _name_suffix(name)
            return PreflightCheck(
                "account", "ok", f"Amazon confirms access to this advertiser{suffix}.", "advertiser"
            )
        case NotVisible(ids=ids):
            return PreflightCheck("account", "failed", not_visible_sentence(ids), "advertiser")
        case CannotTell():
            return PreflightCheck(
                "account", "unknown", "Amazon is not reachable at the moment. Check again.", "nobody"
            )
        case None if facts.account is not None:
            suffix = _name_suffix(facts.account.name)
            day = facts.account.seen_at.strftime("%Y-%m-%d")
            return PreflightCheck(
                "account", "ok", f"Amazon confirmed access to this advertiser{suffix} on {day}.", "advertiser"
            )
        case None:
            return PreflightCheck(
                "account", "unknown", "Checked when the destination is connected.", "advertiser"
            )


def _name_suffix(name: str | None) -> str:
    # Do not show a name with redacted parts.
    return f", called {name}" if name and "***" not in name else ""


def not_visible_sentence(ids: tuple[str, ...]) -> str:
    """List the advertisers that the sign-in can see instead."""
    visible = (
        f"It has access to {', '.join(ids)}." if ids else "It has access to no advertiser in this region."
    )
    return f"The signed-in user has no access to this advertiser ID. {visible} {ENTITY_HINT}"


def _region(facts: PreflightFacts) -> PreflightCheck:
    region = REGION_NAMES[facts.destination.region]
    if isinstance(facts.live_answer, NotVisible) and not facts.live_answer.ids:
        detail = f"The signed-in user has no advertiser in {region}. The account may be in another region."
        return PreflightCheck("region", "failed", detail, "team")
    if isinstance(facts.live_answer, Visible) or facts.account is not None:
        return PreflightCheck("region", "ok", f"The account was found in {region}.", "team")
    return PreflightCheck("region", "unknown", f"The region {region} is checked when connecting.", "team")


def _currency(facts: PreflightFacts) -> PreflightCheck:
    configured = facts.destination.currency
    reported = facts.live_answer.currency if isinstance(facts.live_answer, Visible) else None
    actual = reported or (facts.account.currency if facts.account else None)
    if actual is None:
        detail = f"Amazon did not report the account's currency. Check that it is {configured}."
        return PreflightCheck("currency", "unknown", detail, "team")
    if actual == configured:
        return PreflightCheck(
            "currency", "ok", f"The account's currency is {configured}, as configured.", "team"
        )
    detail = (
        f"The Amazon account's currency is {actual}, but this destination uses {configured}. "
        "Change it in the settings."
    )
    return PreflightCheck("currency", "failed", detail, "team")


def _permission(facts: PreflightFacts) -> PreflightCheck:
    if facts.destination.sign_in_reason == "forbidden":
        detail = "Give the signed-in user edit permission in Amazon's Events manager, then connect again."
        return PreflightCheck("permission", "failed", detail, "advertiser")
    if facts.delivered:
        return PreflightCheck(
            "permission", "ok", "Amazon accepted events from the signed-in user.", "advertiser"
        )
    return _confirmed(
        facts,
        "permission",
        "the signed-in user has edit permission in Amazon's Events manager",
        "This cannot be checked automatically: confirm that the signed-in user has edit permission in "
        "Amazon's Events manager.",
    )


def _terms(facts: PreflightFacts) -> PreflightCheck:
    if facts.delivered:
        return PreflightCheck(
            "terms", "ok", "Amazon accepted events, so its terms were accepted.", "advertiser"
        )
    return _confirmed(
        facts,
        "terms",
        "the Events manager's terms were accepted for the account",
        "This cannot be checked automatically: accept the terms in Amazon's Events manager once, then "
        "confirm it here.",
    )


def _confirmed(facts: PreflightFacts, name: str, statement: str, request: str) -> PreflightCheck:
    confirmation = facts.confirmed.get(name)
    if confirmation is None:
        return PreflightCheck(name, "unknown", request, "advertiser")
    day = confirmation.at.strftime("%Y-%m-%d")
    return PreflightCheck(name, "ok", f"{confirmation.by} confirmed on {day} that {statement}.", "advertiser")


def _mapping(facts: PreflightFacts) -> PreflightCheck:
    if count := facts.destination.published_mappings:
        return PreflightCheck("mapping", "ok", f"Published mappings: {count}.", "team")
    return PreflightCheck("mapping", "failed", "Publish a mapping.", "team")


def _state(facts: PreflightFacts) -> PreflightCheck:
    match facts.destination.state:
        case State.ACTIVE:
            return PreflightCheck("state", "ok", "Delivery is active.", "team")
        case State.PAUSED if facts.destination.suspended:
            detail = "The organisation is suspended and events wait. The operator can resume it."
            return PreflightCheck("state", "failed", detail, "operator")
        case State.PAUSED:
            return PreflightCheck("state", "failed", "Delivery is paused and events wait. Resume it.", "team")
        case State.ARCHIVED:
            return PreflightCheck("state", "failed", "The destination was deleted. Create a new one.", "team")
        case State.DRAFT | State.CONNECTED | State.NEEDS_RECONNECT:
            return PreflightCheck("state", "failed", "See the failed checks above.", "team")


def _first_event(facts: PreflightFacts) -> PreflightCheck:
    if facts.delivered:
        detail = f"Amazon accepted {facts.delivered:,}. Events manager shows them up to two hours later."
        return PreflightCheck("first_event", "ok", detail, "journey")
    if facts.accepted:
        return PreflightCheck(
            "first_event", "unknown", "Events were accepted, but none has reached Amazon yet.", "journey"
        )
    return PreflightCheck(
        "first_event",
        "unknown",
        "No event received yet. Send one; Events manager shows it up to two hours later.",
        "journey",
    )


def _clock(facts: PreflightFacts) -> PreflightCheck:
    offset = abs(facts.seconds_apart)
    if offset <= CLOCK_TOLERANCE_SECONDS:
        return PreflightCheck("clock", "ok", "The clocks of this machine and the database agree.", "operator")
    return PreflightCheck(
        "clock",
        "failed",
        f"The clocks of this machine and the database differ by {offset:.0f} seconds. Events may be rejected "
        "as future ones. Synchronise both with NTP.",
        "operator",
    )
