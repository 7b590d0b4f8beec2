"""The setup steps of a destination and its preflight checklist. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.admin.destinations.preflight import MANUAL_CHECKS, PreflightCheck
from app.admin.mappings.drafts import MappingDetails
from app.store.destinations.destinations import Destination


@dataclass(frozen=True, slots=True)
class SetupStep:
    """A setup step and its state. `why` explains the state."""

    name: str
    label: str
    state: str  # 'done' | 'now' | 'locked'
    why: str


def steps(destination: Destination, mappings: Sequence[MappingDetails], accepted: int) -> list[SetupStep]:
    """Return the setup steps of a destination in their order (R7 to R13)."""
    connected = destination.sign_in == "valid"
    published = destination.published_mappings > 0
    return [
        SetupStep("create", "Create", "done", "Done."),
        SetupStep(
            "connect",
            "Connect",
            "done" if connected else "now",
            "Connected to Amazon." if connected else "Sign in to Amazon and click Allow.",
        ),
        SetupStep(
            "mapping",
            "Map",
            "done" if published else "now" if connected else "locked",
            "A mapping is published."
            if published
            else ("Finish and publish the mapping." if mappings else "Map event fields to conversion fields.")
            if connected
            else "Connect to Amazon first.",
        ),
        SetupStep(
            "activate",
            "Activate",
            "done" if accepted else "now" if connected and published else "locked",
            "Events received."
            if accepted
            else "Attach it to a journey."
            if connected and published
            else "Publish a mapping first.",
        ),
    ]


@dataclass(frozen=True, slots=True)
class CheckView:
    """A preflight check as the page shows it: a mark, a sentence, and the person who can fix it."""

    name: str
    label: str
    mark: str
    tone: str
    status: str
    detail: str
    owner: str
    may_confirm: bool
    may_withdraw: bool


LABELS: Mapping[str, str] = {
    "credentials": "Amazon application",
    "sign_in": "Amazon sign-in",
    "account": "Advertiser account",
    "region": "Account region",
    "currency": "Account currency",
    "permission": "Amazon permission",
    "terms": "Events manager terms",
    "mapping": "Published mapping",
    "state": "State",
    "first_event": "First event",
    "clock": "Clock",
}
_MARKS = {
    "ok": ("✓", "good", "passed"),
    "failed": ("✗", "bad", "failed"),
    "unknown": ("?", "quiet", "not checked"),
}
_OWNERS = {
    "operator": "the operator of this service",
    "advertiser": "the person who signed in, or an admin of the advertiser's account",
    "team": "your team, in this console",
    "journey": "the journey",
    "nobody": "no one; this resolves automatically",
}


def check_views(checks: Sequence[PreflightCheck]) -> list[CheckView]:
    """Return the preflight checks for display."""
    return [
        CheckView(
            check.name,
            LABELS[check.name],
            *_MARKS[check.status],
            check.detail,
            _OWNERS[check.who],
            may_confirm=check.name in MANUAL_CHECKS and check.status == "unknown",
            may_withdraw=check.name in MANUAL_CHECKS and " confirmed on " in check.detail,
        )
        for check in checks
    ]
