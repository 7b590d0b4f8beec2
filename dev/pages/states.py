"""docs/states.md, from `app.domain.outcomes.status`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from app.domain.destination import State
from app.domain.outcomes.status import FINAL, Status, status_of

MEANINGS: Final[Mapping[Status, str]] = {
    Status.QUEUED: "waits for its first request, also after a 429",
    Status.RETRYING: "at least one attempt failed, or it was replayed; it is sent again automatically",
    Status.HELD: "its destination is paused, or its organisation is suspended",
    Status.PARKED: "its destination has no valid sign-in, or Amazon answers 404",
    Status.DELIVERED: "Amazon accepted this event by its index",
    Status.DEAD: "failed permanently; its reason names the remedy",
    Status.EXPIRED: "exceeded Amazon's age limit while it waited",
    Status.ERASED: "a person's data was erased before it was delivered",
}
"""The meaning of each status for operators."""

TRANSITIONS: Final[Sequence[tuple[Status | None, Status, str]]] = (
    (None, Status.QUEUED, "the response is 202"),
    (Status.QUEUED, Status.DELIVERED, "Amazon accepted it"),
    (Status.QUEUED, Status.RETRYING, "an attempt failed"),
    (Status.QUEUED, Status.DEAD, "Amazon refused it, or it was discarded"),
    (Status.RETRYING, Status.DELIVERED, "Amazon accepted it"),
    (Status.RETRYING, Status.DEAD, "Amazon refused it, or its attempts are used up"),
    (Status.QUEUED, Status.HELD, "its destination is paused, or its organisation is suspended"),
    (Status.HELD, Status.QUEUED, "its destination or organisation is resumed"),
    (Status.QUEUED, Status.PARKED, "the sign-in is lost, or Amazon answers 404"),
    (Status.PARKED, Status.QUEUED, "its destination is connected again"),
    (Status.QUEUED, Status.EXPIRED, "older than Amazon takes"),
    (Status.RETRYING, Status.EXPIRED, "older than Amazon takes"),
    (Status.DEAD, Status.RETRYING, "it is replayed"),
    (Status.EXPIRED, Status.RETRYING, "it is replayed"),
    (Status.QUEUED, Status.ERASED, "a person's data is erased"),
    (Status.DEAD, Status.ERASED, "a person's data is erased"),
)
"""Each change of the status (from, to) and its cause. None is the state before acceptance."""

DISPOSITIONS: Final = ("sent", "expired", "discarded")
EXCEPTIONS: Final = ("retrying", "delivered", "dead", "expired", "erased")

_INTRODUCTION: Final = """# States of an event

Generated from `app/domain/outcomes/status.py` by `./run docs --update`. A test keeps it up to date.

No row stores an event's status. It follows from three facts: the disposition of its batch (`batch_states`),
its own row in `exceptions` if it has one, and the state of its destination
([ADR 0004](adr/0004-event-state-from-batch-and-exception-rows.md)).
"""


def page() -> str:
    """Return docs/states.md."""
    return "\n".join(
        (
            _INTRODUCTION,
            "## Transitions\n",
            *_transitions(),
            "\nNot listed: `retrying` becomes `held`, `parked` and `erased` as `queued` does; `held` and "
            "`parked` become `expired` as `queued` does; `expired` becomes `erased` as `dead` does.\n",
            "## Meanings\n",
            "| status | final | meaning |",
            "|---|---|---|",
            *(
                f"| `{status}` | {'yes' if status in FINAL else 'no'} | {MEANINGS[status]} |"
                for status in Status
            ),
            "\n`rejected` is the result of an event that was not accepted. It is counted separately.\n",
            "## Status by facts\n",
            "| exception | batch disposition | batch tries | " + " | ".join(State) + " |",
            "|---|---|---|" + "---|" * len(State),
            *_rows(),
            "",
        )
    )


def _transitions() -> Iterator[str]:
    yield "| from | to | when |"
    yield "|---|---|---|"
    for source, target, reason in TRANSITIONS:
        yield f"| {f'`{source}`' if source else 'a request'} | `{target}` | {reason} |"


def _rows() -> Iterator[str]:
    """Yield a row of the table for each combination of facts that affects the status."""
    yield _row("none", "none", "0", _statuses(None, 0, None))
    yield _row("none", "none", "1 or more", _statuses(None, 1, None))
    for disposition in DISPOSITIONS:
        yield _row("none", f"`{disposition}`", "any", _statuses(disposition, 0, None))
    for exception in EXCEPTIONS:
        yield _row(f"`{exception}`", "any", "any", _statuses(None, 0, exception))


def _statuses(disposition: str | None, tries: int, exception: str | None) -> list[Status]:
    return [
        status_of(disposition=disposition, tries=tries, exception=exception, state=state) for state in State
    ]


def _row(exception: str, disposition: str, tries: str, statuses: Sequence[Status]) -> str:
    return f"| {exception} | {disposition} | {tries} | " + " | ".join(statuses) + " |"
