"""What is left to do until a destination sends: the owner's steps, and the checklist. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One step: done, the one to take now, or locked with the reason why."""

    name: str
    label: str
    state: str  # 'done' | 'now' | 'locked'
    why: str


def steps(
    destination: Mapping[str, Any], mappings: Sequence[Mapping[str, Any]], accepted: int
) -> list[SetupStep]:
    """Return the steps of R7 to R13 as they stand, in order."""
    connected = bool(destination["connected"])
    published = destination["published_mappings"] > 0
    return [
        SetupStep("create", "Create", "done", "Made."),
        SetupStep(
            "connect",
            "Connect",
            "done" if connected else "now",
            "Signed in at Amazon." if connected else "Sign in at Amazon and click Allow.",
        ),
        SetupStep(
            "mapping",
            "Map",
            "done" if published else "now" if connected else "locked",
            "A mapping is published."
            if published
            else ("Finish and publish the mapping." if mappings else "Say how events become conversions.")
            if connected
            else "Connect Amazon first: then the mapping is next.",
        ),
        SetupStep(
            "activate",
            "Activate",
            "done" if accepted else "now" if connected and published else "locked",
            "Events have come."
            if accepted
            else "Attach it to a journey."
            if connected and published
            else "Publish a mapping first.",
        ),
    ]


@dataclass(frozen=True, slots=True)
class CheckView:
    """A line of the preflight list: a mark, a sentence, and who can mend it."""

    name: str
    label: str
    mark: str
    tone: str
    standing: str
    detail: str
    who: str
    may_confirm: bool
    may_withdraw: bool


LABELS: Mapping[str, str] = {
    "credentials": "Amazon application",
    "sign_in": "Sign-in at Amazon",
    "account": "Advertiser account",
    "region": "Account region",
    "currency": "Account currency",
    "permission": "Permission at Amazon",
    "terms": "Terms of Events manager",
    "mapping": "Published mapping",
    "state": "State",
    "first_event": "First event",
    "clock": "Clock",
}
_MARKS = {
    "ok": ("✓", "good", "in order"),
    "failed": ("✗", "bad", "stands in the way"),
    "unknown": ("?", "quiet", "not known"),
}
_WHO = {
    "operator": "who runs this service",
    "advertiser": "who signed in, or an admin of the advertiser's account",
    "team": "you, here",
    "journey": "the journey",
    "nobody": "nobody: it passes",
}
# What Amazon cannot be asked, so that a person looks and says so.
CONFIRMED_BY_PEOPLE = ("permission", "terms")


def check_views(checks: Sequence[Mapping[str, str]]) -> list[CheckView]:
    """Return the checklist as the API answers it, for people."""
    return [
        CheckView(
            check["name"],
            LABELS[check["name"]],
            *_MARKS[check["status"]],
            check["detail"],
            _WHO[check["who"]],
            may_confirm=check["name"] in CONFIRMED_BY_PEOPLE and check["status"] == "unknown",
            may_withdraw=check["name"] in CONFIRMED_BY_PEOPLE and " confirmed on " in check["detail"],
        )
        for check in checks
    ]
