"""The preflight checklist of a destination: its use cases, and a pure function for each check."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from app.admin.context import AppContext
from app.admin.destinations import reading
from app.amazon.accounts import CannotTell, NotVisible, Visible
from app.crypto import CannotDecrypt
from app.domain.conversion.amazon_codes import CURRENCIES
from app.domain.destination import REGION_NAMES, State
from app.domain.incidents.kinds import SIGN_IN
from app.domain.mapping.document import holds_literal_time
from app.domain.outcomes.outcome import Unauthorized
from app.store import driver_of, mappings
from app.store.database import readiness
from app.store.destinations import destinations, sign_ins
from app.store.encryption import access_place

Status = Literal["ok", "failed", "unknown"]
CLOCK_TOLERANCE_SECONDS = 5.0
ENTITY_HINT = (
    "The advertiser ID is the numeric ID next to the advertiser name in the DSP console; "
    "an ID that begins with ENTITY is not an advertiser ID."
)


@dataclass(frozen=True, slots=True)
class PreflightCheck:
    """The result of a check. `detail` says what was found or what to do.

    `who` names the person who can fix it.
    """

    name: str
    status: Status
    detail: str
    who: str


@dataclass(frozen=True, slots=True)
class PreflightFacts:
    """The input of the checks.

    `live_answer` is Amazon's response now; it is None if Amazon was not called.
    """

    destination: destinations.Destination
    configured: bool
    account: sign_ins.AmazonAccount | None
    live_answer: Visible | NotVisible | CannotTell | None
    accepted: bool
    delivered: int
    seconds_apart: float
    literal_times: Sequence[str] = ()  # names of published mappings whose events all have the same time


@dataclass(frozen=True, slots=True)
class Preflight:
    """The results of all checks, in the order in which to fix them. `ready` is true if no check failed."""

    ready: bool
    checks: Sequence[PreflightCheck]


async def check_setup(context: AppContext, destination_id: str, *, ask: bool = False) -> Preflight:
    """Check every requirement for delivery. With `ask`, call Amazon, which may take 45 seconds."""
    async with reading(context, destination_id) as (connection, destination):
        sealed = await sign_ins.access_token(connection, destination.id) if ask else None
    # No transaction is open during the call to Amazon.
    live_answer = None if sealed is None else await _find_advertiser(context, destination, sealed)
    async with context.engine.begin() as connection:
        if isinstance(live_answer, Visible):
            # The diagnosis and later checks compare with what Amazon reports now.
            name, currency = live_answer.name, live_answer.currency
            await sign_ins.save_account(connection, destination.id, name=name, currency=currency)
        facts = PreflightFacts(
            destination=destination,
            configured=context.amazon_configured,
            account=await sign_ins.find_account(connection, destination.id),
            live_answer=live_answer,
            accepted=await destinations.ever_accepted(connection, destination.number),
            delivered=await destinations.delivered(connection, destination.number),
            seconds_apart=await readiness.seconds_apart(await driver_of(connection), _local_clock(context)),
        )
        published = await mappings.published_of(connection, [destination.id])
    literal_times = await context.compute_short(
        lambda: [mapping.name for mapping in published if holds_literal_time(mapping.published)]
    )
    checks = run_preflight(replace(facts, literal_times=literal_times))
    return Preflight(all(check.status != "failed" for check in checks), checks)


async def _find_advertiser(
    context: AppContext, destination: destinations.Destination, sealed: bytes
) -> Visible | NotVisible | CannotTell:
    if (token := opened_token(context, destination, sealed)) is None:
        return CannotTell("unreadable")
    answer = await context.find_advertiser(destination.region, token, destination.advertiser_id)
    # An expired access token does not mean that the sign-in is invalid. The next delivery refreshes the
    # token.
    return CannotTell("unauthorized") if isinstance(answer, Unauthorized) else answer


def opened_token(context: AppContext, destination: destinations.Destination, sealed: bytes) -> str | None:
    """Return the stored access token of a destination, or None if its encryption key was removed."""
    try:
        return context.vault.open(sealed, place=access_place(destination.id)).decode()
    except CannotDecrypt:
        return None


def _local_clock(context: AppContext) -> float:
    """Return the time of this machine's clock in epoch seconds.

    `context.now` is the time of the database's clock.
    """
    clock = context.readiness.clock
    return context.now().timestamp() - (clock.offset if clock is not None else 0.0)


class Verdict(NamedTuple):
    """The status of a check, and a sentence that says what was found or what to do."""

    status: Status
    detail: str
    who: str | None = None  # if somebody else than usual can fix it


def _credentials(facts: PreflightFacts) -> Verdict:
    if facts.configured:
        return Verdict("ok", "The Amazon application's id and secret are set.")
    return Verdict("failed", "Set AMAZON_CLIENT_ID and AMAZON_CLIENT_SECRET and restart.")


def _sign_in(facts: PreflightFacts) -> Verdict:
    match facts.destination.sign_in:
        case "valid":
            return Verdict("ok", "The signed-in user has access to this advertiser.")
        case "broken" if facts.destination.sign_in_reason == "endpoint_not_found":
            return Verdict("ok", "The sign-in is valid. See the check “Advertiser account”.")
        case "broken":
            cause = SIGN_IN[facts.destination.sign_in_reason or "revoked"]
            return Verdict("failed", f"{cause.headline} {cause.remedy}")
        case _:
            return Verdict("failed", "Connect to Amazon and click Allow.")


def _account(facts: PreflightFacts) -> Verdict:
    if facts.destination.sign_in_reason == "endpoint_not_found":
        cause = SIGN_IN["endpoint_not_found"]
        return Verdict("failed", f"{cause.headline} {cause.remedy}", "team")
    match facts.live_answer:
        case Visible(name=name):
            return Verdict("ok", f"Amazon confirms access to this advertiser{_name_suffix(name)}.")
        case NotVisible(ids=ids):
            return Verdict("failed", not_visible_sentence(ids))
        case CannotTell():
            return Verdict("unknown", "Amazon is not reachable at the moment. Check again.", "nobody")
        case None if facts.account is not None:
            day, suffix = f"{facts.account.seen_at:%Y-%m-%d}", _name_suffix(facts.account.name)
            return Verdict("ok", f"On {day} (UTC) Amazon confirmed access to this advertiser{suffix}.")
        case None:
            return Verdict("unknown", "This is checked when the destination is connected.")


def _name_suffix(name: str | None) -> str:
    # Do not show a name with redacted parts.
    return f", called {name}" if name and "***" not in name else ""


def not_visible_sentence(ids: tuple[str, ...]) -> str:
    """Return the sentence that the sign-in has no access to the advertiser ID, and list the ids that it can
    access.
    """
    visible = (
        f"It has access to {', '.join(ids)}." if ids else "It has access to no advertiser in this region."
    )
    return f"The signed-in user has no access to this advertiser ID. {visible} {ENTITY_HINT}"


def _region(facts: PreflightFacts) -> Verdict:
    region = REGION_NAMES[facts.destination.region]
    if isinstance(facts.live_answer, NotVisible) and not facts.live_answer.ids:
        detail = f"The signed-in user has no advertiser in {region}. The account may be in another region."
        return Verdict("failed", detail)
    if isinstance(facts.live_answer, Visible) or facts.account is not None:
        return Verdict("ok", f"The account was found in {region}.")
    return Verdict("unknown", f"The region {region} is checked when connecting.")


def _currency(facts: PreflightFacts) -> Verdict:
    configured = facts.destination.currency
    if facts.account is None:
        return Verdict("unknown", f"The currency {configured} is checked when connecting.")
    actual = facts.account.currency
    if actual is None:
        detail = f"Amazon did not report the account's currency. Check that it is {configured}."
        return Verdict("unknown", detail)
    if actual == configured:
        return Verdict("ok", f"The account's currency is {configured}, as configured.")
    remedy = why_unusable(actual) or "Change it in the settings."
    return Verdict("failed", f"{currency_differs(actual, configured)} {remedy}")


def currency_differs(actual: str, configured: str) -> str:
    """Return the warning of a destination whose Amazon account has another currency."""
    return f"The Amazon account's currency is {actual}, but this destination uses {configured}."


def why_unusable(currency: str) -> str:
    """Return why a destination cannot have the currency of its Amazon account; nothing if it can."""
    if currency in CURRENCIES:
        return ""
    return f"Amazon takes no events in {currency}, so map the currency of each purchase."


def _permission(facts: PreflightFacts) -> Verdict:
    if facts.destination.sign_in_reason == "forbidden":
        detail = "Give the signed-in user edit permission in Amazon's Events manager, then connect again."
        return Verdict("failed", detail)
    if facts.delivered:
        return Verdict("ok", "Amazon accepted events from the signed-in user.")
    return Verdict(
        "unknown",
        "This cannot be checked before the first event. The signed-in user needs edit permission in Amazon's "
        "Events manager.",
    )


def _terms(facts: PreflightFacts) -> Verdict:
    if facts.delivered:
        return Verdict("ok", "Amazon accepted events, so its terms were accepted.")
    return Verdict(
        "unknown",
        "This cannot be checked before the first event. Accept the terms in Amazon's Events manager once.",
    )


def _mapping(facts: PreflightFacts) -> Verdict:
    if facts.literal_times:
        names = ", ".join(facts.literal_times)
        return Verdict(
            "failed", f"Event Timestamp is a fixed time in: {names}. Map it to a path and publish."
        )
    if count := facts.destination.published_mappings:
        return Verdict("ok", f"Published mappings: {count:,}.")
    return Verdict("failed", "Publish a mapping.")


def _state(facts: PreflightFacts) -> Verdict:
    match facts.destination.state:
        case State.ACTIVE:
            return Verdict("ok", "Delivery is active.")
        case State.PAUSED if facts.destination.suspended:
            return Verdict(
                "failed",
                "The organisation is suspended and events wait. Resume it on the page Organisations.",
                "operator",
            )
        case State.PAUSED:
            return Verdict("failed", "Delivery is paused and events wait. Resume it.")
        case State.ARCHIVED:
            return Verdict("failed", "The destination was deleted. Create a new one.")
        case State.DRAFT:
            return Verdict("failed", "The destination accepts no events yet. Connect it to Amazon.")
        case State.CONNECTED:
            return Verdict("failed", "The destination accepts no events yet. Publish a mapping.")
        case State.NEEDS_RECONNECT:
            return Verdict("failed", "Events are accepted and wait. The other failed checks say why.")


def _first_event(facts: PreflightFacts) -> Verdict:
    if facts.delivered:
        detail = f"Amazon accepted events: {facts.delivered:,}. Events manager is up to two hours behind."
        return Verdict("ok", detail)
    if facts.accepted:
        return Verdict("unknown", "Events were accepted, but none has reached Amazon yet.")
    return Verdict("unknown", "No event was accepted yet. Events manager shows events up to two hours later.")


def _clock(facts: PreflightFacts) -> Verdict:
    offset = abs(facts.seconds_apart)
    if offset <= CLOCK_TOLERANCE_SECONDS:
        return Verdict("ok", "The clocks of this machine and the database agree.")
    return Verdict(
        "failed",
        f"The clocks of this machine and the database differ by {offset:.0f} seconds. Events may be rejected "
        "because their time is in the future. Synchronise both clocks with NTP.",
    )


_CHECKS: Sequence[tuple[str, str, Callable[[PreflightFacts], Verdict]]] = (
    ("credentials", "operator", _credentials),
    ("sign_in", "advertiser", _sign_in),
    ("account", "advertiser", _account),
    ("region", "team", _region),
    ("currency", "team", _currency),
    ("permission", "advertiser", _permission),
    ("terms", "advertiser", _terms),
    ("mapping", "team", _mapping),
    ("state", "team", _state),
    ("first_event", "journey", _first_event),
    ("clock", "operator", _clock),
)
"""Name of each check, who can usually fix it, and its function; in the order in which to fix them."""


def run_preflight(facts: PreflightFacts) -> list[PreflightCheck]:
    """Run every check. Return the results in the order in which to fix them."""
    verdicts = [(name, who, *check(facts)) for name, who, check in _CHECKS]
    return [
        PreflightCheck(name, status, detail, other or who) for name, who, status, detail, other in verdicts
    ]
