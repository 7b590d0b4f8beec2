"""Views of the system page: what is wrong first, then the facts. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.admin.system import SystemState
from app.console.wording import age, events, number
from app.domain.clock_skew import MOST_SKEW_S
from app.domain.installation import MIN_DAYS_AHEAD, is_balance_old, must_rotate


@dataclass(frozen=True, slots=True)
class SystemCheck:
    """A check of the installation and its result. The sentence is about the time `at`, if it is not None."""

    label: str
    passed: bool
    sentence: str
    at: datetime | None = None


def checks(state: SystemState, *, with_totals: bool) -> Sequence[SystemCheck]:
    """Return the checks of the installation, failed checks first.

    Totals of all organisations would tell an organisation the volume of the others.
    """
    rows = [_workers(state), _durability(state), _clock(state), _partitions(state)]
    if with_totals:
        rows += [_balance(state), _keys(state)]
    return sorted(rows, key=lambda row: row.passed)


_SESSIONS: Final[Mapping[str, str]] = {
    "api": "API",
    "worker": "Worker",
    "own": "Storing events, lane leases, incident monitor",
}


def session_label(role: str) -> str:
    """Return a label that says what the database sessions of a kind of process do."""
    return _SESSIONS.get(role, role.capitalize())


def _workers(state: SystemState) -> SystemCheck:
    count = state.database.workers
    if count == 0:
        sentence = f"No worker is running. {_waiting(state)} wait. Start one with ./run work."
        return SystemCheck("Workers", False, sentence)
    return SystemCheck(
        "Workers",
        True,
        f"{number(count)} worker{'' if count == 1 else 's'} running. {_waiting(state)} wait.",
    )


def _waiting(state: SystemState) -> str:
    counted = events(state.waiting.events)
    return f"More than {counted}" if state.waiting.is_least else counted


def _durability(state: SystemState) -> SystemCheck:
    if state.database.fsync and state.database.synchronous_commit:
        return SystemCheck("Durability", True, "Commits reach the disk before a 202 is returned.")
    names = [
        name
        for name, is_on in (
            ("fsync", state.database.fsync),
            ("synchronous_commit", state.database.synchronous_commit),
        )
        if not is_on
    ]
    return SystemCheck(
        "Durability",
        False,
        f"Off: {' and '.join(names)}. A power failure can lose accepted events. Set to on in Postgres.",
    )


def _clock(state: SystemState) -> SystemCheck:
    offset = state.clock_offset_s
    if offset is None:
        return SystemCheck("Clock", True, "Not measured by this process.")
    if abs(offset) > MOST_SKEW_S:
        sentence = f"This process and the database differ by {offset:+.0f} s. Synchronise both clocks."
        return SystemCheck("Clock", False, sentence)
    return SystemCheck("Clock", True, f"This process and the database differ by {abs(offset):.1f} s.")


def _partitions(state: SystemState) -> SystemCheck:
    if state.days_ahead < MIN_DAYS_AHEAD:
        sentence = f"Partitions exist only {state.days_ahead} days ahead. Check that a worker is running."
        return SystemCheck("Maintenance", False, sentence)
    kept = "" if state.oldest_day is None else f" The oldest stored day is {state.oldest_day}."
    return SystemCheck("Maintenance", True, f"Partitions exist {state.days_ahead} days ahead.{kept}")


def _balance(state: SystemState) -> SystemCheck:
    last = state.balance
    if last is None:
        return SystemCheck("Event balance", True, "Not checked yet. Workers check it every hour.")
    if last.imbalance:
        sentence = f"{events(last.imbalance)} do not add up. Run ./run balance for the list. Checked"
        return SystemCheck("Event balance", False, sentence, last.finished_at)
    if is_balance_old(last.finished_at, state.database.now):
        return SystemCheck(
            "Event balance", False, "Check that a worker is running. Last checked", last.finished_at
        )
    return SystemCheck(
        "Event balance", True, f"No mismatches in {number(last.batches)} batches. Checked", last.finished_at
    )


def _keys(state: SystemState) -> SystemCheck:
    used = state.seals.get(state.writing_key, 0)
    if must_rotate(used):
        sentence = f"Key {state.writing_key} has encrypted {number(used)} values. Rotate to a new key."
        return SystemCheck("Encryption", False, sentence)
    return SystemCheck("Encryption", True, f"Key {state.writing_key} encrypts new values.")


def facts(state: SystemState, *, version: str, python: str, with_totals: bool) -> Sequence[tuple[str, str]]:
    """Return the facts about the program and the database, each as label and value."""
    found = state.database
    if not with_totals:
        return (("Version", version), ("Events waiting", _waiting(state)))
    return (
        ("Version", version),
        ("Python", python),
        ("Postgres", found.version),
        ("Schema", found.revision or "none"),
        ("Database size", f"{found.size_bytes / 2**20:,.0f} MiB"),
        ("Connections", f"{found.connections} of {found.max_connections}"),
        ("Database running for", age((found.now - found.started_at).total_seconds())),
        ("Events waiting", _waiting(state)),
    )


def keys(state: SystemState) -> Sequence[tuple[str, str, str]]:
    """Return for each encryption key: its id, an upper bound for the number of its uses, and its purpose."""
    ids = dict.fromkeys([state.writing_key, *state.seals])
    return [
        (
            key,
            number(state.seals.get(key, 0)),
            "encrypts new values" if key == state.writing_key else "decrypts older values",
        )
        for key in ids
    ]
