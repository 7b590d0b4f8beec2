"""The faults of a game day: how each is injected and repaired, and the alerts that it must raise."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
import httpx

from app.domain.installation import MAX_RETAINED_BYTES
from app.incidents.monitor import LEASE
from app.store.database.backups import SLOT
from dev.drills.load import Load
from dev.drills.monitoring import Monitoring
from dev.drills.stage import Stage
from dev.example import Example

WORKERS = ("worker-1", "worker-2")
# The names of destinations besides the example of `./run`. Each is used by one fault.
TARGETS = ("sign-in", "token", "refused", "paused", "damaged", "page", "settlement")
LOCKED_S = 4.0  # the time for which inserts of batches wait
CROWD, CROWD_EVENTS = 24, 500
USUAL_EVENTS = 1_000_000  # events in an hour, far more than a game day sends
REFUSED_WITHIN_S = 60.0  # within this time, another fault opens an incident and causes a message

_FLIP = """
    UPDATE batches SET content = set_bit(content, length(content) * 4, 1 - get_bit(content, length(content) * 4))
    WHERE id = ANY($1::bigint[])
"""
_DAMAGED_PAGE = """
    CREATE OR REPLACE FUNCTION damaged_page() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'invalid page' USING ERRCODE = 'XX001'; END $$
"""
_COUNT = """
    UPDATE counts SET accepted = accepted + $2 WHERE (destination, day, writer) = (
      SELECT destination, day, writer FROM counts WHERE destination = $1 AND accepted > 3
      ORDER BY day, writer LIMIT 1)
"""
_LEASED_MONITOR = """
    INSERT INTO job_leases VALUES ('incidents', 'drill', clock_timestamp() + $1)
    ON CONFLICT (job) DO UPDATE SET owner = excluded.owner, leased_until = excluded.leased_until
"""
_USUAL_VOLUME = """
    INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, accepted)
    SELECT d.organisation_id, d.number, 3600, hour, $2 FROM destinations d
    CROSS JOIN generate_series(date_trunc('hour', now()) - interval '8 days',
      date_trunc('hour', now()) - interval '2 hours', interval '1 hour') hour
    WHERE d.number = $1 ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class FaultCase:
    """A fault and the alerts that it must raise."""

    name: str
    alerts: tuple[str, ...]
    inject: Callable[[], None]
    repair: Callable[[], None]


@dataclass
class FaultInjector:
    """Injects faults into a stage. `targets` are destinations by their names in TARGETS.

    `loads` collects all loads that sent events, so that they can be compared with the service's counts.
    """

    stage: Stage
    monitoring: Monitoring
    targets: Mapping[str, Example]
    loads: list[Load] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def of_amazon(self) -> list[FaultCase]:
        """Return the faults of Amazon that concern all destinations. Inject only one of them at a time."""
        stage = self.stage
        return [
            FaultCase(
                "Amazon answers 429",
                ("Throttled", "Backlog", "DeliveryFreshnessBudgetBurn", "DeliveryFreshnessBudgetBurnSlow"),
                lambda: stage.set_fault({"kind": "429", "retry_after": 1}),
                lambda: stage.set_fault(None),
            ),
            FaultCase(
                "Amazon answers 503",
                ("CircuitBreakerOpen",),
                lambda: stage.set_fault({"kind": "5xx"}),
                lambda: stage.set_fault(None),
            ),
        ]

    def independent(self) -> list[FaultCase]:
        """Return the faults that may run at the same time, but not at the same time as `of_processes`."""
        return [
            FaultCase("a sign-in is revoked", ("SignInLost",), self._revoke, self._reconnect),
            FaultCase("the token server answers 503", ("TokenRefreshFailing",), self._expire, self._token_server_up),
            FaultCase("Amazon refuses events", ("DeadLetters",), self._refuse, self._accept_and_replay),
            FaultCase("a destination is paused and forgotten", ("EventsExpiring",), self._pause, self._resume),
            FaultCase("a stored batch is damaged", ("UnreadableBatches",), self._damage, self._heal),
            FaultCase(
                "rows of two destinations are on damaged pages",
                ("DatabaseDamaged", "ClaimsFailing", "DeliveryDefect"),
                self._damage_pages,
                self._heal_pages,
            ),
            FaultCase("a sender sends no match keys", ("Rejections",), self._send_incomplete, self._end_threads),
            FaultCase(
                "the journey engine refuses callbacks",
                ("CallbacksFailing",),
                lambda: self._accept_callbacks(accept=False),
                lambda: self._accept_callbacks(accept=True),
            ),
            FaultCase("counts are changed by hand", ("EventCountImbalance",), lambda: self._count(3), lambda: self._count(-3)),
            FaultCase("a destination usually gets far more events", ("VolumeDrop",), self._add_usual_volume, self._remove_usual_volume),
            FaultCase("the last base backup is old", ("BackupTooOld",), self._note_old_backup, self._forget_backup),
            FaultCase("an erasure cannot be read", ("ErasureOverdue",), self._request_erasure, self._delete_erasure),
            FaultCase("no backup receives the WAL", ("SlotRetainsWal",), self._retain_wal, self._drop_slot),
            FaultCase("a channel refuses messages", ("NotificationsFailing",), self._refuse_messages, self._accept_messages),
        ]  # fmt: skip

    def of_commits(self) -> FaultCase:
        """Return the fault in which commits are slow and posts arrive faster than they can be stored."""
        return FaultCase(
            "commits wait for a lock while many callers post",
            ("CommitsSlow", "AcceptLatencyBudgetBurn", "AcceptLatencyBudgetBurnSlow", "RequestsShed"),
            self._lock_and_crowd,
            self._unlock,
        )

    def of_processes(self) -> list[FaultCase]:
        """Return the faults of processes. They must not overlap with any other fault."""
        return [
            FaultCase("all workers are killed", ("NoWorker", "ProcessDown"), self._kill_workers, self._start_workers),
            FaultCase(
                "the database is killed",
                ("DatabaseUnavailable", "AcceptErrorBudgetBurn", "AcceptErrorBudgetBurnSlow"),
                self._kill_database,
                self._start_database,
            ),
            FaultCase("no process gets the lease of the incident monitor", ("IncidentsNotComputed",), self._lease_monitor, self._release_monitor),
        ]  # fmt: skip

    def _revoke(self) -> None:
        self.stage.set_fault({"kind": "revoked"}, self.targets["sign-in"].advertiser_id)

    def _reconnect(self) -> None:
        target = self.targets["sign-in"]
        self.stage.set_fault(None, target.advertiser_id)
        self.stage.connect(name="sign-in", advertiser=target.advertiser_id)

    def _expire(self) -> None:
        """Let the access token of a destination expire while it cannot be refreshed."""
        target = self.targets["token"]
        self.stage.set_fault({"kind": "token_5xx"}, target.advertiser_id)
        expired = "UPDATE sign_ins SET access_until = now() - interval '1 second' WHERE destination = $1"
        self.stage.execute(expired, target.destination_id)

    def _token_server_up(self) -> None:
        self.stage.set_fault(None, self.targets["token"].advertiser_id)

    def _refuse(self) -> None:
        """Refuse every second event of each request."""
        fault = {"kind": "partial", "code": "FIELD_VALUE_IS_INVALID"}
        self.stage.set_fault(fault, self.targets["refused"].advertiser_id)

    def _accept_and_replay(self) -> None:
        self.stage.set_fault(None, self.targets["refused"].advertiser_id)
        self._replay("refused")

    def _replay(self, name: str) -> None:
        path = f"/destinations/{self.targets[name].destination_id}/replay"
        while self.stage.call("POST", path, {"status": "dead", "dry_run": False})["remaining"]:
            time.sleep(1)

    def replay_all(self) -> None:
        """Replay the events that were refused or unreadable before the repair."""
        for name in ("refused", "damaged", "page"):
            self.stage.drain(destination=self.targets[name])
            self._replay(name)

    def _pause(self, name: str = "paused") -> None:
        self.stage.call("POST", f"/destinations/{self.targets[name].destination_id}/pause")

    def _resume(self, name: str = "paused") -> None:
        self.stage.call("POST", f"/destinations/{self.targets[name].destination_id}/resume")

    def _damage(self) -> None:
        """Change a bit in each waiting batch of a destination."""
        self._flipped = self._gather("damaged")
        self.stage.execute(_FLIP, self._flipped)
        self._resume("damaged")

    def _heal(self) -> None:
        """Restore the batches and replay their events, as the runbook says."""
        self.stage.execute(_FLIP, self._flipped)
        self._answer_as_usual("damaged", shielded=False)
        self._replay("damaged")

    def _damage_pages(self) -> None:
        """Let updates of some rows fail with XX001, as on a damaged page.

        For the destination "page" the worker gets the error when it claims events, because their content is
        damaged too. For the destination "settlement" the worker gets the error when it settles a request.
        """
        self._on_pages, settled = self._gather("page"), self._gather("settlement")
        self.stage.execute(_FLIP, self._on_pages)
        self.stage.execute(_DAMAGED_PAGE)
        rows = ", ".join(map(str, self._on_pages + settled))
        self.stage.execute(
            "CREATE TRIGGER damaged_page BEFORE UPDATE ON batch_states FOR EACH ROW "
            f"WHEN (OLD.batch IN ({rows})) EXECUTE FUNCTION damaged_page()"
        )
        self._resume("page")
        self._resume("settlement")

    def _heal_pages(self) -> None:
        self.stage.execute(_FLIP, self._on_pages)
        self.stage.execute("DROP TRIGGER damaged_page ON batch_states")
        for name in ("page", "settlement"):
            self._answer_as_usual(name, shielded=False)

    def _gather(self, name: str) -> list[int]:
        """Pause a destination, wait until it has waiting batches, and return their ids."""
        self._answer_as_usual(name, shielded=True)
        self._pause(name)
        statement = "SELECT batch FROM batch_states WHERE settled_at IS NULL AND destination = $1"
        waiting: list[int] = []
        time.sleep(2)  # requests in progress end
        while not waiting:
            time.sleep(0.5)
            waiting = [row["batch"] for row in self.stage.execute(statement, self._number(name))]
        return waiting

    def _answer_as_usual(self, name: str, *, shielded: bool) -> None:
        """With `shielded`, let Amazon accept all events of an advertiser despite a fault for all others."""
        fault = {"kind": "partial", "indexes": []} if shielded else None
        self.stage.set_fault(fault, self.targets[name].advertiser_id)

    def _number(self, name: str) -> int:
        rows = self.stage.execute(
            "SELECT number FROM destinations WHERE id = $1", self.targets[name].destination_id
        )
        return int(rows[0]["number"])

    def _send_incomplete(self) -> None:
        """Start to send events without match keys, more than the valid events of all other senders."""
        event = {"event": {"name": "addToCart", "timestamp": int(time.time())}, "user": {"country": "US"}}
        body = [{**event, "destination_id": self.stage.example.destination_id} for _ in range(50)]

        def send() -> None:
            with httpx.Client(base_url=self.stage.api, headers=self.stage.headers, timeout=30) as client:
                while not self._stopping.wait(0.1):
                    with suppress(httpx.HTTPError):
                        client.post("/events", json=body)

        self._run(send)

    def _accept_callbacks(self, *, accept: bool) -> None:
        self.monitoring.accepts_callbacks = accept

    def _count(self, events: int) -> None:
        """Add `events` to a count of accepted events, and make the hourly balance check due now."""
        self.stage.execute(_COUNT, self._number("paused"), events)
        self.stage.execute("UPDATE balance_checks SET started_at = now() - interval '2 hours'")

    def _add_usual_volume(self) -> None:
        """Record a large volume for every hour of the last eight days, except the most recent hours."""
        self.stage.execute(_USUAL_VOLUME, self._number("paused"), USUAL_EVENTS)

    def _remove_usual_volume(self) -> None:
        recorded = "DELETE FROM outcome_history WHERE destination = $1 AND accepted = $2"
        self.stage.execute(recorded, self._number("paused"), USUAL_EVENTS)

    def _note_old_backup(self) -> None:
        self.stage.execute("INSERT INTO last_base_backup VALUES (1, now() - interval '3 days')")

    def _forget_backup(self) -> None:
        self.stage.execute("DELETE FROM last_base_backup")

    def _request_erasure(self) -> None:
        """Store an erasure of five hours ago whose identifiers no key can decrypt."""
        self.stage.execute(
            "INSERT INTO erasures (organisation_id, id, requested_by, kinds, sealed, requested_at) "
            "VALUES ('default', 'era_00000000000000000000', 'drill', '{email}', 'damaged', now() - interval '5 hours')"
        )

    def _delete_erasure(self) -> None:
        self.stage.execute("DELETE FROM erasures WHERE id = 'era_00000000000000000000'")

    def _retain_wal(self) -> None:
        """Create the slot of a backup, and write more WAL than a receiver lags behind."""
        self.stage.execute("SELECT pg_create_physical_replication_slot($1, true)", SLOT)
        message = (
            "SELECT pg_logical_emit_message(true, 'drill', repeat('x', 1 << 20)) FROM generate_series(1, $1)"
        )
        self.stage.execute(message, 2 * MAX_RETAINED_BYTES >> 20)

    def _drop_slot(self) -> None:
        self.stage.execute("SELECT pg_drop_replication_slot($1)", SLOT)

    def _refuse_messages(self) -> None:
        """Refuse messages about incidents, and store that the channel has already failed for 15 minutes."""
        self.monitoring.accepts_messages = False
        dated_back = """
            UPDATE notification_channels SET failing_since = failing_since - interval '15 minutes'
            WHERE failing_since IS NOT NULL RETURNING name
        """
        until = time.monotonic() + REFUSED_WITHIN_S
        while not self.stage.execute(dated_back) and time.monotonic() < until:
            time.sleep(0.5)

    def _accept_messages(self) -> None:
        """Accept messages again, and make the refused messages due now."""
        self.monitoring.accepts_messages = True
        self.stage.execute("UPDATE notifications SET due_at = now() WHERE finished_at IS NULL")

    def _lock_and_crowd(self) -> None:
        """Repeatedly hold a lock for which inserts of batches wait, while many callers send events."""
        address = self.stage.cluster.url.replace("+asyncpg", "", 1)

        async def lock() -> None:
            connection = await asyncpg.connect(address)
            while not self._unlocking.is_set():
                async with connection.transaction():
                    await connection.execute("LOCK TABLE batches IN SHARE MODE")
                    await asyncio.sleep(LOCKED_S)
                await asyncio.sleep(0.3)
            await connection.close()

        self._unlocking = threading.Event()
        self._locker = threading.Thread(target=lambda: asyncio.run(lock()), daemon=True)
        self._locker.start()
        self._crowd = Load(self.stage, callers=CROWD, events=CROWD_EVENTS, pause_s=2, name="crowd")
        self.loads.append(self._crowd)
        self._crowd.start()

    def _unlock(self) -> None:
        self._unlocking.set()
        self._locker.join()
        self._crowd.stop(answered=True)

    def _kill_workers(self) -> None:
        for name in WORKERS:
            self.stage.stop(name, signal.SIGKILL)

    def _start_workers(self) -> None:
        for name in WORKERS:
            self.stage.start(name, "work")

    def _kill_database(self) -> None:
        self.stage.destroy_database()

    def _start_database(self) -> None:
        self.stage.cluster.stop()
        self.stage.cluster.start()

    def _lease_monitor(self) -> None:
        """Hold the lease of the incident monitor, and renew it: a process takes over a longer one than its own."""
        self._released = threading.Event()
        self.stage.execute(_LEASED_MONITOR, LEASE)

        def renew() -> None:
            while not self._released.wait(1):
                self.stage.execute(_LEASED_MONITOR, LEASE)

        self._leaser = threading.Thread(target=renew, daemon=True)
        self._leaser.start()

    def _release_monitor(self) -> None:
        self._released.set()
        self._leaser.join()
        self.stage.execute("DELETE FROM job_leases WHERE job = 'incidents'")

    def _run(self, target: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=target, daemon=True))
        self._threads[-1].start()

    def _end_threads(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
