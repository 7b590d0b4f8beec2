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
class CheckLine:
    """A line of the preflight list: a mark, a sentence, and who can mend it."""

    label: str
    mark: str
    tone: str
    detail: str
    who: str


_LABELS = {
    "credentials": "Amazon application",
    "sign_in": "Sign-in at Amazon",
    "mapping": "Published mapping",
    "state": "State",
    "first_event": "First event",
    "clock": "Clock",
}
_MARKS = {"ok": ("✓", "good"), "failed": ("✗", "bad"), "unknown": ("·", "quiet")}


def lines(checks: Sequence[Mapping[str, str]]) -> list[CheckLine]:
    """Return the checklist as the API answers it, for people."""
    return [
        CheckLine(
            _LABELS.get(check["name"], check["name"].replace("_", " ").capitalize()),
            *_MARKS[check["status"]],
            check["detail"],
            check["who"],
        )
        for check in checks
    ]
