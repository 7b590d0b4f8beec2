"""Counters with bounded labels, and log lines that hold ids and words, never a person's value."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_road = logging.getLogger("road")


class Telemetry:
    """The road's counters, all on one registry that `/metrics` shows.

    Labels are words from closed tables (reasons, outcomes), never ids of callers: the number of series
    is bounded whatever is sent.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, CPU, open files
        self.received = Counter(
            "events_received", "Events judged at the door", ["status"], registry=self.registry
        )
        self.rejected = Counter(
            "events_rejected", "Events rejected at the door", ["reason"], registry=self.registry
        )
        self.flushes = Counter("flushes", "Group commits", ["result"], registry=self.registry)
        self.flush_seconds = Histogram(
            "flush_seconds", "Time of one group commit", buckets=_SECONDS, registry=self.registry
        )
        self.waiting_posts = Gauge(
            "flush_waiting_events", "Events waiting for a commit", registry=self.registry
        )
        self.attempts = Counter(
            "amazon_attempts", "Requests to Amazon by outcome", ["outcome"], registry=self.registry
        )
        self.attempt_seconds = Histogram(
            "amazon_attempt_seconds", "Time until Amazon's answer", buckets=_SECONDS, registry=self.registry
        )
        self.settled = Counter(
            "events_settled",
            "Events that reached a final or retrying state",
            ["status"],
            registry=self.registry,
        )
        self.callbacks = Counter(
            "status_callbacks", "Requests to the journey engine", ["result"], registry=self.registry
        )
        self.unreadable_batches = Counter(
            "amazon_conversions_unreadable_batches",
            "Batches and single events that a claim could not read, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.claims_failed = Counter(
            "amazon_conversions_claims_failed",
            "Claims of due work that gave no request, by reason; the queue backs off",
            ["reason"],
            registry=self.registry,
        )
        self.lanes = Gauge("lanes_owned", "Lanes this worker owns", registry=self.registry)
        # Not a number until a check has finished: nothing is said before something is known.
        self.imbalance = Gauge(
            "amazon_conversions_event_count_imbalance",
            "Events for which ledger, batches, states, exceptions and counts disagree; 0 when all adds up",
            registry=self.registry,
        )
        self.imbalance.set(float("nan"))
        self.waiting = Gauge(
            "amazon_conversions_waiting_events",
            "Accepted events that wait for Amazon, of all destinations; the same in every worker",
            ["status"],
            registry=self.registry,
        )
        self.oldest_waiting = Gauge(
            "amazon_conversions_oldest_waiting_age_seconds",
            "Age of the oldest of them since it was accepted; 0 when none waits",
            ["status"],
            registry=self.registry,
        )
        self.database_errors = Counter(
            "amazon_conversions_database_errors",
            "Statements and connections that the database refused, by SQLSTATE class",
            ["class"],
            registry=self.registry,
        )
        self.lane_errors = Counter(
            "amazon_conversions_lane_errors",
            "Requests of a lane that could not be prepared or settled",
            ["kind"],
            registry=self.registry,
        )
        for kind in ("database", "defect", "unreadable", "unsettled"):
            self.lane_errors.labels(kind)

    def log(self, happening: str, *, level: int = logging.INFO, **facts: Any) -> None:
        """Write one wide line; `facts` are ids, words and numbers."""
        _road.log(level, happening, extra={"facts": facts})

    def failed(self, happening: str, error: BaseException, *, level: int, **facts: Any) -> None:
        """Count an error by its class where the database raised it, and write a line that names it."""
        self.count_database_error(error)
        self.log(happening, level=level, **facts, error=describe_exception(error), **_fields_of(error))

    def count_database_error(self, error: BaseException) -> None:
        """Count an error by its class, where the database raised it or could not be reached."""
        if (kind := class_of(error)) is not None:
            self.database_errors.labels(kind).inc()


class JsonLines(logging.Formatter):
    """One JSON object a line. An exception is told by its type and place, never by its text or values."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = describe_exception(record.exc_info[1])
        return json.dumps(line, default=str)


def describe_exception(error: BaseException | None) -> str:
    """Return an exception's type and the places it passed, innermost last; its text may hold values."""
    if error is None:
        return "none"
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__}{f'[{state}]' if state else ''} at {' > '.join(places[-8:])}"


# The classes of SQLSTATE that a server may answer with, by the names that Postgres gives them.
_CLASSES = {
    "08": "connection_exception",
    "0A": "feature_not_supported",
    "22": "data_exception",
    "23": "integrity_constraint_violation",
    "25": "invalid_transaction_state",
    "28": "invalid_authorization",
    "40": "transaction_rollback",
    "42": "syntax_or_access_error",
    "53": "insufficient_resources",
    "54": "program_limit_exceeded",
    "55": "object_not_in_prerequisite_state",
    "57": "operator_intervention",
    "58": "system_error",
    "F0": "config_file_error",
    "XX": "internal_error",
}
UNREACHABLE = "unreachable"


def class_of(error: BaseException) -> str | None:
    """Return the class of a database's error, `unreachable` without an answer, None for any other error."""
    # An error that SQLAlchemy wraps carries the driver's own.
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    if state:
        return state[:2] if state[:2] in _CLASSES else "other"
    is_drivers = type(cause).__module__.partition(".")[0] in {"asyncpg", "sqlalchemy"}
    return UNREACHABLE if is_drivers or isinstance(cause, OSError) else None


def _fields_of(error: BaseException) -> dict[str, str]:
    state = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    return {"sqlstate": state, "sqlstate_class": _CLASSES.get(state[:2], "other")} if state else {}


def configure_logging(level: str) -> None:
    """Send all log lines to standard error in the one form; called by the roots."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # httpx logs every URL, sqlalchemy and asyncpg may log parameters: personal data has no business there.
    for noisy in ("httpx", "httpcore", "asyncpg", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
