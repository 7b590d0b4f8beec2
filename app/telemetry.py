"""Metrics with bounded labels, and JSON log lines of ids, codes and numbers; never personal data."""

import json
import logging
import sys
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from app.domain.incidents.kinds import KINDS


def _read_version() -> str:
    """Return the version in pyproject.toml, the only file with it; for an installed wheel, the wheel's
    version.
    """
    try:
        project = Path(__file__).parents[1].joinpath("pyproject.toml").read_text()
    except FileNotFoundError:
        from importlib.metadata import version

        return version("amazon-conversions-destination")
    return str(tomllib.loads(project)["project"]["version"])


VERSION: Final = _read_version()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Why a batch cannot be read: its row is missing, its data cannot be decrypted, or reading it is an error.
UNREADABLE_REASONS = ("missing", "not_opened", "damaged_data")
_log = logging.getLogger("app")


class Spans(Protocol):
    """Records finished work as OpenTelemetry spans (`app.tracing`)."""

    def record(
        self,
        name: str,
        *,
        duration_s: float,
        attributes: Mapping[str, str | int | Sequence[int] | None],
        parent: str | None = None,
        links: Sequence[str] = (),
    ) -> None:
        """Record a span that ends now, if it is sampled."""
        ...


class Telemetry:
    """The metrics of one process, on the registry that `/metrics` serves.

    Label values come from closed tables (reasons, outcomes), never from callers: the number of series is
    bounded.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.spans: Spans | None = None
        self.registry = registry if registry is not None else CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, CPU, open files
        Info("amazon_conversions_build", "Version of the program", registry=self.registry).info(
            {"version": VERSION}
        )
        self.received = Counter(
            "amazon_conversions_events_received",
            "Events received, by result: accepted, duplicate, rejected",
            ["result"],
            registry=self.registry,
        )
        self.rejected = Counter(
            "amazon_conversions_events_rejected",
            "Events rejected on receipt, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.dropped_keys = Counter(
            "amazon_conversions_match_keys_dropped",
            "Match keys left out of accepted events, by wire type and reason",
            ["match_key", "reason"],
            registry=self.registry,
        )
        self.flushes = Counter(
            "amazon_conversions_flushes", "Group commits, by result", ["result"], registry=self.registry
        )
        self.flush_seconds = Histogram(
            "amazon_conversions_flush_duration_seconds",
            "Duration of a group commit",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.waiting_posts = Gauge(
            "amazon_conversions_flush_queue_events",
            "Events that wait for a group commit",
            registry=self.registry,
        )
        self.attempts = Counter(
            "amazon_conversions_attempts",
            "Requests to Amazon, by outcome",
            ["outcome"],
            registry=self.registry,
        )
        self.attempt_seconds = Histogram(
            "amazon_conversions_request_duration_seconds",
            "Duration of a request to Amazon",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.settled = Counter(
            "amazon_conversions_events_settled",
            "Events that reached a final status, by status",
            ["status"],
            registry=self.registry,
        )
        self.callbacks = Counter(
            "amazon_conversions_status_callbacks",
            "Status callbacks to the journey engine, by result",
            ["result"],
            registry=self.registry,
        )
        self.unreadable_batches = Counter(
            "amazon_conversions_unreadable_batches",
            "Batches and single events that a claim could not read, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.claims_failed = Counter(
            "amazon_conversions_claims_failed",
            "Claims of due events that yielded no request, by reason; the queue backs off",
            ["reason"],
            registry=self.registry,
        )
        self.lanes = Gauge(
            "amazon_conversions_lanes_owned", "Lanes that this worker owns", registry=self.registry
        )
        self.imbalance = Gauge(
            "amazon_conversions_event_count_imbalance",
            "Events for which ledger, batches, states, exceptions and counts disagree; expected to be 0",
            registry=self.registry,
        )
        self.imbalance.set(float("nan"))  # unknown until the first check is complete
        self.claim_seconds = Histogram(
            "amazon_conversions_claim_duration_seconds",
            "Duration of a claim of due events, decryption included",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.database_errors = Counter(
            "amazon_conversions_database_errors",
            "Database errors, by SQLSTATE class",
            ["class"],
            registry=self.registry,
        )
        self.incidents_open = Gauge(
            "amazon_conversions_incidents_open",
            "Open incidents, by kind and severity; the same in every process",
            ["kind", "severity"],
            registry=self.registry,
        )
        self.notifications = Counter(
            "amazon_conversions_notifications",
            "Deliveries of messages about incidents to channels, by result: delivered, failed",
            ["result"],
            registry=self.registry,
        )
        self.lane_errors = Counter(
            "amazon_conversions_lane_errors",
            "Requests of a lane that could not be prepared or settled",
            ["kind"],
            registry=self.registry,
        )
        self._export_from_start()

    def _export_from_start(self) -> None:
        """Export the series of alerts as 0 at first: a series that begins at 1 has no increase for
        Prometheus.
        """
        for counter, values in (
            (self.received, ("accepted", "duplicate", "rejected")),
            (self.settled, ("delivered", "dead", "expired")),
            (self.callbacks, ("acknowledged", "not_acknowledged", "failed_permanently")),
            (self.notifications, ("delivered", "failed")),
            (self.unreadable_batches, UNREADABLE_REASONS),
            (self.claims_failed, ("damaged_data", "defect", "nothing_claimed")),
            (self.database_errors, (*_CLASSES, _OTHER_CLASS, UNREACHABLE)),
            (self.lane_errors, ("database", "defect", "unsettled")),
        ):
            for value in values:
                counter.labels(value)

    def log(self, event: str, /, *, level: int = logging.INFO, **fields: Any) -> None:
        """Log an event (`area.event`); `fields` are ids, codes and numbers."""
        _log.log(level, event, extra={"fields": fields})

    def failed(self, event: str, error: BaseException, /, *, level: int, **fields: Any) -> None:
        """Log an error, and count it if the database raised it."""
        self.count_database_error(error)
        self.log(event, level=level, **fields, error=describe_exception(error), **_sqlstate_fields(error))

    def set_open_incidents(self, numbers: Mapping[tuple[str, str], int]) -> None:
        """Set the gauge of open incidents, by kind and severity; other series become 0."""
        for kind, spec in KINDS.items():
            label = self.incidents_open.labels(kind.value, spec.severity.value)
            label.set(numbers.get((kind.value, spec.severity.value), 0))

    def count_database_error(self, error: BaseException) -> None:
        """Count an error by its class if the database raised it or was unreachable."""
        if (error_class := class_of(error)) is not None:
            self.database_errors.labels(error_class).inc()


class TextLines(logging.Formatter):
    """Format a record for a terminal: time, level, event, fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        at = datetime.fromtimestamp(record.created, UTC)
        line = f"{at:%H:%M:%S.%f}"[:-3] + f" {record.levelname.lower():<7} {record.getMessage()} {fields}"
        if record.exc_info and record.exc_info[0] is not None:
            line += f" exception={describe_exception(record.exc_info[1])}"
        return line.rstrip()


class JsonLines(logging.Formatter):
    """Format a record as one JSON object. Exceptions appear by type and location: their text may contain
    values.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = describe_exception(record.exc_info[1])
        return json.dumps(line, default=str)


def describe_exception(error: BaseException | None) -> str:
    """Return an exception's type and call path, innermost last; not its text, which may contain values."""
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


# SQLSTATE classes that a server may return, with the names from the Postgres manual.
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
_OTHER_CLASS = "other"


def class_of(error: BaseException) -> str | None:
    """Return the SQLSTATE class of a database error, `unreachable` without one, None for other errors."""
    # SQLAlchemy keeps the driver's error in `orig`.
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    if state:
        return state[:2] if state[:2] in _CLASSES else _OTHER_CLASS
    from_driver = type(cause).__module__.partition(".")[0] in {"asyncpg", "sqlalchemy"}
    return UNREACHABLE if from_driver or isinstance(cause, OSError) else None


def _sqlstate_fields(error: BaseException) -> dict[str, str]:
    state = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    return {"sqlstate": state, "sqlstate_class": _CLASSES.get(state[:2], "other")} if state else {}


def configure_logging(level: str) -> None:
    """Log to standard error: JSON lines, or text on a terminal. Called once per process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if sys.stderr.isatty() else JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # httpx logs every URL; sqlalchemy and asyncpg may log parameters, which can be personal data.
    for noisy in ("httpx", "httpcore", "asyncpg", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
