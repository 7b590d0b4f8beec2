"""Serve the health and the metrics of a process on METRICS_PORT, with gauges that are read from the database.

The gauges are: waiting events, balance, rates, breakers, tokens and backups. Every process serves the same
values, so aggregate them with the maximum, not the sum.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import asyncpg
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.domain.destination import State
from app.domain.outcomes.status import WAITING, Status, waiting_status
from app.health import metrics_text
from app.processes.listeners import listen
from app.processes.resources import Resources
from app.store import incidents, transactions, waiting_events
from app.store.database import backups, balance
from app.store.privacy import erasures
from app.telemetry import Telemetry

READ_EVERY_S: Final = 15.0
_REST_FACTOR: Final = 20  # after a slow read, wait for this multiple of its duration
_NAME: Final = "amazon_conversions_"


class DatabaseGauges(Collector):
    """Serves the gauges with the values of the last read. `per_destination` adds the label `destination`."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        telemetry: Telemetry,
        *,
        per_destination: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._telemetry = telemetry
        self._labels = ["destination"] if per_destination else []
        self._waiting: list[waiting_events.WaitingCounts] = []
        self._paces: list[waiting_events.DestinationPace] = []
        self._backups = backups.BackupState()
        self._erasure_age_s: float | None = None
        self._monitor_age_s: float | None = None
        self._is_read = False
        self._read_at = self._ages_read_at = 0.0
        self._is_current = self._ages_are_current = True  # whether the last read succeeded
        telemetry.registry.register(self)

    async def run(self) -> None:
        """Read the values repeatedly until cancelled."""
        while True:
            started_at = time.monotonic()
            try:
                await self.read()
            except Exception as error:  # also a damaged value, which the driver cannot represent
                self._telemetry.failed("gauges.read_failed", error, level=30)
            await asyncio.sleep(max(READ_EVERY_S, _REST_FACTOR * (time.monotonic() - started_at)))

    async def read(self) -> None:
        """Read all values. If this takes more than 5 seconds, it fails.

        After an error, the last values remain, but ages grow. Otherwise no alert would fire about what waits
        while so much waits that it cannot be read in time. The other ages are read first, so they stay right.
        """
        self._is_current = self._ages_are_current = False
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            await transactions.set_statement_timeout(connection, seconds=5)
            erasure_age_s = await erasures.oldest_age_s(connection)
            monitor_age_s = await incidents.monitor_age_s(connection)
            self._erasure_age_s, self._monitor_age_s = erasure_age_s, monitor_age_s
            self._ages_read_at, self._ages_are_current = self._monotonic(), True
            waiting, paces = await waiting_events.read(connection), await waiting_events.paces(connection)
            checked, self._backups = await balance.last(connection), await backups.read(connection)
        self._waiting, self._paces = waiting, paces
        self._read_at, self._is_read, self._is_current = self._monotonic(), True, True
        if checked is not None:
            self._telemetry.imbalance.set(checked.imbalance)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics. Before the first read they have no samples."""
        events = self._family("waiting_events", "Accepted events that wait for Amazon", ["status"])
        ages = self._family(
            "oldest_waiting_age_seconds",
            "Age of the oldest waiting event since its acceptance; 0 when none waits",
            ["status"],
        )
        for (status, destination), (number, age) in self._totals().items():
            events.add_metric([status.value, *destination], number)
            ages.add_metric([status.value, *destination], age)
        rates = self._family("lane_rate_limit", "Lowest allowed requests per second of a destination", [])
        breakers = self._family("breaker_open", "Active destinations whose circuit breaker is not closed", [])
        tokens = self._family(
            "token_expiry_seconds",
            "Lowest seconds until the access token of a destination with waiting events expires",
            [],
        )
        for labels, paces in self._groups():
            rates.add_metric(labels, min([pace.rate for pace in paces], default=float("nan")))
            breakers.add_metric(labels, sum(pace.breaker_open for pace in paces))
            left = [pace.token_left_s for pace in paces if pace.token_left_s is not None]
            tokens.add_metric(labels, min(left, default=float("nan")))
        yield from (events, ages, rates, breakers, tokens)
        yield GaugeMetricFamily(
            _NAME + "oldest_erasure_age_seconds",
            "Time since the oldest unfinished erasure was requested; 0 if all are finished",
            self._grown(self._erasure_age_s),
        )
        yield GaugeMetricFamily(
            _NAME + "incident_monitor_age_seconds",
            "Time since incidents were last computed; +Inf if they never were",
            self._grown(self._monitor_age_s),
        )
        verified_at = self._backups.base_verified_at
        yield GaugeMetricFamily(
            _NAME + "last_base_backup_timestamp_seconds",
            "Time at which `backup` verified its last base backup; no sample before the first",
            None if verified_at is None else verified_at.timestamp(),
        )
        yield GaugeMetricFamily(
            _NAME + "replication_slot_retained_bytes",
            "WAL that the server retains until `backup --follow` receives it; +Inf if it removed some",
            self._backups.retained_bytes,
        )

    def _family(self, name: str, text: str, labels: list[str]) -> GaugeMetricFamily:
        return GaugeMetricFamily(_NAME + name, text, labels=[*labels, *self._labels])

    def _totals(self) -> dict[tuple[Status, tuple[str, ...]], tuple[int, float]]:
        """Return the number of waiting events and the greatest age in seconds, by status and labels."""
        totals: dict[tuple[Status, tuple[str, ...]], tuple[int, float]] = {}
        if self._is_read and not self._labels:
            totals = {(status, ()): (0, 0.0) for status in WAITING}
        for row in self._waiting:
            status = waiting_status(State(row.state), failing=row.failing)
            key = (status, (row.destination,) if self._labels else ())
            events, age = totals.get(key, (0, 0.0))
            totals[key] = (events + row.events, max(age, row.age_s + self._since_read()))
        return totals

    def _since_read(self) -> float:
        """Return the seconds since the last read that succeeded; 0 if there was no other since."""
        return 0.0 if self._is_current else self._monotonic() - self._read_at

    def _grown(self, age_s: float | None) -> float | None:
        """Return the age of an erasure or of the monitor. If it is 0, nothing waits."""
        since_read = 0.0 if self._ages_are_current else self._monotonic() - self._ages_read_at
        return age_s and age_s + since_read

    def _groups(self) -> Iterable[tuple[list[str], list[waiting_events.DestinationPace]]]:
        if not self._is_read:
            return []
        if not self._labels:
            return [([], self._paces)]
        return [([pace.destination], [pace]) for pace in self._paces]


@asynccontextmanager
async def monitoring_port(resources: Resources, *, stopping: Callable[[], bool]) -> AsyncIterator[None]:
    """Read the gauges and serve the monitoring port during the block.

    Without METRICS_PORT, an API process only reads the gauges, because it serves its own `/metrics`. A worker
    then does nothing. Raises SettingsError if the port cannot be opened.
    """
    settings = resources.settings
    if settings.metrics_port is None and resources.role != "api":
        yield
        return
    gauges = DatabaseGauges(
        resources.pool, resources.telemetry, per_destination=settings.metrics_per_destination
    )
    async with AsyncExitStack() as stack:
        stack.callback(asyncio.create_task(gauges.run(), name="gauges").cancel)
        if settings.metrics_port is not None:
            # These modules load the web framework (10 MB). A worker without the port does not need it.
            from app.server.server import MonitoringServer, monitoring_application

            metrics = metrics_text(resources.telemetry.registry, time.monotonic)
            application = monitoring_application(
                metrics=metrics, readiness=resources.readiness, stopping=stopping
            )
            listener = stack.enter_context(listen(settings, settings.metrics_port, "METRICS_PORT"))
            server = MonitoringServer(application)
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="monitoring")
            stack.push_async_callback(lambda: serving)  # waits for its end, after `stop`
            stack.callback(server.stop)
        yield
