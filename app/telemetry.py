"""The metrics, the log lines and the spans of a process.

Metric labels have a limited set of values. Log lines are JSON and contain only ids, codes and numbers, never
personal data.
"""

import json
import logging
import random
import sys
import time
import tomllib
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from app.domain.incidents.kinds import KINDS, Severity
from app.domain.outcomes.outcome import OUTCOMES
from app.domain.outcomes.reasons import INGEST_REASONS
from app.domain.trace import is_sampled


def _read_version() -> str:
    """Return the program's version, from pyproject.toml or from the metadata of the installed package."""
    try:
        project = Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8")
    except FileNotFoundError:
        # An installed package has no pyproject.toml.
        from importlib.metadata import version

        return version("amazon-conversions-destination")
    return str(tomllib.loads(project)["project"]["version"])


VERSION: Final = _read_version()
NAMESPACE: Final = "amazon_conversions"  # the names of all metrics begin with it
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# Why a batch cannot be read: its row is missing, it cannot be decrypted, this process lacks its encryption
# key, or Postgres reports a damaged page.
UNREADABLE_REASONS = ("missing", "not_opened", "unknown_key", "damaged_data")
_log = logging.getLogger("app")


class OtlpSpans:
    """Sends OpenTelemetry spans over OTLP in the background. A span that is not accepted is dropped.

    It is an optional extra (`requirements/otlp.txt`), off without OTLP_ENDPOINT. A sampled span is created
    when its work has ended. Work that is not sampled costs one random number. If the caller sent a
    `traceparent`, its sampling decision applies. Raises ImportError if the extra is not installed.
    """

    def __init__(self, endpoint: str, *, sample_percent: int, role: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._share = sample_percent / 100
        resource = {"service.name": f"amazon-conversions-{role}", "service.version": VERSION}
        self._provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("app")

    def record(
        self,
        name: str,
        *,
        duration_s: float,
        attributes: Mapping[str, str | int | Sequence[int] | None],
        parent: str | None = None,
        links: Sequence[str] = (),
    ) -> None:
        """Record a span that ends now, if it is sampled. `parent` and `links` are values of `traceparent`."""
        known = [parent] if parent is not None else links
        if not (any(map(is_sampled, known)) if known else random.random() < self._share):  # noqa: S311
            return
        from opentelemetry.trace import Link, set_span_in_context
        from opentelemetry.trace.span import NonRecordingSpan, SpanContext, TraceFlags

        def context(traceparent: str) -> SpanContext:
            trace, span = int(traceparent[3:35], 16), int(traceparent[36:52], 16)
            return SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))

        ended = time.time_ns()
        span = self._tracer.start_span(
            name,
            set_span_in_context(NonRecordingSpan(context(parent))) if parent is not None else None,
            attributes={key: value for key, value in attributes.items() if value is not None},
            links=[Link(context(each)) for each in links],
            start_time=ended - round(duration_s * 1e9),
        )
        span.end(ended)

    def close(self) -> None:
        """Send the spans that are still queued, then stop."""
        self._provider.shutdown()


def counters_from_zero(
    registry: CollectorRegistry, name: str, help: str, label: str, values: Iterable[str]
) -> Mapping[str, Counter]:
    """Create a counter with one label, and return its series by the values of the label. They begin at 0.

    Prometheus calculates an increase from two samples: Prometheus would miss the first error of a series
    that begins at 1. To look up a series by its label costs more than to count.
    """
    counter = Counter(name, help, [label], NAMESPACE, registry=registry)
    return {value: counter.labels(value) for value in values}


class Telemetry:
    """The metrics of one process, on the registry that `/metrics` serves, and its log.

    Label values come from fixed tables such as reasons and outcomes. Text from a request is never a label,
    so the number of series is limited.
    """

    def __init__(self, spans: OtlpSpans | None = None) -> None:
        self.spans = spans
        self.registry = CollectorRegistry()
        # A fifth of all series, which no query uses.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=self.registry)  # memory, CPU, open files
        build = Info("build", "Version of the program", namespace=NAMESPACE, registry=self.registry)
        build.info({"version": VERSION})
        counters = partial(counters_from_zero, self.registry)
        gauge = partial(Gauge, namespace=NAMESPACE, registry=self.registry)
        histogram = partial(Histogram, namespace=NAMESPACE, registry=self.registry, buckets=_BUCKETS)
        self.received = counters(
            "events_received",
            "Events received: `accepted`, `duplicate` or `rejected`",
            "result",
            ("accepted", "duplicate", "rejected"),
        )
        self.rejected = counters("events_rejected", "Events rejected on receipt", "reason", INGEST_REASONS)
        self.dropped_keys = Counter(
            "match_keys_dropped",
            "Match keys left out of accepted events",
            ["match_key", "reason"],
            NAMESPACE,
            registry=self.registry,
        )
        self.flushes = counters(
            "flushes", "Commits of the events of posts", "result", ("stored", "refused", "failed")
        )
        self.flush_seconds = histogram("flush_duration_seconds", "Duration of a flush")
        self.waiting_posts = gauge("flush_queue_events", "Events that wait for the next flush")
        self.attempts = counters("attempts", "Requests to Amazon", "outcome", OUTCOMES.values())
        self.attempt_seconds = histogram("request_duration_seconds", "Duration of a request to Amazon")
        self.settled = counters(
            "events_settled",
            "Events that reached a final status, by status",
            "status",
            ("delivered", "dead", "expired"),
        )
        self.callbacks = counters(
            "status_callbacks",
            "Status callbacks: `acknowledged`, `not_acknowledged` or `failed_permanently`",
            "result",
            ("acknowledged", "not_acknowledged", "failed_permanently"),
        )
        self.unreadable_batches = counters(
            "unreadable_batches",
            "Batches `missing`, `not_opened`, with `damaged_data`, or with a key that the worker lacks",
            "reason",
            UNREADABLE_REASONS,
        )
        self.claims_failed = counters(
            "claims_failed",
            "Failed claims of waiting events: `damaged_data`, `defect`, `nothing_claimed`, `unknown_key`",
            "reason",
            ("damaged_data", "defect", "nothing_claimed", "unknown_key"),
        )
        self.lanes = gauge("lanes_owned", "Delivery queues that this worker serves")
        self.requests_in_flight = gauge(
            "requests_in_flight", "Requests to Amazon in preparation or in flight"
        )
        self.imbalance = gauge(
            "event_count_imbalance",
            "Events whose rows and counts disagree; NaN before the first check, the same in every process",
        )
        self.imbalance.set(float("nan"))  # unknown until the first check is complete
        self.claim_seconds = histogram(
            "claim_duration_seconds",
            "Time that a worker needs to reserve (claim) waiting events for a request",
        )
        self.database_errors = counters(
            "database_errors",
            "Database errors, by SQLSTATE class",
            "class",
            (*_CLASSES, _OTHER_CLASS, UNREACHABLE),
        )
        self.incidents_open = gauge(
            "incidents_open", "Open incidents; the same in every process", ["kind", "severity"]
        )
        self.notifications = counters(
            "notifications",
            "Messages about incidents: `delivered` or `failed`",
            "result",
            ("delivered", "failed"),
        )
        self.channels_missing = gauge(
            "notification_channels_missing",
            "Notification channels that only another process has: its `NOTIFY_` settings differ",
        )
        self.age_limit = gauge("event_age_limit_seconds", "Age at which a waiting event expires")
        self.lane_errors = counters(
            "lane_errors",
            "Requests not prepared (`defect`) or stored (`unsettled`), or with an error of the `database`",
            "kind",
            ("database", "defect", "unsettled"),
        )

    def log(self, event: str, /, *, level: int = logging.INFO, **fields: Any) -> None:
        """Log an event (`area.event`); `fields` are ids, codes and numbers."""
        _log.log(level, event, extra={"fields": fields})

    def failed(self, event: str, error: BaseException, /, *, level: int, **fields: Any) -> None:
        """Log an error, and count it in `database_errors` if it is a database error."""
        self.count_database_error(error)
        self.log(event, level=level, **fields, error=describe_exception(error), **sqlstate_fields(error))

    def set_open_incidents(self, numbers: Mapping[tuple[str, str], int]) -> None:
        """Set the gauge of open incidents. A kind and severity that `numbers` lacks becomes 0."""
        for kind, spec in KINDS.items():
            # The consequences of an incident may raise its severity.
            for severity in (each for each in Severity if each.rank >= spec.severity.rank):
                label = self.incidents_open.labels(kind.value, severity.value)
                label.set(numbers.get((kind.value, severity.value), 0))

    def count_database_error(self, error: BaseException) -> None:
        """Count a database error by its SQLSTATE class; ignore other errors."""
        if (error_class := class_of(error)) is not None:
            self.database_errors[error_class].inc()


class TextLines(logging.Formatter):
    """Formats a record for a terminal: time, level, event, fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "fields", {}).items())
        time = f"{datetime.fromtimestamp(record.created, UTC):%H:%M:%S.%f}"[:-3]
        line = f"{time} {record.levelname.lower():<7} {record.getMessage()} {fields}"
        if record.exc_info and record.exc_info[0] is not None:
            line += f" exception={describe_exception(record.exc_info[1])}"
        return line.rstrip()


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object. An exception's text is left out: it may contain personal data."""

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
    """Return an exception's type, SQLSTATE and last 8 stack frames, the innermost frame last.

    The exception's text is left out, because it may contain personal data.
    """
    if error is None:
        return "none"
    places = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename.removesuffix("/__init__.py").rpartition("/")[2]
        places.append(f"{file}:{line}:{frame.f_code.co_name}")
    state = getattr(_driver_error(error), "sqlstate", None)
    return f"{type(error).__name__}{f'[{state}]' if state else ''} at {' > '.join(places[-8:])}"


# SQLSTATE classes, with their names from the Postgres manual.
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
    """Return the metric label of a database error: its SQLSTATE class, `other` or `unreachable`.

    Returns None if the error does not come from the database.
    """
    cause = _driver_error(error)
    if state := getattr(cause, "sqlstate", None):
        return state[:2] if state[:2] in _CLASSES else _OTHER_CLASS
    from_driver = type(cause).__module__.partition(".")[0] in {"asyncpg", "sqlalchemy"}
    return UNREACHABLE if from_driver or isinstance(cause, OSError) else None


def _driver_error(error: BaseException) -> BaseException:
    # SQLAlchemy keeps the driver's error in `orig`.
    return getattr(error, "orig", None) or error


def sqlstate_fields(error: BaseException) -> dict[str, str]:
    """Return the log fields of an error of the database: its SQLSTATE and the name of its class."""
    state = getattr(_driver_error(error), "sqlstate", None)
    return {"sqlstate": state, "sqlstate_class": _CLASSES.get(state[:2], _OTHER_CLASS)} if state else {}


def configure_logging(level: str) -> None:
    """Log to standard error, as JSON lines or, on a terminal, as text. Call it once per process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if sys.stderr.isatty() else JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # httpx logs every URL. SQLAlchemy and asyncpg may log parameters, which can be personal data.
    # uvicorn reports the start of each of its servers; `process.started` reports the process once.
    for noisy in ("httpx", "httpcore", "asyncpg", "sqlalchemy", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
