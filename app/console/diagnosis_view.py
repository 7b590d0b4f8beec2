"""What is wrong with a destination, and what to do, in a sentence each: the first rule that applies. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.console.wording import age, events, moment, number, share
from app.domain.outcomes.reasons import REASONS
from app.store.metrics import RequestRow


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`act` names the button or link beside it; `since` is when it began, where that is known."""

    tone: str
    headline: str
    remedy: str
    since: datetime | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class DiagnosisInput:
    """What the rules look at: `destination` and `stats` as the API answers them, requests newest first."""

    destination: Mapping[str, Any]
    stats: Mapping[str, Any]
    requests: Sequence[RequestRow]
    blocked_until: datetime | None
    now: datetime

    @property
    def counts(self) -> Mapping[str, int]:
        counts: Mapping[str, int] = self.stats["counts"]
        return counts

    @property
    def failing(self) -> Sequence[RequestRow]:
        """The newest requests up to the last that Amazon answered well, newest first."""
        run = []
        for request in self.requests:
            if request.outcome == "answered":
                break
            run.append(request)
        return run


_SIGN_IN = {
    "revoked": (
        "Every request would fail: the sign-in was revoked by the user, or has expired, at Amazon.",
        "Reconnect it and click Allow.",
    ),
    "unauthorized": (
        "Every request fails: Amazon refuses the sign-in even with a fresh token (401).",
        "Reconnect it; a new sign-in brings new tokens.",
    ),
    "forbidden": (
        "Every request fails: the signed-in user may not send for this advertiser (403).",
        "Give that user access to the advertiser in the DSP console, then reconnect.",
    ),
    "endpoint_not_found": (
        "Nothing is sent: Amazon does not know this address or advertiser account (404).",
        "Check the region and the advertiser id. One request is tried every 5 minutes, and sending resumes "
        "automatically when Amazon answers.",
    ),
    "disconnected": ("It was disconnected here.", "Reconnect it to send again."),
}

# What a run of failed requests means, by the outcome of the newest.
_RUNS: Mapping[str, tuple[str, str]] = {
    "throttled": (
        "Amazon asks to send more slowly (429).",
        "Nothing to do: the rate is lowered by itself, and no event loses a try by it.",
    ),
    "unauthorized": (
        "Amazon refuses the access token (401).",
        "A fresh one is fetched by itself; if that does not help, it parks.",
    ),
    "forbidden": (
        "Amazon forbids sending for this advertiser (403).",
        "Give the signed-in user access, then reconnect.",
    ),
    "divisible": (
        "Amazon refuses whole requests as malformed (400) or too large (413).",
        "They are halved until the event that spoils them stands alone; look at the dead letters.",
    ),
    "broken": (
        "Amazon's servers fail or answer something unreadable.",
        "Nothing to do: the same events are sent again by themselves.",
    ),
    "lost": (
        "Amazon does not answer: no connection, a time-out, or one cut off.",
        "Nothing to do if it is Amazon's; else check this machine's way to the internet.",
    ),
    "missing": (
        "Amazon does not know this address or advertiser account (404).",
        "Check the region and the advertiser id. The same events are sent again automatically.",
    ),
    "unexpected": (
        "Amazon answers with a status that its contract does not name.",
        "Check the region and the advertiser id; then replay what died.",
    ),
}


def diagnose(seen: DiagnosisInput) -> Diagnosis:
    """Return the one thing to know first."""
    for rule in _RULES:
        found = rule(seen)
        if found is not None:
            return found
    return _well(seen)


def _state(seen: DiagnosisInput) -> Diagnosis | None:
    waiting, state = seen.stats["waiting"], seen.destination["state"]
    waits = f" {events(waiting)} {'waits' if waiting == 1 else 'wait'}; none is lost." if waiting else ""
    expiry = moment(seen.stats["earliest_expiry_at"])
    if waiting and expiry is not None:
        waits += f" The first grows too old for Amazon in {age((expiry - seen.now).total_seconds())}."
    changed = moment(seen.destination["updated_at"])
    match state:
        case "archived":
            return Diagnosis("quiet", "This destination was deleted.", "Its history stays readable.")
        case "draft":
            return Diagnosis(
                "quiet", "It is not connected to Amazon yet.", "Connect it and click Allow.", action="connect"
            )
        case "needs_reconnect":
            headline, remedy = _SIGN_IN[seen.destination["reason"] or "revoked"]
            action = None if seen.destination["reason"] == "endpoint_not_found" else "connect"
            return Diagnosis("bad", headline, remedy + waits, changed, action)
        case "paused":
            return Diagnosis("warn", "It is paused.", "Resume it to send." + waits, changed, "resume")
        case "connected":
            return Diagnosis(
                "quiet",
                "It is connected, and no mapping is published.",
                "Publish a mapping.",
                action="mapping",
            )
        case _:
            return None


def _no_worker(seen: DiagnosisInput) -> Diagnosis | None:
    oldest = seen.stats["oldest_waiting_seconds"]
    if seen.stats["waiting"] and not seen.stats["lane_owned"] and (oldest or 0) > 15:
        return Diagnosis(
            "bad",
            f"No worker sends for this advertiser; the oldest event has waited {age(oldest)}.",
            "Start a worker, or look at why it ended.",
        )
    return None


def _run(seen: DiagnosisInput) -> Diagnosis | None:
    run = seen.failing
    # Nothing waits: what a refused request did to its events is told by the dead letters.
    if not run or not (seen.stats["waiting"] or run[0].outcome == "unexpected"):
        return None
    headline, remedy = _RUNS.get(run[0].outcome, _RUNS["broken"])
    status = run[0].http_status
    told = f" The newest answer was {status}." if status and str(status) not in headline else ""
    many = "The newest request failed" if len(run) == 1 else f"The newest {len(run)} requests failed"
    tone = "warn" if run[0].outcome in ("throttled", "unauthorized") else "bad"
    return Diagnosis(tone, f"{many}: {headline[0].upper()}{headline[1:]}{told}", remedy, run[-1].started_at)


def _often_throttled(seen: DiagnosisInput) -> Diagnosis | None:
    slow = [request for request in seen.requests if request.outcome == "throttled"]
    if not seen.stats["waiting"] or len(seen.requests) < 5 or len(slow) * 5 < len(seen.requests):
        return None
    rate = seen.stats["learned_rate"]
    learned = f" {number(round(rate, 1))} requests a second were learned." if rate else ""
    return Diagnosis(
        "warn",
        f"Amazon limits the rate: {len(slow)} of the newest {len(seen.requests)} requests were answered 429.",
        "Nothing to do: the rate follows what Amazon takes." + learned,
        slow[-1].started_at,
    )


def _dead(seen: DiagnosisInput) -> Diagnosis | None:
    dead = seen.counts["dead"]
    if not dead or not seen.stats["dead_letters"]:
        return None
    worst = max(seen.stats["dead_letters"], key=lambda row: row["count"])
    return Diagnosis(
        "bad",
        f"{events(dead)} {'was' if dead == 1 else 'were'} given up, {'' if dead == 1 else 'mostly '}for "
        f"“{worst['reason'].replace('_', ' ')}”.",
        worst["remedy"],
        action="dead",
    )


def _rejected(seen: DiagnosisInput) -> Diagnosis | None:
    rejected, accepted = seen.counts["rejected"], seen.counts["accepted"]
    if not seen.stats["rejections"] or rejected * 20 < accepted + rejected:
        return None
    worst = max(seen.stats["rejections"], key=lambda row: row["count"])
    reason = REASONS.get(worst["reason"])
    return Diagnosis(
        "warn",
        f"{share(rejected, accepted + rejected)} of all events were rejected at the door, mostly for "
        f"“{worst['reason'].replace('_', ' ')}”.",
        reason.remedy if reason else "Look at the reasons below.",
        action="rejected",
    )


def _expired(seen: DiagnosisInput) -> Diagnosis | None:
    expired = seen.counts["expired"]
    if not expired:
        return None
    return Diagnosis(
        "bad",
        f"{events(expired)} became too old for Amazon before being sent.",
        "Send events sooner, or reconnect and resume sooner.",
        action="expired",
    )


def _gate(seen: DiagnosisInput) -> Diagnosis | None:
    if seen.blocked_until is None or seen.blocked_until <= seen.now or not seen.stats["waiting"]:
        return None
    left = age((seen.blocked_until - seen.now).total_seconds())
    return Diagnosis("warn", f"Amazon asked to wait; {left} are left.", "Nothing to do.")


def _nothing_yet(seen: DiagnosisInput) -> Diagnosis | None:
    if seen.counts["accepted"] or seen.counts["rejected"]:
        return None
    return Diagnosis(
        "quiet",
        "Ready, and no event has come yet.",
        "Attach it to a journey, or send a test.",
        action="activate",
    )


def _well(seen: DiagnosisInput) -> Diagnosis:
    waiting = seen.stats["waiting"]
    if waiting:
        return Diagnosis(
            "good",
            f"Sending: {events(waiting)} {'is' if waiting == 1 else 'are'} on the way.",
            "Nothing to do.",
        )
    return Diagnosis("good", "All is well: every accepted event was dealt with.", "Nothing to do.")


_RULES: Sequence[Callable[[DiagnosisInput], Diagnosis | None]] = (
    _state,
    _no_worker,
    _run,
    _gate,
    _often_throttled,
    _dead,
    _expired,
    _rejected,
    _nothing_yet,
)
