"""Numbers, shares, ages and states in the words and the tone that every page says them in. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.domain.destination import REGION_NAMES


def number(value: float) -> str:
    """Return a count with thin groups: `1,234`; a rate keeps one decimal where it has one."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def share(part: int, whole: int) -> str:
    """Return a share that never rounds something to nothing, nor almost all to all."""
    if whole <= 0:
        return "–"
    if part == 0:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent >= 10 or percent.is_integer() else f"{percent:.1f} %"


def events(count: int) -> str:
    """Return a number of events in words: `1 event`, `2,000 events`."""
    return f"{number(count)} event{'' if count == 1 else 's'}"


_STEPS = ((86_400, "day", "days"), (3_600, "h", "h"), (60, "min", "min"), (1, "s", "s"))


def age(seconds: float | None) -> str:
    """Return a span of time in at most two units: `3 h 10 min`."""
    if seconds is None:
        return "–"
    left, told = int(max(0.0, seconds)), []
    for size, one, many in _STEPS:
        count, left = divmod(left, size)
        if count:
            told.append(f"{count} {one if count == 1 else many}")
        if told and (len(told) == 2 or size == 1 or not left):
            break
        if told and not count:
            break
    return " ".join(told[:2]) or "0 s"


def moment(iso: str | datetime | None) -> datetime | None:
    """Return a time as the API writes it, or as the store gives it, as a time."""
    if iso is None or isinstance(iso, datetime):
        return iso
    return datetime.fromisoformat(iso)


@dataclass(frozen=True, slots=True)
class Label:
    """A label, the tone it is said in (`good`, `warn`, `bad`, `quiet`), and what it means."""

    label: str
    tone: str
    meaning: str


STATES = {
    "draft": Label("Draft", "quiet", "Not connected to Amazon yet; it takes no events."),
    "connected": Label("Connected", "quiet", "Signed in at Amazon; publish a mapping and it takes events."),
    "active": Label("Active", "good", "Events are sent as they come."),
    "paused": Label("Paused", "warn", "Events are accepted and wait until it is resumed."),
    "needs_reconnect": Label(
        "Reconnect", "bad", "Amazon's sign-in or account needs a look; events are accepted and wait."
    ),
    "archived": Label("Deleted", "quiet", "It takes no events; its history stays readable."),
}

STATUSES = {
    "queued": Label("Queued", "quiet", "Stored; waits for its turn."),
    "retrying": Label("Retrying", "warn", "Failed at least once; is tried again by itself."),
    "held": Label("Held", "warn", "Waits because the destination is paused."),
    "parked": Label("Parked", "bad", "Waits because the sign-in at Amazon is gone."),
    "delivered": Label("Delivered", "good", "Amazon accepted it."),
    "dead": Label("Dead", "bad", "Given up; needs a person."),
    "expired": Label("Expired", "bad", "Became older than Amazon takes before it could be sent."),
    "erased": Label("Erased", "quiet", "The person's data was erased on request."),
}


def person(actor: str, names: Mapping[str, str]) -> str:
    """Return who an act is of: what their key is called, else what was recorded."""
    return names.get(actor, "the bootstrap key" if actor == "bootstrap" else actor)


REGIONS = {region.value: name for region, name in REGION_NAMES.items()}
