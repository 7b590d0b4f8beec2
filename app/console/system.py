"""The settings of this instance, and the system page: processes, lanes of each worker, database, checks."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.responses import Response

from app.admin import ErrorCode, Refusal, Scope
from app.admin.access.people import ROLES
from app.admin.system import SystemState, read_system
from app.console.visits import CurrentVisit, PageRouter
from app.console.wording import events, number
from app.domain.installation import MIN_DAYS_AHEAD, MOST_SKEW_S, is_balance_old, must_rotate
from app.domain.quantity import quantity
from app.telemetry import VERSION

router = PageRouter()

_PYTHON: Final = sys.version.split()[0]

_SESSIONS: Final[Mapping[str, str]] = {
    "api": "API",
    "worker": "Worker",
    "own": "Storing events, lane leases, incident monitor",
}


@router.get("/console/system", Scope.DESTINATIONS_READ, Scope.ORGANISATIONS_ADMIN)
async def page(visit: CurrentVisit) -> Response:
    """Show the state of this installation. Only platform users see totals of all organisations."""
    state, with_totals = await read_system(visit.context), visit.caller.is_platform
    return await visit.show(
        "system.html",
        checks=checks(state, with_totals=with_totals),
        state=state,
        with_totals=with_totals,
        waiting_events=_waiting(state),
        version=VERSION,
        python=_PYTHON,
        session_labels=_SESSIONS,
    )


@router.get("/console/settings", *Scope)
async def settings(visit: CurrentVisit) -> Response:
    """Show the configuration of this instance and the permissions of the session."""
    return await visit.show("settings.html", python=_PYTHON, roles=ROLES)


@router.get("/console/components", Scope.DESTINATIONS_READ)
async def components(visit: CurrentVisit) -> Response:
    """Show every component of the pages once, with invented content. Developers compare pictures of it."""
    if not visit.context.development:
        raise Refusal(ErrorCode.NOT_FOUND)
    return await visit.show("components.html")


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


def _workers(state: SystemState) -> SystemCheck:
    count = state.database.workers
    if count == 0:
        sentence = f"No worker is running. {_waiting(state)} wait. Start one with ./run work."
    else:
        sentence = f"{quantity(count, 'worker')} running. {_waiting(state)} wait."
    return SystemCheck("Workers", count > 0, sentence)


def _waiting(state: SystemState) -> str:
    counted = events(state.waiting.events)
    return f"More than {counted}" if state.waiting.is_least else counted


def _durability(state: SystemState) -> SystemCheck:
    settings = {"fsync": state.database.fsync, "synchronous_commit": state.database.synchronous_commit}
    off = " and ".join(name for name, is_on in settings.items() if not is_on)
    if not off:
        return SystemCheck("Durability", True, "Commits reach the disk before a 202 is returned.")
    sentence = f"Off: {off}. A power failure can lose accepted events. Set to on in Postgres."
    return SystemCheck("Durability", False, sentence)


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
        days = quantity(state.days_ahead, "day")
        sentence = f"Partitions exist only {days} ahead. Check that a worker is running."
        return SystemCheck("Maintenance", False, sentence)
    kept = "" if state.oldest_day is None else f" The oldest stored day is {state.oldest_day}."
    return SystemCheck(
        "Maintenance", True, f"Partitions exist {quantity(state.days_ahead, 'day')} ahead.{kept}"
    )


def _balance(state: SystemState) -> SystemCheck:
    last = state.balance
    if last is None:
        return SystemCheck("Event balance", True, "Not checked yet. Workers check it every hour.")
    if last.imbalance:
        sentence = f"{events(last.imbalance)} do not add up. Run ./run balance for the list. Checked"
        return SystemCheck("Event balance", False, sentence, last.finished_at)
    if is_balance_old(last.finished_at, state.database.now):
        sentence = "Check that a worker is running. Last checked"
        return SystemCheck("Event balance", False, sentence, last.finished_at)
    sentence = f"No mismatches in {quantity(last.batches, 'batch', 'batches')}. Checked"
    return SystemCheck("Event balance", True, sentence, last.finished_at)


def _keys(state: SystemState) -> SystemCheck:
    used = state.seals.get(state.writing_key, 0)
    if must_rotate(used):
        sentence = f"Key {state.writing_key} has encrypted {number(used)} values. Rotate to a new key."
        return SystemCheck("Encryption", False, sentence)
    return SystemCheck("Encryption", True, f"Key {state.writing_key} encrypts new values.")
